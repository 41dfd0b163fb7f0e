"""Little pictures are worked on one at a time, whatever session they are of.

NumPy and OpenCV let go of the interpreter's lock in every call. Where a call takes microseconds,
threads that do so at once spend more on handing the lock to each other, a hundred times a picture,
than on the picture (docs/performance.md). Where it takes longer, all cores are worth it.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from threading import Lock

from recorder_worker.core.frames.pictures import Picture, Region

LITTLE_PIXELS = 1 << 17
"""Measured: a gain at 320x192, none at 640x480, a loss at 1280x720."""

_turn = Lock()


def turn(
    picture: Picture, changed: Sequence[Region] | None = None
) -> AbstractContextManager[object]:
    """Hold this while a picture is computed with, and for nothing that may wait.

    Args:
        picture: height x width x 3.
        changed: all of it that is looked at; None is the whole picture.
    """
    height, width, _ = picture.shape
    pixels = height * width
    if changed is not None:
        pixels = sum(region.width * region.height for region in changed)
    return _turn if pixels <= LITTLE_PIXELS else nullcontext()
