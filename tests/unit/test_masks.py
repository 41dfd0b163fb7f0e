"""What is masked is black, all else is untouched, and the source's memory is never written to."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from recorder_worker.core.masks import apply_masks
from recorder_worker.core.model import Mask

masks = st.lists(
    st.builds(
        Mask,
        x=st.integers(0, 40),
        y=st.integers(0, 40),
        width=st.integers(1, 50),
        height=st.integers(1, 50),
    ),
    max_size=4,
)


@given(st.integers(1, 30), st.integers(1, 30), masks)
def test_exactly_the_rectangles_are_black(width: int, height: int, rectangles: list[Mask]) -> None:
    picture = np.full((height, width, 3), 200, np.uint8)
    original = picture.copy()
    result = apply_masks(picture, rectangles)
    assert np.array_equal(picture, original)
    assert result.shape == picture.shape
    for y in range(height):
        for x in range(width):
            inside = any(m.x <= x < m.x + m.width and m.y <= y < m.y + m.height for m in rectangles)
            assert (result[y, x] == (0 if inside else 200)).all()


@given(masks)
def test_masking_twice_is_masking_once(rectangles: list[Mask]) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)
    once = apply_masks(picture, rectangles)
    assert apply_masks(once, rectangles) is once


def test_without_an_effect_the_same_picture_comes_back() -> None:
    picture = np.full((10, 10, 3), 9, np.uint8)
    picture[:5] = 0
    outside = Mask(x=10, y=0, width=5, height=5)
    already_black = Mask(x=0, y=0, width=10, height=5)
    assert apply_masks(picture, []) is picture
    assert apply_masks(picture, [outside, already_black]) is picture


def test_the_result_stays_contiguous_for_the_encoder() -> None:
    picture = np.full((10, 10, 3), 9, np.uint8)
    assert apply_masks(picture, [Mask(x=1, y=1, width=3, height=3)]).flags.c_contiguous
