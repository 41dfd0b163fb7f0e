"""What is recorded: sources that are open, and how they are opened."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import msgspec

from recorder_worker.core.frames.pictures import Picture, Pointer, Region
from recorder_worker.core.model import SourceFacts
from recorder_worker.core.sources.kinds import Source


class Frame(msgspec.Struct, frozen=True):
    """One unit of a `screen` profile source.

    `t_ns` is on the source's own clock: the position in the material (`media`) or
    `Clock.monotonic_ns` at the grab (`live`). `changed`, where it is known, are regions outside of
    which the picture equals that of the frame read before; None: it may differ anywhere.

    A frame belongs to its reader until the next `read`, which may write into the same picture:
    whoever keeps a picture for longer copies it. A pointer's shape stays as it is, and is the same
    array for as long as it looks the same.
    """

    picture: Picture
    t_ns: int
    changed: tuple[Region, ...] | None = None
    pointer: Pointer | None = None


class FrameSource(Protocol):
    """An open source. One thread uses it."""

    @property
    def facts(self) -> SourceFacts:
        """What the source turned out to be when it was opened."""
        ...

    def read(self) -> Frame | None:
        """The next frame; None where the source has ended.

        A live source grabs now; pacing is the caller's.

        Raises:
            SourceLostError: it was delivering and cannot any more.
            UnitsMissingError: units are missing here; the next call goes on behind them.
        """
        ...

    def close(self) -> None:
        """Let go of the source; harmless when repeated."""
        ...


@runtime_checkable
class ArrivingSource(FrameSource, Protocol):
    """A live source whose frames come by themselves, and are all recorded: nobody can ask for one.

    It counts what it loses itself, so that silence is none.
    """

    def arrived(self, wait_s: float) -> bool:
        """Whether `read` has something to return or raise; waits so many seconds for that."""
        ...

    def hold(self) -> None:
        """Take nothing more; what was taken before is still read."""
        ...

    def go_on(self) -> None:
        """Take what comes again."""
        ...


class SourceOpener(Protocol):
    """Opens sources by their kind."""

    def __call__(self, source: Source, fps: float | None, first_unit: int) -> FrameSource:
        """Open a source, a `media` one at unit `first_unit`.

        `fps` is None where the source's own rate shall hold.

        Raises:
            SourceError: it cannot be opened; the text says why and what to do.
        """
        ...
