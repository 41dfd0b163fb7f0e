"""Draws a pointer over a picture, as a display does."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from recorder_worker.core.frames.pictures import Pointer


def draw_pointer(canvas: NDArray[np.uint8], pointer: Pointer) -> None:
    """Blend a pointer's shape into a canvas; what lies outside of it is left out.

    The shape's alpha is premultiplied: the canvas shows through what alpha leaves of it, rounded
    to the nearest level.

    Args:
        canvas: shape (height, width, 3), BGR; it is written to.
        pointer: its hot spot in pixels of the canvas.
    """
    height, width = pointer.shape.shape[:2]
    left, top = pointer.x - pointer.hot_x, pointer.y - pointer.hot_y
    x0, y0 = max(left, 0), max(top, 0)
    x1, y1 = min(left + width, canvas.shape[1]), min(top + height, canvas.shape[0])
    if x0 >= x1 or y0 >= y1:
        return
    shape = pointer.shape[y0 - top : y1 - top, x0 - left : x1 - left].astype(np.uint16)
    below = canvas[y0:y1, x0:x1].astype(np.uint16)
    through = (below * (255 - shape[..., 3:]) + 127) // 255
    canvas[y0:y1, x0:x1] = np.minimum(shape[..., :3] + through, 255).astype(np.uint8)
