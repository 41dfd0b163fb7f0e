"""A part of a display: a region or a monitor, and the pointer as it is seen from there."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from numpy.typing import NDArray
from xclient import XClient
from xserver import PLIABLE, PROGRAMS, XServer

from recorder_worker.adapters.sources.x11 import pointer as pointers
from recorder_worker.adapters.sources.x11.source import X11Display
from recorder_worker.core.errors import SourceError, SourceLostError
from recorder_worker.core.frames.pointer_part import pack_pointer, unpack_pointer
from recorder_worker.core.sources.kinds import ScreenPart, X11Source

WIDTH, HEIGHT = 400, 300
LEFT, RIGHT = (0, 0, 190, 300), (190, 20, 210, 280)
DEADLINE_S = 30.0


def connect(
    server: XServer, *, monitor: str | None = None, region: tuple[int, int, int, int] | None = None
) -> X11Display:
    part = None
    if region is not None:
        x, y, width, height = region
        part = ScreenPart(x=x, y=y, width=width, height=height)
    source = X11Source(uri=server.display, monitor=monitor, region=part)
    return X11Display(source, display=server.display, fps=10.0, timeout_s=DEADLINE_S)


def cut(screen: NDArray[np.uint8], part: tuple[int, int, int, int]) -> NDArray[np.uint8]:
    x, y, width, height = part
    return screen[y : y + height, x : x + width]


@pytest.fixture(params=PROGRAMS)
def server(request: pytest.FixtureRequest) -> Iterator[XServer]:
    with XServer(WIDTH, HEIGHT, program=request.param) as running:
        noise = np.random.default_rng(1).integers(0, 256, (HEIGHT, WIDTH, 4), np.uint8)
        running.paint(noise)
        yield running


@pytest.fixture
def client(server: XServer) -> Iterator[XClient]:
    with XClient(server.display) as running:
        yield running


# --- regions -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "region", [(0, 0, 400, 300), (13, 7, 201, 99), (399, 299, 1, 1), (0, 150, 400, 1)]
)
def test_a_region_is_recorded_and_nothing_else(
    server: XServer, client: XClient, region: tuple[int, int, int, int]
) -> None:
    display = connect(server, region=region)
    x, y, width, height = region
    assert (display.facts.width, display.facts.height) == (width, height)
    assert f"region {width}x{height}+{x}+{y}" in display.facts.description
    assert np.array_equal(display.read().picture, cut(client.grab(), region))
    client.fill(client.root, x, y, 1, 1, 0x010203)
    frame = display.read()
    assert frame.picture[0, 0].tolist() == [3, 2, 1]
    assert frame.changed is not None
    (changed,) = frame.changed
    assert (changed.x, changed.y) == (0, 0)
    assert np.array_equal(frame.picture, cut(client.grab(), region))
    display.close()


def test_what_is_drawn_beside_a_region_is_no_change(server: XServer, client: XClient) -> None:
    display = connect(server, region=(100, 100, 100, 100))
    display.read()
    client.fill(client.root, 0, 0, WIDTH, 100, 0xFF)
    client.fill(client.root, 200, 0, 50, HEIGHT, 0xFF)
    assert display.read().changed == ()
    display.close()


@pytest.mark.parametrize("region", [(0, 0, 401, 300), (0, 1, 400, 300), (65535, 0, 1, 1)])
def test_a_region_that_is_not_on_the_screen_is_refused(
    server: XServer, region: tuple[int, int, int, int]
) -> None:
    with pytest.raises(SourceError, match="found a screen of 400x300; name another part") as found:
        connect(server, region=region)
    assert not isinstance(found.value, SourceLostError)


@pytest.mark.parametrize("server", PLIABLE, indirect=True)
def test_a_region_from_which_the_screen_shrinks_is_lost(server: XServer) -> None:
    display = connect(server, region=(100, 100, 200, 200))
    display.read()
    server.resize(350, 300)
    assert display.read().changed is None
    server.resize(299, 300)
    with pytest.raises(SourceLostError, match=r"expected region 200x200\+100\+100 inside of its"):
        display.read()
    display.close()
    with pytest.raises(SourceError, match="found a screen of 299x300"):
        connect(server, region=(100, 100, 200, 200))


# --- monitors ------------------------------------------------------------------------------------


def test_a_monitor_is_followed_where_it_moves(server: XServer, client: XClient) -> None:
    server.set_monitor("left", *LEFT)
    server.set_monitor("right", *RIGHT)
    display = connect(server, monitor="right")
    assert "monitor right at 210x280+190+20" in display.facts.description
    assert np.array_equal(display.read().picture, cut(client.grab(), RIGHT))
    for place in ((100, 20, 210, 280), (0, 0, 50, 60), (10, 0, 50, 60), RIGHT):
        server.set_monitor("right", *place)
        frame = display.read()
        assert frame.changed is None
        assert np.array_equal(frame.picture, cut(client.grab(), place))
        client.fill(client.root, place[0] + 9, place[1] + 9, 5, 5, 0xFFFFFF)
        frame = display.read()
        assert frame.changed is not None
        assert np.array_equal(frame.picture, cut(client.grab(), place))
    display.close()


def test_a_monitor_that_is_switched_off_is_lost_and_found_when_it_is_on(server: XServer) -> None:
    server.set_monitor("left", *LEFT)
    server.set_monitor("right", *RIGHT)
    display = connect(server, monitor="right")
    display.read()
    server.remove_monitor("right")
    with pytest.raises(SourceLostError, match=r"expected a monitor right, found .*left 190x300"):
        display.read()
    display.close()
    with pytest.raises(SourceError, match="may be switched off or unplugged"):
        connect(server, monitor="right")
    server.set_monitor("right", *RIGHT)
    display = connect(server, monitor="right")
    assert display.read().picture.shape == (280, 210, 3)
    display.close()


def test_a_monitor_that_is_not_there_is_named_with_those_that_are(server: XServer) -> None:
    server.set_monitor("left", *LEFT)
    with pytest.raises(SourceError, match=r"a monitor DP-9, found .*left 190x300\+0\+0"):
        connect(server, monitor="DP-9")


def test_a_monitor_beyond_the_screen_is_refused(server: XServer) -> None:
    server.set_monitor("far", 300, 0, 200, 200)
    with pytest.raises(SourceError, match=r"monitor far 200x200\+300\+0 inside of its screen"):
        connect(server, monitor="far")


def test_without_randr_there_are_no_monitors() -> None:
    with XServer(options=("-extension", "RANDR")) as server:
        with pytest.raises(SourceError, match="name a region instead of a monitor"):
            connect(server, monitor="screen")
        display = connect(server, region=(1, 2, 3, 4))
        assert display.read().picture.shape == (4, 3, 3)
        display.close()


# --- the pointer ---------------------------------------------------------------------------------


def arrow(seed: int) -> NDArray[np.uint8]:
    """A pointer's picture, half of it see-through."""
    bgra = np.random.default_rng(seed).integers(0, 256, (24, 17, 4), np.uint8)
    alpha = bgra[:, :, 3:].astype(np.uint16)
    bgra[:, :, :3] = bgra[:, :, :3] * alpha // 255
    return bgra


