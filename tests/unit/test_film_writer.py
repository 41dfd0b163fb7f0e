"""Films as they are written: bit by bit where that is promised, with true times and colours."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from read_films import read_film

from recorder_worker.adapters.film.painter import Painter
from recorder_worker.adapters.film.writer import FORMS, FilmWriter, form_of
from recorder_worker.core.errors import RefusedError, StoreError
from recorder_worker.core.frames.pictures import Picture, Pointer
from recorder_worker.core.frames.playback import DecodedFrame
from recorder_worker.core.screening.exposures import Exposure
from recorder_worker.core.screening.scenes import Card, CardKind, Scene, Shot

S = 1_000_000_000
MP4, MKV = FORMS[".mp4"], FORMS[".mkv"]


def noise(count: int, width: int = 97, height: int = 51) -> list[Picture]:
    rng = np.random.default_rng(7)
    return [rng.integers(0, 256, (height, width, 3), np.uint8) for _ in range(count)]


def test_a_lossless_film_has_every_pixel_at_its_time(tmp_path: Path) -> None:
    pictures = noise(40)
    times = [n * S // 25 + (n % 3) * 7_000_000 for n in range(40)]
    with FilmWriter(tmp_path / "film.mkv", MKV, (97, 51), 25) as writer:
        for picture, film_ns in zip(pictures, times, strict=True):
            writer.put(picture, film_ns)
        writer.finish(9 * S)
    film = read_film(tmp_path / "film.mkv")
    assert len(film.pictures) == writer.frame_count == 40
    assert all(map(np.array_equal, film.pictures, pictures))
    assert film.times_s == [pytest.approx(film_ns / S, abs=6e-4) for film_ns in times]
    assert film.length_s == pytest.approx(9)


def test_pictures_of_one_moment_are_all_kept(tmp_path: Path) -> None:
    pictures = noise(5)
    with FilmWriter(tmp_path / "film.mkv", MKV, (97, 51), 10) as writer:
        for picture in pictures:
            writer.put(picture, S)
        writer.finish(S)
    film = read_film(tmp_path / "film.mkv")
    assert all(map(np.array_equal, film.pictures, pictures))
    assert film.times_s == [pytest.approx(1 + n / 1000) for n in range(5)]


def test_a_film_for_browsers_has_true_times_and_colours_and_its_index_in_front(
    tmp_path: Path,
) -> None:
    colours = [(255, 0, 0), (0, 255, 0), (0, 0, 255), (30, 200, 120), (255, 255, 255), (0, 0, 0)]
    times = [0, S // 3, S, 3 * S, 3 * S + S // 90, 60 * S]
    with FilmWriter(tmp_path / "film.mp4", MP4, (98, 52), 10) as writer:
        for colour, film_ns in zip(colours, times, strict=True):
            writer.put(np.full((52, 98, 3), colour, np.uint8), film_ns)
        writer.finish(100 * S)
    film = read_film(tmp_path / "film.mp4")
    assert (film.width, film.height) == (98, 52)
    assert film.times_s == [pytest.approx(film_ns / S, abs=1e-5) for film_ns in times]
    assert film.length_s == pytest.approx(100, abs=0.01)
    for colour, picture in zip(colours, film.pictures, strict=True):
        assert np.abs(picture[26, 49].astype(int) - colour).max() <= 6
    data = (tmp_path / "film.mp4").read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")


def test_a_film_of_nothing_can_still_be_ended(tmp_path: Path) -> None:
    with FilmWriter(tmp_path / "film.mp4", MP4, (64, 64), 10) as writer:
        writer.finish(0)
    assert writer.frame_count == 0


def test_sizes_that_no_encoder_takes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RefusedError, match="20000x2 pixels"):
        FilmWriter(tmp_path / "film.mp4", MP4, (20000, 2), 10)


def test_a_place_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    writer = FilmWriter(tmp_path / "no" / "film.mp4", MP4, (64, 64), 10)
    writer.put(noise(1, 64, 64)[0], 0)
    with pytest.raises(StoreError, match="cannot be written"):
        writer.finish(S)


@pytest.mark.parametrize("name", ["film.avi", "film", "film.mp4.txt"])
def test_other_names_are_refused(name: str) -> None:
    with pytest.raises(RefusedError, match=r"ends in \.mp4 or \.mkv"):
        form_of(Path(name))


# --- painting ------------------------------------------------------------------------------------


def exposure(scene: Scene | None, t_ns: int = 0) -> Exposure:
    return Exposure(film_ns=0, t_ns=t_ns, wall_ns=S + t_ns, scene=scene)


def shot(picture: Picture, pointer: Pointer | None = None) -> Shot:
    height, width, _ = picture.shape
    frame = DecodedFrame(
        keyframe=True,
        unit=0,
        t_ns=0,
        wall_ns=S,
        width=width,
        height=height,
        picture=picture,
        pointer=pointer,
    )
    return Shot(t_ns=0, wall_ns=S, frame=frame, cut=False)


def card(kind: CardKind, detail: str = "") -> Card:
    return Card(kind=kind, t0_ns=0, t1_ns=S, wall0_ns=0, wall1_ns=S, reason="pause", detail=detail)


def block() -> NDArray[np.uint8]:
    return np.full((3, 3, 4), 255, np.uint8)


def test_pictures_stand_at_the_top_left_and_nothing_of_others_stays() -> None:
    painter = Painter(200, 100, cursor=True, burn_time=False)
    large, small = noise(1, 200, 100)[0], noise(1, 97, 51)[0]
    assert np.array_equal(painter.paint(exposure(shot(large))), large)
    canvas = painter.paint(exposure(shot(small)))
    assert np.array_equal(canvas[:51, :97], small)
    assert not canvas[51:].any()
    assert not canvas[:, 97:].any()


def test_what_looks_the_same_has_not_changed() -> None:
    painter = Painter(98, 52, cursor=True, burn_time=False)
    one = noise(1, 98, 52)[0]
    near = one.copy()
    near[51, 97, 2] ^= 1
    seen = []
    for picture in (one, one.copy(), near, near, one):
        painter.paint(exposure(shot(picture)))
        seen.append(painter.changed)
    assert seen == [True, False, True, False, True]


def test_a_pointer_that_moves_leaves_nothing_behind() -> None:
    painter = Painter(98, 52, cursor=True, burn_time=False)
    black = np.zeros((52, 98, 3), np.uint8)
    places: list[tuple[int, int] | None] = [(10, 10), (40, 20), (40, 20), None]
    seen, changed = [], []
    for place in places:
        pointer = place and Pointer(x=place[0], y=place[1], hot_x=0, hot_y=0, shape=block())
        canvas = painter.paint(exposure(shot(black, pointer or None)))
        seen.append(np.argwhere(canvas.any(axis=2))[:1].tolist())
        changed.append(painter.changed)
    assert seen == [[[10, 10]], [[20, 40]], [[20, 40]], []]
    assert changed == [True, True, False, True]
    hidden = Painter(98, 52, cursor=False, burn_time=False)
    pointer = Pointer(x=1, y=1, hot_x=0, hot_y=0, shape=block())
    assert not hidden.paint(exposure(shot(black, pointer))).any()


def test_the_time_is_drawn_over_the_picture_and_goes_on() -> None:
    painter = Painter(400, 100, cursor=True, burn_time=True)
    grey = np.full((100, 400, 3), 90, np.uint8)
    first = painter.paint(exposure(shot(grey))).copy()
    again = painter.paint(exposure(None, t_ns=1_000_000)).copy()
    assert (first[:60] == 90).all()
    assert (first[60:] > 200).any()
    assert not np.array_equal(first, again)
    assert not painter.changed
    on_card = painter.paint(exposure(card(CardKind.GAP))).copy()
    assert np.array_equal(on_card, painter.paint(exposure(None, t_ns=S)))


@pytest.mark.parametrize("size", [(40, 30), (1280, 720), (3840, 1080)])
@pytest.mark.parametrize("kind", list(CardKind))
def test_a_card_has_text_of_its_own_on_its_ground(kind: CardKind, size: tuple[int, int]) -> None:
    painter = Painter(*size, cursor=True, burn_time=False)
    detail = "chunks/0000000003.zst: expected " + "0123456789abcdef" * 40 + " ü\u202e\n"
    canvas = painter.paint(exposure(card(kind, detail)))
    ground = canvas[0, 0]
    assert ground[2] > 100 if kind in {CardKind.DAMAGED, CardKind.NOT_VERIFIED} else True
    text = (canvas.astype(int) - ground > 60).any(axis=2)
    assert 0.001 < text.mean() < 0.5
    assert painter.changed
