"""A pointer is blended into a picture as a display blends it."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from recorder_worker.core.frames.pictures import Pointer
from recorder_worker.core.frames.pointer_overlay import draw_pointer


def pointer(x: int, y: int, shape: NDArray[np.uint8]) -> Pointer:
    return Pointer(x=x, y=y, hot_x=1, hot_y=1, shape=shape)


def arrow() -> NDArray[np.uint8]:
    """3x2: opaque red, half of white, nothing; below opaque blue throughout."""
    shape = np.zeros((2, 3, 4), np.uint8)
    shape[0, 0] = (0, 0, 255, 255)
    shape[0, 1] = (128, 128, 128, 128)
    shape[1] = (255, 0, 0, 255)
    return shape


def test_alpha_lets_the_picture_through() -> None:
    canvas = np.full((6, 8, 3), 100, np.uint8)
    draw_pointer(canvas, pointer(3, 2, arrow()))
    assert canvas[1, 2].tolist() == [0, 0, 255]
    assert canvas[1, 3].tolist() == [178, 178, 178]  # 128 + 100 * 127 / 255, to the nearest
    assert canvas[1, 4].tolist() == [100, 100, 100]
    assert canvas[2, 2:5].tolist() == [[255, 0, 0]] * 3
    canvas[1:3, 2:5] = 100
    assert (canvas == 100).all()


@pytest.mark.parametrize(
    ("x", "y", "pixels"), [(0, 1, 4), (8, 6, 1), (1, 0, 3), (-9, 0, 0), (3, 99, 0)]
)
def test_what_lies_outside_is_left_out(x: int, y: int, pixels: int) -> None:
    canvas = np.full((6, 8, 3), 100, np.uint8)
    shape = np.full((2, 3, 4), 255, np.uint8)
    draw_pointer(canvas, pointer(x, y, shape))
    assert int((canvas == 255).all(axis=2).sum()) == pixels


def test_a_hidden_pointer_draws_nothing() -> None:
    canvas = np.full((6, 8, 3), 100, np.uint8)
    draw_pointer(canvas, pointer(3, 2, np.zeros((0, 0, 4), np.uint8)))
    assert (canvas == 100).all()


def test_a_shape_that_is_not_premultiplied_stays_in_range() -> None:
    canvas = np.full((6, 8, 3), 255, np.uint8)
    draw_pointer(canvas, pointer(3, 2, np.full((2, 2, 4), (255, 255, 255, 10), np.uint8)))
    assert (canvas == 255).all()
