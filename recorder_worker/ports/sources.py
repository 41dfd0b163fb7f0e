"""What is recorded: sources that are open, and how they are opened."""

from __future__ import annotations

from typing import Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray

from recorder_worker.core.model import Source, SourceFacts

Picture = NDArray[np.uint8]
"""A frame's pixels: shape (height, width, 3), BGR, uint8, C-contiguous."""


class Frame(msgspec.Struct, frozen=True):
    """One unit of a `screen` profile source.

    `t_ns` is on the source's own clock: the position in the material (`media`) or
    `Clock.monotonic_ns` at the grab (`live`).
    """

    picture: Picture
    t_ns: int


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
        """
        ...

    def close(self) -> None:
        """Let go of the source; harmless when repeated."""
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