def test_the_pointer_is_where_and_what_it_is(server: XServer, client: XClient) -> None:
    display = connect(server)
    client.set_pointer(arrow(1), 3, 4)
    for x, y in ((0, 0), (WIDTH - 1, HEIGHT - 1), (57, 91)):
        client.warp(x, y)
        frame = display.read()
        pointer = frame.pointer
        assert pointer is not None
        assert (pointer.x, pointer.y, pointer.hot_x, pointer.hot_y) == (x, y, 3, 4)
        assert np.array_equal(pointer.shape, arrow(1))
        assert np.array_equal(frame.picture, client.grab()), "it is beside the picture, not in it"
    display.close()


def test_a_shape_is_one_array_until_it_is_another(server: XServer, client: XClient) -> None:
    display = connect(server)
    client.set_pointer(arrow(1), 0, 0)
    shapes = []
    for x in range(3):
        client.warp(x, x)
        pointer = display.read().pointer
        assert pointer is not None
        shapes.append(pointer.shape)
    assert shapes[0] is shapes[1] is shapes[2]
    client.set_pointer(arrow(1), 0, 0)  # the same picture from another program
    again = display.read().pointer
    assert again is not None
    assert again.shape is shapes[0]
    client.set_pointer(arrow(2), 1, 0)
    other = display.read().pointer
    assert other is not None
    assert np.array_equal(other.shape, arrow(2))
    assert other.hot_x == 1
    assert np.array_equal(shapes[0], arrow(1)), "what was handed out stays as it was"
    display.close()


