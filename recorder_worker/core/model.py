"""The values that commands, events and records share, and the base of every message.

Messages are msgspec Structs in JSON: readable on the wire, validated with constraints on the way
in, and the one source of `schemas/`.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from recorder_worker.core.cipher.names import CIPHER_NONE

SCHEMA_VERSION = 1

SessionId = Annotated[
    str,
    Meta(
        pattern=r"^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$",
        max_length=36,  # `$` also matches before a line end, which must not get into a subject
        description="A UUID in lower case with hyphens.",
    ),
]
Hex32 = Annotated[
    str, Meta(pattern=r"^[0-9a-f]{64}$", description="32 bytes in lower-case hexadecimal.")
]
Count = Annotated[int, Meta(ge=0, le=2**63 - 1)]
Nanoseconds = Annotated[int, Meta(ge=0, le=2**63 - 1)]
Pixels = Annotated[int, Meta(ge=1, le=65535)]


class Wire(msgspec.Struct, frozen=True, kw_only=True):
    """Base of every message and of every value inside one."""


class Mask(Wire, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A rectangle, in pixels, that is blacked out before anything is stored."""

    x: Annotated[int, Meta(ge=0, le=65535)]
    y: Annotated[int, Meta(ge=0, le=65535)]
    width: Pixels
    height: Pixels


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
            pattern=r"^rtsps?://[^\s]+$",
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
    """Pictures that another program publishes on a subject of NATS."""

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


class SourceClock(StrEnum):
    """How a source tells time.

    `live`: the world goes on while nobody reads, so what was not read is lost. `media`: time is
    the position in the material, which waits for its reader.
    """

    LIVE = "live"
    MEDIA = "media"


class SourceFacts(Wire, frozen=True, kw_only=True):
    """What a source turned out to be when it was opened."""

    kind: str
    uri: str
    description: str
    width: Count
    height: Count
    clock: SourceClock
    frame_rate: Annotated[float, Meta(ge=0)]
    frame_count: Count | None = None


class ClockState(StrEnum):
    """Whether the wall clock was known to follow a reference. The order is the record's code."""

    UNKNOWN = "unknown"
    SYNCHRONISED = "synchronised"
    UNSYNCHRONISED = "unsynchronised"


class GapReason(StrEnum):
    """Why units are known to be missing. The order is the code in the record: append only."""

    PAUSE = "pause"
    SOURCE_LOST = "source_lost"
    BACK_PRESSURE = "back_pressure"
    DISK = "disk"
    CRASH = "crash"
    HANDOVER = "handover"
    CLOCK_JUMP = "clock_jump"
    DEAD_LETTER = "dead_letter"
    ARMED = "armed"


class EndReason(StrEnum):
    """Why a session ended. The order is the code in the record: append only."""

    STOPPED = "stopped"
    SOURCE_ENDED = "source_ended"
    MAX_DURATION = "max_duration"
    IDLE = "idle"
    WORKER_LOST = "worker_lost"
    SOURCE_LOST = "source_lost"
    DISK_FULL = "disk_full"
    POLICY = "policy"


class Span(Wire, frozen=True, kw_only=True):
    """What a segment, chunk or gap covers, in units and in time.

    Units [first, first + count) of one stream and session time [t0_ns, t1_ns), with the wall
    clock at both ends.

    Session time is nanoseconds since the session began, never stepping back. Spans of one
    stream tile it: each begins, in units and in time, where the one before it ended.
    """

    stream: Count = 0
    first_unit: Count
    unit_count: Count
    t0_ns: Nanoseconds
    t1_ns: Nanoseconds
    wall0_ns: Nanoseconds
    wall1_ns: Nanoseconds

    @property
    def duration_ns(self) -> int:
        """Session time that it covers."""
        return self.t1_ns - self.t0_ns


class Cursor(Wire, frozen=True, kw_only=True):
    """How far a session's stream is covered: the next unit, and the time that it begins at.

    `boot_ns` is the writer's clock since boot at that moment: on the same boot it tells how long
    ago that was even where the wall clock was stepped.
    """

    unit: Count = 0
    t_ns: Nanoseconds = 0
    wall_ns: Nanoseconds = 0
    boot_ns: Nanoseconds = 0


class RecordingPolicy(Wire, frozen=True, kw_only=True):
    """What decides where chunks end, how they are compressed, and how often is signed.

    Settled when a session starts and kept in its log, so that its tree is a function of that log
    and not of the settings of whichever worker comes later. A single segment may be larger than a
    chunk's limits: it is never split. The recorder promises a signed checkpoint at least every
    `checkpoint_interval_ns` and every `checkpoint_leaves` leaves, and keys that sign for no longer
    than `epoch_length_ns`. `cipher` names what segments and chunks are encrypted with, `frames`
    what they hold; chunks of packets are cut at keyframes.
    """

    chunk_duration_ns: Nanoseconds
    chunk_max_stored_size: Count
    chunk_max_plain_size: Count
    zstd_level: Annotated[int, Meta(ge=1, le=22)]
    zstd_window_log: Annotated[int, Meta(ge=10, le=23)]
    checkpoint_interval_ns: Nanoseconds = 5_000_000_000
    checkpoint_leaves: Annotated[int, Meta(ge=1, le=2**32 - 1)] = 64
    epoch_length_ns: Nanoseconds = 300_000_000_000
    cipher: str = CIPHER_NONE
    frames: str = "tiles64-bgr"
