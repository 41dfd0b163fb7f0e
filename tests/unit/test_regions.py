"""Which parts of a picture are read, where rectangles of it have changed."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recorder_worker.core.frames.pictures import Region
from recorder_worker.core.frames.regions import covering
from recorder_worker.core.frames.tiles import TILE

WIDTH, HEIGHT = 5 * TILE + 7, 4 * TILE + 1


def found(*rectangles: tuple[int, int, int, int], most: int = 32) -> tuple[Region, ...]:
    return covering(rectangles, WIDTH, HEIGHT, most=most)


def test_nothing_changed_is_no_region() -> None:
    assert found() == ()
    assert found((10, 10, 0, 5), (10, 10, 5, 0)) == ()


@pytest.mark.parametrize(
    "outside", [(-9, 0, 9, 9), (0, -9, 9, 9), (WIDTH, 0, 9, 9), (0, HEIGHT, 9, 9)]
)
def test_what_lies_outside_of_the_picture_is_nothing(outside: tuple[int, int, int, int]) -> None:
    assert found(outside) == ()


def test_one_pixel_is_its_tile() -> None:
    assert found((TILE, 2 * TILE - 1, 1, 1)) == (Region(x=TILE, y=TILE, width=TILE, height=TILE),)


def test_tiles_at_the_edge_are_cut() -> None:
    last = (Region(x=5 * TILE, y=4 * TILE, width=7, height=1),)
    assert found((WIDTH - 1, HEIGHT - 1, 100, 100)) == last
    assert found((-5, -5, WIDTH + 10, HEIGHT + 10)) == (
        Region(x=0, y=0, width=WIDTH, height=HEIGHT),
    )


def test_letters_of_one_line_are_one_region() -> None:
    letters = [(x, 10, 8, 12) for x in range(0, 4 * TILE - 8, 9)]
    assert found(*letters) == (Region(x=0, y=0, width=4 * TILE, height=TILE),)


def test_more_regions_than_are_worth_it_are_one_around_them() -> None:
    corners = ((TILE, 0, 1, 1), (3 * TILE, 2 * TILE, 1, 1), (0, 3 * TILE, 1, 1))
    assert len(found(*corners, most=3)) == 3
    assert found(*corners, most=2) == (Region(x=0, y=0, width=4 * TILE, height=4 * TILE),)


@given(
    st.lists(
        st.tuples(
            st.integers(-80, WIDTH + 80),
            st.integers(-80, HEIGHT + 80),
            st.integers(0, 2 * TILE),
            st.integers(0, 2 * TILE),
        ),
        max_size=20,
    ),
    st.integers(1, 32),
)
def test_every_pixel_is_covered_and_none_twice(
    rectangles: list[tuple[int, int, int, int]], most: int
) -> None:
    wanted = np.zeros((HEIGHT, WIDTH), np.int64)
    for x, y, width, height in rectangles:
        wanted[max(0, y) : max(0, y + height), max(0, x) : max(0, x + width)] = 1
    regions = found(*rectangles, most=most)
    covered = np.zeros((HEIGHT, WIDTH), np.int64)
    for region in regions:
        part = covered[region.y : region.y + region.height, region.x : region.x + region.width]
        assert part.shape == (region.height, region.width), "it lies inside of the picture"
        part += 1
    assert covered.max(initial=0) <= 1
    assert not (wanted > covered).any()
    assert len(regions) <= most