def test_a_pointer_that_moves_changes_no_picture(server: XServer, client: XClient) -> None:
    display = connect(server)
    display.read()
    for x in range(0, 200, 40):
        client.warp(x, x)
        assert display.read().changed == ()
    display.close()


def test_the_pointer_is_told_from_the_corner_of_the_part(server: XServer, client: XClient) -> None:
    display = connect(server, region=(100, 50, 60, 40))
    for x, y in ((100, 50), (0, 0), (399, 299)):
        client.warp(x, y)
        pointer = display.read().pointer
        assert pointer is not None
        assert (pointer.x, pointer.y) == (x - 100, y - 50)
    display.close()


@pytest.mark.parametrize(
    ("size", "hot", "corner"),
    [
        ((1024, 1024), (0, 0), (0, 0)),
        ((1500, 1100), (0, 0), (0, 0)),
        ((1500, 1100), (700, 1090), (188, 76)),
        ((1500, 1100), (1499, 1099), (476, 76)),
        ((2000, 600), (1000, 50), (488, 0)),
    ],
)
@pytest.mark.parametrize("server", ["Xvfb"], indirect=True)
def test_a_pointer_larger_than_a_recording_takes_is_cut_around_its_hot_spot(
    server: XServer,
    client: XClient,
    size: tuple[int, int],
    hot: tuple[int, int],
    corner: tuple[int, int],
) -> None:
    display = connect(server)
    (width, height), (left, top) = size, corner
    bgra = np.random.default_rng(3).integers(0, 128, (height, width, 4), np.uint8)
    bgra[:, :, 3] = 255
    client.set_pointer(bgra, *hot)
    client.warp(7, 8)
    pointer = display.read().pointer
    assert pointer is not None
    assert (pointer.x, pointer.y) == (7, 8)
    assert (pointer.hot_x, pointer.hot_y) == (hot[0] - left, hot[1] - top)
    assert np.array_equal(pointer.shape, bgra[top : top + 1024, left : left + 1024])
    code, data = pack_pointer(pointer, None)
    assert unpack_pointer(code, memoryview(data), None)[1] == len(data)
    display.close()


@pytest.mark.parametrize("server", ["Xvfb"], indirect=True)
def test_behind_a_pointer_that_was_cut_no_other_shape_is_asked_for_for_a_while(
    server: XServer, client: XClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    now_s = [100.0]
    monkeypatch.setattr(pointers, "monotonic", lambda: now_s[0])
    display = connect(server)

    def shape() -> NDArray[np.uint8]:
        pointer = display.read().pointer
        assert pointer is not None
        return pointer.shape

    client.set_pointer(np.full((1100, 1500, 4), 255, np.uint8), 0, 0)
    client.warp(7, 8)
    huge = shape()
    assert huge.shape == (1024, 1024, 4)
    client.set_pointer(arrow(1), 0, 0)
    client.warp(9, 9)
    now_s[0] += pointers.CUT_REST_S - 1
    pointer = display.read().pointer
    assert pointer is not None
    assert pointer.shape is huge
    assert (pointer.x, pointer.y) == (9, 9), "where it is, is still told"
    now_s[0] += 1
    assert np.array_equal(shape(), arrow(1))
    client.set_pointer(arrow(2), 0, 0)
    assert np.array_equal(shape(), arrow(2)), "behind others nobody waits"
    display.close()
