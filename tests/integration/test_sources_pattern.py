"""The synthetic desktop: the same for everyone, at every size, from any unit on."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from recorder_worker.adapters.sources.pattern import PatternDesktop
from recorder_worker.adapters.sources.pattern_letters import write
from recorder_worker.core.frames.pictures import Picture
from recorder_worker.core.sources.kinds import PatternSource


def picture_of(unit: int, *, width: int = 320, height: int = 240, seed: int = 0) -> Picture:
    source = PatternSource(width=width, height=height, seed=seed)
    frame = PatternDesktop(source, fps=10.0, first_unit=unit).read()
    assert frame is not None
    return frame.picture


@pytest.mark.parametrize(
    ("width", "height"),
    [(1, 1), (1, 300), (300, 1), (2, 2), (13, 23), (37, 41), (64, 64), (131, 97), (7680, 40)],
)
def test_every_size_can_be_drawn(width: int, height: int) -> None:
    for unit in (0, 61, 1_000_003):
        assert picture_of(unit, width=width, height=height).shape == (height, width, 3)


def test_a_unit_does_not_depend_on_what_was_read_before() -> None:
    source = PatternDesktop(PatternSource(width=320, height=240), fps=10.0)
    for unit in range(130):
        frame = source.read()
        assert frame is not None
        if unit % 13 == 0:
            assert np.array_equal(frame.picture, picture_of(unit))


def test_seeds_and_units_differ() -> None:
    assert not np.array_equal(picture_of(0), picture_of(0, seed=1))
    assert not np.array_equal(picture_of(0), picture_of(1))


def test_a_desk_is_idle_now_and_then() -> None:
    assert np.array_equal(picture_of(71), picture_of(72))
    assert not np.array_equal(picture_of(79), picture_of(80))


def test_a_source_without_an_end_goes_on() -> None:
    source = PatternDesktop(PatternSource(width=8, height=8), fps=25.0, first_unit=9_999_999)
    for expected in (399_999_960_000_000, 400_000_000_000_000):
        frame = source.read()
        assert frame is not None
        assert frame.t_ns == expected
    assert source.facts.frame_count is None


def test_the_size_alternates() -> None:
    source = PatternSource(width=101, height=1, frames=7, resize_every=2)
    desktop = PatternDesktop(source, fps=10.0)
    shapes = []
    while (frame := desktop.read()) is not None:
        shapes.append(frame.picture.shape[:2])
    large, small = (1, 101), (1, 75)
    assert shapes == [large, large, small, small, large, large, small]


def test_letters_are_opencvs() -> None:
    ours = np.random.default_rng(5).integers(0, 255, (30, 400, 3), dtype=np.uint8)
    theirs, before = ours.copy(), ours.copy()
    text, colour = "0000042 c0ffee log of seed: 7 error=0 token", (120, 20, 240)
    write(ours, text, 6, 20, colour)
    cv2.putText(theirs, text, (6, 20), cv2.FONT_HERSHEY_PLAIN, 1.0, colour)
    apart = np.abs(ours.astype(np.int16) - theirs)
    assert np.count_nonzero(ours != before) > 5000
    assert apart.max() < 48, "where two letters meet"
    assert np.count_nonzero(apart) < 100


def test_letters_outside_of_a_picture_are_cut_off() -> None:
    whole = np.zeros((60, 200, 3), np.uint8)
    write(whole, "archive", 50, 30, (255, 255, 255))
    for rows, columns in ((slice(20, 25), slice(60, 70)), (slice(0, 5), slice(0, 9))):
        part = np.zeros_like(whole[rows, columns])
        write(part, "archive", 50 - columns.start, 30 - rows.start, (255, 255, 255))
        assert np.array_equal(part, whole[rows, columns])


def test_no_session_has_letters_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """OpenCV keeps 5.8 MiB of fonts for each thread that draws one."""
    picture_of(0)
    monkeypatch.setattr(cv2, "putText", None)
    picture_of(1)
