"""What can be recorded, as `session.start` names it: one kind of source each."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from recorder_worker.core.model import Pixels, Wire


class ScreenPart(Wire, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A rectangle of a display, in pixels from its top left corner."""

    x: Annotated[int, Meta(ge=0, le=65535)]
    y: Annotated[int, Meta(ge=0, le=65535)]
    width: Pixels
    height: Pixels


class FileSource(
    Wire, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="file", tag_field="kind"
):
    """A video file: whatever OpenCV's FFmpeg reads."""

    uri: Annotated[
        str,
        Meta(min_length=1, max_length=4096, description="An absolute path or a file:// URI."),
    ]
    pace: Literal["native", "fast"] = "native"


class X11Source(
    Wire,
    frozen=True,
    kw_only=True,
    forbid_unknown_fields=True,
    omit_defaults=True,  # a whole display is digested as it was before there were parts
    tag="x11",
    tag_field="kind",
):
    """An X display, recorded losslessly: all of it, or one of its monitors, or a part."""

    uri: Annotated[
        str,
        Meta(
            pattern=r"^[A-Za-z0-9.\-]*:\d+(\.\d+)?$",
            max_length=256,
            description="A display such as :10.",
        ),
    ]
    monitor: (
        Annotated[
            str,
            Meta(
                min_length=1,
                max_length=128,
                description="Record only this monitor, wherever it moves; xrandr lists the names.",
            ),
        ]
        | None
    ) = None
    region: ScreenPart | None = None

    def __post_init__(self) -> None:
        """Raises ValueError where two parts are asked for."""
        if self.monitor is not None and self.region is not None:
            raise ValueError("Expected a monitor or a region")


class PatternSource(
    Wire, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="pattern", tag_field="kind"
):
    """A deterministic synthetic desktop, for tests and load."""

    uri: Annotated[str, Meta(max_length=256)] = "pattern:desktop"
    width: Annotated[int, Meta(ge=1, le=7680)] = 1280
    height: Annotated[int, Meta(ge=1, le=4320)] = 720
    frames: Annotated[int, Meta(ge=1, le=10_000_000)] | None = None
    seed: Annotated[int, Meta(ge=0, le=2**32 - 1)] = 0
    pace: Literal["native", "fast"] = "native"
    resize_every: Annotated[int, Meta(ge=1, le=1_000_000)] | None = None


class RtspSource(
    Wire, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="rtsp", tag_field="kind"
):
    """A camera or another RTSP server. `credentials` names a login that the worker keeps."""

    uri: Annotated[
        str,
        Meta(
            pattern=r"^rtsps?://[^\s\"]+$",  # with a quote in it no login could be told apart
            max_length=2048,
            description="rtsp:// or rtsps://; a login in it is kept out of the recording.",
        ),
    ]
    transport: Literal["tcp", "udp"] = "tcp"
    credentials: Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")] | None = None
    open_s: Annotated[
        float, Meta(ge=1, le=60, description="How long its first keyframe may take.")
    ] = 10.0
    stall_s: Annotated[
        float, Meta(ge=0.5, le=60, description="How long nothing may come before it is lost.")
    ] = 5.0


class ImagesSource(
    Wire, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="images", tag_field="kind"
):
    """Pictures in files, in the order of their names: a sequence, at the rate of the session."""

    uri: Annotated[
        str,
        Meta(
            min_length=1,
            max_length=4096,
            description="An absolute path or a file:// URI: of a directory, or with * ? or %04d "
            "in its last part.",
        ),
    ]
    pace: Literal["native", "fast"] = "native"


class V4l2Source(
    Wire, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="v4l2", tag_field="kind"
):
    """A camera or grabber. What is wished for may be refused: the facts say what it gives."""

    uri: Annotated[
        str,
        Meta(
            pattern=r"^/dev/(video\d+|v4l/by-(id|path)/[A-Za-z0-9_.:+-]+)$",
            max_length=256,
            description="A device such as /dev/video0.",
        ),
    ]
    width: Annotated[int, Meta(ge=1, le=15360)] | None = None
    height: Annotated[int, Meta(ge=1, le=8640)] | None = None
    fourcc: Annotated[str, Meta(pattern=r"^[A-Za-z0-9 ]{4}$", max_length=4)] | None = None
    timeout_s: Annotated[float, Meta(ge=0.1, le=60)] = 5.0


class NatsSource(
    Wire, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="nats", tag_field="kind"
):
    """Pictures, or packets, that another program publishes on a subject of NATS."""

    uri: Annotated[
        str,
        Meta(
            pattern=r"^[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)+$",
            max_length=255,
            description="A subject such as source.lab.frames.",
        ),
    ]
    timeout_s: Annotated[float, Meta(ge=0.1, le=3600)] = 10.0


Source = (
    FileSource | X11Source | PatternSource | RtspSource | ImagesSource | V4l2Source | NatsSource
)
