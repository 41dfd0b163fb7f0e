"""Pictures, parts of them, and the pointer that a display shows over them."""

from __future__ import annotations

import msgspec
import numpy as np
from numpy.typing import NDArray

Picture = NDArray[np.uint8]
"""A frame's pixels: shape (height, width, 3), BGR, uint8, C-contiguous."""


class Region(msgspec.Struct, frozen=True):
    """A rectangle of a picture, in pixels; it lies inside of it."""

    x: int
    y: int
    width: int
    height: int


class Pointer(msgspec.Struct, frozen=True, kw_only=True):
    """The pointer, which a display draws over its picture.

    `x` and `y` are the hot spot, in pixels of the picture; it may lie outside. `shape` has shape
    (height, width, 4), BGRA with premultiplied alpha, uint8; its own hot spot is at `hot_x`,
    `hot_y`. Where nothing is shown `shape` has no pixels.
    """

    x: int
    y: int
    hot_x: int
    hot_y: int
    shape: NDArray[np.uint8]
