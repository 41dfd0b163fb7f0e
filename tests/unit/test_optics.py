"""What is measured of pictures whose condition is known, and what the thresholds make of it."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from quality_pictures import (
    ALL,
    BLUE,
    GREEN,
    POLICY,
    SECOND_NS,
    bars,
    blurred,
    desktop,
    flat,
    hot,
    noisy,
    photographs,
    scene,
    written,
)

from recorder_worker.adapters.optics import OpenCvOptics
from recorder_worker.core.frames.pictures import Picture
from recorder_worker.core.masks import apply_masks
from recorder_worker.core.model import Mask
from recorder_worker.core.quality.conditions import Condition, Turn
from recorder_worker.core.quality.judge import Look, QualityJudge
from recorder_worker.core.quality.measures import Measures

OPTICS = OpenCvOptics()
BLACK, NO_SIGNAL, BLURRED = Condition.BLACK, Condition.NO_SIGNAL, Condition.BLURRED


def measured(picture: Picture, masks: tuple[Mask, ...] = ()) -> Measures:
    return OPTICS.measure(OPTICS.shrink(apply_masks(picture, masks), masks, 320))


def told(*pictures: Picture, masks: tuple[Mask, ...] = ()) -> set[Condition]:
    """What is told of a source that shows these in turns for a minute."""
    judge, found = QualityJudge(POLICY, ALL), set()
    looked = [measured(picture, masks) for picture in pictures]
    for second in range(60):
        t_ns = second * SECOND_NS
        look = Look(t_ns=t_ns, still_since_ns=t_ns, measures=looked[second % len(looked)])
        found |= {c.condition for c in judge.see(look) if c.state is Turn.BEGUN}
    return found


FRAMES = desktop()

DRAWN: dict[str, tuple[Picture, set[Condition]]] = {
    "black": (flat((0, 0, 0)), {BLACK}),
    "black of a limited range": (flat((16, 16, 16)), {BLACK}),
    "a sensor in the dark": (noisy(flat((4, 4, 4)), 5), {BLACK}),
    "a hot pixel in the dark": (hot(flat((0, 0, 0))), {BLACK}),
    "a prompt on a black console": (written(flat((0, 0, 0)), "login:"), set()),
    "a dim scene": ((scene() // 5).astype(np.uint8), set()),
    "dark blue": (flat((128, 0, 0)), {NO_SIGNAL}),
    "blue": (flat(BLUE), {NO_SIGNAL}),
    "blue with words": (written(flat(BLUE)), {NO_SIGNAL}),
    "blue through an analogue cable": (noisy(written(flat((210, 30, 30))), 6), {NO_SIGNAL}),
    "a decoder's green": (flat(GREEN), {NO_SIGNAL}),
    "white": (flat((255, 255, 255)), set()),
    "grey": (flat((128, 128, 128)), set()),
    "a page": (written(flat((250, 250, 250)), "a page"), set()),
    "a plain wall": (noisy(flat((140, 150, 155)), 4), set()),
    "SMPTE bars": (bars(), {NO_SIGNAL}),
    "SMPTE bars of full strength": (bars(255), {NO_SIGNAL}),
    "SMPTE bars between black sides": (bars(sides=80), {NO_SIGNAL}),
    "EBU bars": (bars(eight=True), {NO_SIGNAL}),
    "EBU bars with noise": (noisy(bars(eight=True), 8), {NO_SIGNAL}),
    "bars in another order": (np.ascontiguousarray(bars(eight=True)[:, ::-1]), set()),
    "six stripes of a flag": (np.ascontiguousarray(bars(eight=True).transpose(1, 0, 2)), set()),
    "a scene": (scene(), set()),
    "a scene out of focus": (blurred(scene(), 0.015), {BLURRED}),
    "the same with noise": (noisy(blurred(scene(), 0.015), 4), {BLURRED}),
    "a scene a little soft": (blurred(scene(), 0.003), set()),
    "snow": (noisy(flat((128, 128, 128)), 60), set()),
}


@pytest.mark.parametrize("name", DRAWN)
def test_drawn_pictures_are_told_for_what_they_are(name: str) -> None:
    picture, expected = DRAWN[name]
    assert told(picture) == expected, measured(picture)


@pytest.mark.parametrize("quality", [30, 90])
def test_a_codec_s_losses_do_not_hide_a_test_card(quality: int) -> None:
    for picture in (bars(), bars(eight=True), written(flat(BLUE))):
        _, data = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, quality])
        decoded = cv2.imdecode(data, cv2.IMREAD_COLOR)
        assert decoded is not None
        assert told(decoded.astype(np.uint8)) == {NO_SIGNAL}


def test_of_a_real_desktop_nothing_is_told() -> None:
    assert told(*FRAMES) == set()
    for frame in FRAMES:
        assert told(frame) == set(), measured(frame)


def test_a_real_desktop_that_is_dimmed_or_out_of_focus_is_told() -> None:
    for frame in FRAMES:
        assert told(np.zeros_like(frame)) == {BLACK}
        assert told((frame // 12).astype(np.uint8)) == {BLACK}
        soft = measured(blurred(frame, 0.02))
        assert soft.blur > POLICY.blur_begin, soft
        assert measured(frame).blur < 0.5


@pytest.mark.parametrize("name", photographs())
def test_real_photographs_are_told_for_what_they_are(name: str) -> None:
    photograph = photographs()[name]
    assert told(photograph) == set(), measured(photograph)
    assert told(blurred(photograph, 0.02)) == {BLURRED}
    assert told(noisy(blurred(photograph, 0.02), 2)) == {BLURRED}
    assert told((photograph // 12).astype(np.uint8)) == {BLACK}


def test_measures_are_those_of_the_whole_picture_where_it_is_small() -> None:
    tiny = flat((3, 200, 100), (1, 1))
    found = measured(tiny)
    assert (found.peak, found.flat, found.chroma, found.visible) == (200, 1.0, 197, 1.0)
    assert measured(flat((0, 0, 0), (5000, 1))).peak == 0


# --- masks ---------------------------------------------------------------------------------------

HALF = Mask(x=0, y=0, width=320, height=360)
ALL_OF_IT = Mask(x=0, y=0, width=65535, height=65535)


def test_what_a_mask_covers_is_not_judged() -> None:
    """Bright below the mask, black beside it; and blue with a scene below the mask."""
    lamp = flat((0, 0, 0))
    lamp[100:200, 50:250] = 255
    assert told(lamp) == set()
    assert told(lamp, masks=(HALF,)) == {BLACK}
    half_blue = scene()
    half_blue[:, 318:] = BLUE
    assert told(half_blue) == set()
    assert told(half_blue, masks=(HALF,)) == {NO_SIGNAL}


def test_a_mask_makes_nothing_black_and_nothing_sharp() -> None:
    assert told(scene(), masks=(HALF,)) == set()
    assert measured(scene(), (HALF,)).visible == pytest.approx(0.5, abs=0.01)
    soft = blurred(scene(), 0.015)
    stripes = tuple(Mask(x=x, y=0, width=8, height=360) for x in range(100, 640, 160))
    assert told(soft, masks=stripes) == {BLURRED}
    assert measured(soft, stripes).blur == pytest.approx(measured(soft).blur, abs=0.05)


def test_nothing_is_told_of_a_picture_that_is_all_masked() -> None:
    assert measured(scene(), (ALL_OF_IT,)) == Measures(visible=0.0)
    assert told(scene(), masks=(ALL_OF_IT,)) == set()


@pytest.mark.parametrize(
    "mask",
    [
        Mask(x=639, y=359, width=1, height=1),
        Mask(x=0, y=0, width=1, height=1),
        Mask(x=60000, y=60000, width=10, height=10),
    ],
    ids=["last pixel", "first pixel", "outside"],
)
def test_a_small_mask_leaves_the_rest(mask: Mask) -> None:
    assert 0.99 < measured(scene(), (mask,)).visible <= 1


# --- small pictures ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("size", "small"),
    [
        ((1920, 1080), (320, 180)),
        ((1080, 1920), (180, 320)),
        ((100, 50), (100, 50)),
        ((65535, 1), (320, 1)),
    ],
)
def test_the_longer_side_is_limited(size: tuple[int, int], small: tuple[int, int]) -> None:
    made = OPTICS.shrink(flat((1, 2, 3), size), (), 320).picture
    assert (made.shape[1], made.shape[0]) == small
    assert (made == (1, 2, 3)).all()


def test_a_small_picture_keeps_nothing_of_the_large_one() -> None:
    """A source may draw the next picture into the same memory."""
    large = scene((100, 50))
    made = OPTICS.shrink(large, (), 320)
    before = made.picture.copy()
    large[:] = 0
    np.testing.assert_array_equal(made.picture, before)


def test_a_jpeg_is_the_picture() -> None:
    small = OPTICS.shrink(FRAMES[0], (), 320).picture
    decoded = cv2.imdecode(np.frombuffer(OPTICS.jpeg(small, 60), np.uint8), cv2.IMREAD_COLOR)
    assert decoded is not None
    assert decoded.shape == small.shape
    assert float(np.abs(decoded.astype(np.int16) - small).mean()) < 8
    assert len(OPTICS.jpeg(small, 90)) > len(OPTICS.jpeg(small, 60)) > len(OPTICS.jpeg(small, 20))
