"""The film of a recording: the source's own times, shifted by whole stretches, and what jumped."""

from __future__ import annotations

import pytest

from recorder_worker.core.packets.film import Film
from recorder_worker.core.packets.slices import goes_on
from recorder_worker.core.sources.urls import bare, shown

SECOND = 1_000_000_000
TICK = (1, 1000)


def test_a_stretch_keeps_the_times_of_its_source() -> None:
    film = Film()
    film.open(TICK)
    assert film.follow(5_000, 40, 2 * SECOND) is None
    assert film.shift == -3_000
    assert film.follow(5_040, 40, 2 * SECOND + 90_000_000) is None
    assert film.shift == -3_000


def test_another_opening_begins_at_its_session_time_and_never_before_the_end() -> None:
    film = Film()
    film.open(TICK)
    film.follow(0, 4_000, 0)
    film.open((1, 90_000))
    film.follow(0, 3_000, SECOND)
    assert film.shift == 4 * 90_000
    film.open((1, 90_000))
    film.follow(0, 3_000, 60 * SECOND)
    assert film.shift == 60 * 90_000


@pytest.mark.parametrize(
    ("dts", "t_ns", "what"),
    [
        (1_040, SECOND + 40_000_000, None),
        (900, SECOND + 40_000_000, "backward"),
        (1_000, SECOND + 40_000_000, "backward"),
        (9_000, SECOND + 40_000_000, "forward"),
        (4_000, 4 * SECOND, "silence"),
        (1_040, 4 * SECOND, None),  # late in the network, and not in the source
    ],
)
def test_a_jump_is_what_the_times_of_the_source_do(dts: int, t_ns: int, what: str | None) -> None:
    film = Film()
    film.open(TICK)
    film.follow(1_000, 40, SECOND)
    jump = film.follow(dts, 40, t_ns)
    assert (jump.what if jump else None) == what
    if jump is not None:
        assert (jump.before, jump.after, jump.tick) == (1_000, dts, "1/1000")
    assert film.shift + dts >= 1_040 or what is None


H264 = b"\0\0\0\1"


@pytest.mark.parametrize(
    ("codec", "data", "expected"),
    [
        ("h264", H264 + b"\x67abc" + H264 + b"\x65\x88", False),
        ("h264", H264 + b"\x67abc" + H264 + b"\x65\x40", True),
        ("h264", H264 + b"\x06\x01", False),
        ("h264", b"", False),
        ("h264", H264 + b"\x65", False),
        ("hevc", H264 + b"\x26\x01\x80", False),
        ("hevc", H264 + b"\x40\x01\x0c" + H264 + b"\x26\x01\x20", True),
        ("mjpeg", H264 + b"\x65\x40", False),
    ],
)
def test_a_slice_that_is_not_the_first_goes_on_with_its_picture(
    codec: str, data: bytes, expected: bool
) -> None:
    assert goes_on(codec, data) is expected


@pytest.mark.parametrize(
    ("uri", "without"),
    [
        ("rtsp://host/cam", "rtsp://host/cam"),
        ("rtsp://user:pass@host:8554/cam", "rtsp://host:8554/cam"),
        ("rtsp://user:p%40ss@[::1]/cam", "rtsp://[::1]/cam"),
        ("rtsp://us@er:p@ss@host/cam", "rtsp://host/cam"),
        ("rtsp://host/cam@2x", "rtsp://host/cam@2x"),
        ("rtsp://@host/", "rtsp://host/"),
    ],
)
def test_a_login_is_what_stands_before_the_last_at_of_a_host(uri: str, without: str) -> None:
    assert bare(uri) == without


@pytest.mark.parametrize(
    "text",
    ["rtsp://u:se/cret@host/a", 'a "http://u:se?cret@h" b', "x rtsp://se#cret@h", "ftp://secret@h"],
)
def test_what_is_shown_has_nothing_before_an_at(text: str) -> None:
    assert "cret" not in shown(text)
    assert "://h" in shown(text)
