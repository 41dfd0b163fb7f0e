"""Opens a source by its kind, where the rules allow it. A new kind is one more row."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from recorder_worker.adapters.sources.file import VideoFile
from recorder_worker.adapters.sources.guard import SourceGuard
from recorder_worker.adapters.sources.images import ImageSequence
from recorder_worker.adapters.sources.kept_logins import with_kept_login
from recorder_worker.adapters.sources.packet_file import PacketFile
from recorder_worker.adapters.sources.pattern import PatternDesktop
from recorder_worker.adapters.sources.published import PublishedFrames
from recorder_worker.adapters.sources.published_packets import PublishedPackets
from recorder_worker.adapters.sources.rtsp.packets import RtspPackets
from recorder_worker.adapters.sources.rtsp.pictures import RtspPictures
from recorder_worker.adapters.sources.sampled import SampledSource
from recorder_worker.adapters.sources.v4l2.source import V4l2Device
from recorder_worker.core.errors import SourceError
from recorder_worker.core.sources.kinds import (
    FileSource,
    ImagesSource,
    NatsSource,
    PatternSource,
    RtspSource,
    Source,
    V4l2Source,
    X11Source,
)
from recorder_worker.core.sources.rules import SourceRules
from recorder_worker.core.sources.urls import shown
from recorder_worker.ports import FrameFeed, FrameSource, PacketSource


class GuardedOpener:
    """Opens what its rules allow. Satisfies `ports.SourceOpener` and `ports.PacketOpener`."""

    def __init__(
        self, rules: SourceRules, frames: FrameFeed | None = None, credentials_dir: str = ""
    ) -> None:
        """`frames` is where sources of kind `nats` take theirs from; without it there are none."""
        self._guard = SourceGuard(rules)
        self._frames = frames
        self._credentials_dir = credentials_dir

    def __call__(self, source: Source, fps: float | None, first_unit: int) -> FrameSource:
        """Open a source; a `media` one at unit `first_unit`.

        Args:
            source: what to open.
            fps: frames a second that the session asks for; a file is sampled where its own rate is
                higher. None: the source's own rate, which only a file and a device have.
            first_unit: the unit that the first `read` returns; a `live` source has no past and
                ignores it.

        Raises:
            SourceForbiddenError: the rules do not allow it.
            SourceError: it cannot be opened; the text says why and what to do.
        """
        if fps is not None and not fps > 0:
            raise SourceError(f"source {shown(source.uri)}: expected fps above 0, found {fps}")
        if first_unit < 0:
            raise SourceError(
                f"source {shown(source.uri)}: expected first_unit >= 0, found {first_unit}"
            )
        if isinstance(source, NatsSource) and self._frames is not None:
            return self._open_nats(source, self._frames, fps, first_unit)
        row = _OPENERS.get(type(source))
        if row is None:
            raise SourceError(
                f"source {shown(source.uri)}: expected one of "
                f"{', '.join(kind.__name__ for kind in _OPENERS)}, found {type(source).__name__}; "
                "this worker cannot open it"
            )
        self._guard.check_kind(str(source.__struct_config__.tag))
        return row(self._complete(source), fps, first_unit, self._guard)

    def packets(self, source: Source, first_unit: int) -> PacketSource:
        """Open a source for the profile `copy`. Raises as `__call__`."""
        self._guard.check_kind(str(source.__struct_config__.tag))
        if isinstance(source, RtspSource):
            return RtspPackets(with_kept_login(source, self._credentials_dir), self._guard)
        if isinstance(source, FileSource):
            return PacketFile(source, self._guard, first_unit=first_unit)
        if isinstance(source, NatsSource) and self._frames is not None:
            self._guard.subject(source)
            return PublishedPackets(
                source,
                self._frames,
                max_pixels=self._guard.max_pixels,
                again=first_unit > 0,
            )
        raise SourceError(
            f"source {shown(source.uri)}: expected a file, an RTSP server or a subject of NATS, "
            f"found {type(source).__name__}, which has no packets to copy"
        )

    def _complete(self, source: Source) -> Source:
        """A source with the login that it names."""
        if isinstance(source, RtspSource):
            return with_kept_login(source, self._credentials_dir)
        return source

    def _open_nats(
        self, source: NatsSource, frames: FrameFeed, fps: float | None, first_unit: int
    ) -> FrameSource:
        self._guard.check_kind("nats")
        self._guard.subject(source)
        return PublishedFrames(
            source,
            frames,
            fps=_needed(source, fps),
            max_pixels=self._guard.max_pixels,
            again=first_unit > 0,
        )


def _open_file(
    source: FileSource, fps: float | None, first_unit: int, guard: SourceGuard
) -> FrameSource:
    video = VideoFile(source, guard, first_unit=0 if fps else first_unit)
    if fps and fps < video.facts.frame_rate:
        return SampledSource(video, fps, first_unit)
    if fps and first_unit:
        video.close()
        return VideoFile(source, guard, first_unit=first_unit)
    return video


def _open_pattern(
    source: PatternSource, fps: float | None, first_unit: int, _guard: SourceGuard
) -> FrameSource:
    return PatternDesktop(source, fps=_needed(source, fps), first_unit=first_unit)


def _open_x11(
    source: X11Source, fps: float | None, _first_unit: int, guard: SourceGuard
) -> FrameSource:
    display = guard.display(source)
    try:
        # xcffib loads libxcb where it is imported, and a worker without it records files well.
        from recorder_worker.adapters.sources.x11.source import X11Display  # noqa: PLC0415  (as above)
    except (OSError, ImportError) as error:
        raise SourceError(
            f"display {source.uri}: expected the X client library libxcb, found none that loads "
            f"({error}); install it (Debian, Ubuntu: apt-get install libxcb1)"
        ) from error
    return X11Display(source, display=display, fps=_needed(source, fps))


def _open_images(
    source: ImagesSource, fps: float | None, first_unit: int, guard: SourceGuard
) -> FrameSource:
    return ImageSequence(source, guard, fps=_needed(source, fps), first_unit=first_unit)


def _open_v4l2(
    source: V4l2Source, fps: float | None, _first_unit: int, guard: SourceGuard
) -> FrameSource:
    path = guard.device(source)
    return V4l2Device(source, path=path, fps=fps, max_pixels=guard.max_pixels)


def _open_rtsp(
    source: RtspSource, fps: float | None, _first_unit: int, guard: SourceGuard
) -> FrameSource:
    return RtspPictures(source, guard, fps=_needed(source, fps))


def _needed(source: Source, fps: float | None) -> float:
    if fps is None:
        raise SourceError(
            f"source {shown(source.uri)}: expected a rate, for it has none of its own"
        )
    return fps


_Open = Callable[[Any, float | None, int, SourceGuard], FrameSource]
_OPENERS: Final[dict[type, _Open]] = {
    FileSource: _open_file,
    PatternSource: _open_pattern,
    X11Source: _open_x11,
    ImagesSource: _open_images,
    V4l2Source: _open_v4l2,
    RtspSource: _open_rtsp,
}
