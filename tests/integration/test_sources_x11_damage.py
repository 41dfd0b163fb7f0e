"""Of a display only what was drawn is read, and no pixel of it is missed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from numpy.typing import NDArray
from structlog.testing import capture_logs
from xclient import XClient
from xserver import PLIABLE, PROGRAMS, XServer

from recorder_worker.adapters.sources.x11.image import ShmImage
from recorder_worker.adapters.sources.x11.source import X11Display
from recorder_worker.core.frames.pictures import Region
from recorder_worker.core.frames.tiles import TILE
from recorder_worker.core.sources.kinds import X11Source

WAYS = {"MIT-SHM": (), "GetImage": ("-extension", "MIT-SHM")}
WIDTH, HEIGHT = 6 * TILE + 1, 4 * TILE + 9
DEADLINE_S = 30.0
ROUNDS = 1500


def connect(server: XServer) -> X11Display:
    source = X11Source(uri=server.display)
    return X11Display(source, display=server.display, fps=10.0, timeout_s=DEADLINE_S)


@pytest.fixture(params=PROGRAMS)
def server(request: pytest.FixtureRequest) -> Iterator[XServer]:
    with XServer(WIDTH, HEIGHT, program=request.param) as running:
        yield running


def outside(picture: NDArray[np.uint8], regions: tuple[Region, ...]) -> NDArray[np.uint8]:
    """The picture with black where it may have changed."""
    rest = picture.copy()
    for region in regions:
        rest[region.y : region.y + region.height, region.x : region.x + region.width] = 0
    return rest


def test_what_was_drawn_is_said_and_nothing_else(server: XServer) -> None:
    display = connect(server)
    with XClient(server.display) as client:
        assert display.facts.description.endswith("by MIT-SHM and DAMAGE")
        assert display.read().changed is None, "nothing was before the first"
        assert display.read().changed == ()
        client.fill(client.root, 2 * TILE + 3, TILE + 3, 5, 5, 0x123456)
        frame = display.read()
        assert frame.changed == (Region(x=2 * TILE, y=TILE, width=TILE, height=TILE),)
        assert frame.picture[TILE + 3, 2 * TILE + 3].tolist() == [0x56, 0x34, 0x12]
        window = client.window(WIDTH - 4, HEIGHT - 4, 4, 4, 0xFFFFFF)
        corner = (Region(x=6 * TILE, y=4 * TILE, width=1, height=9),)
        assert display.read().changed == (Region(x=5 * TILE, y=4 * TILE, width=TILE + 1, height=9),)
        client.fill(window, 3, 3, 1, 1, 0x0000FF)
        frame = display.read()
        assert frame.changed == corner
        assert np.array_equal(frame.picture, client.grab())
        client.close_window(window)
        assert np.array_equal(display.read().picture, client.grab())
        assert display.read().changed == ()
    display.close()


def test_a_frame_stays_until_the_next_is_read(server: XServer) -> None:
    display = connect(server)
    with XClient(server.display) as client:
        frame = display.read()
        kept = frame.picture.copy()
        client.fill(client.root, 0, 0, WIDTH, HEIGHT, 0x808080)
        assert np.array_equal(frame.picture, kept)
        assert (display.read().picture == 0x80).all()
    display.close()


def busy(client: XClient, seed: int) -> None:
    """What programs do to a screen, at random."""
    random = np.random.default_rng(seed)
    window = client.window(20 * seed, 10 * seed, 3 * TILE, 2 * TILE, 0x202020)
    for _ in range(ROUNDS):
        x, y = (int(value) for value in random.integers(-40, 3 * TILE, 2))
        match int(random.integers(0, 6)):
            case 0:
                client.move(window, x, y)
            case 1:
                client.scroll(window, 3 * TILE, 2 * TILE, 13)
            case 2:
                client.write(window, abs(x), abs(y), f"line {x} of {y}")
            case 3:
                client.close_window(client.window(x, y, 50, 40, int(random.integers(1 << 24))))
            case 4:
                client.warp(abs(x), abs(y))
            case _:
                colour = int(random.integers(1 << 24))
                client.fill(client.root, x, y, 30, 30, colour)
                client.fill(window, abs(x), abs(y), 30, 30, ~colour & 0xFFFFFF)


@pytest.mark.parametrize("composed", [False, True], ids=["plain", "composed"])
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("program", PROGRAMS)
def test_no_pixel_is_missed_while_programs_draw(
    program: str,
    way: str,
    composed: bool,
) -> None:
    with XServer(WIDTH, HEIGHT, program=program, options=WAYS[way]) as server:
        display = connect(server)
        before = display.read().picture.copy()
        with (
            XClient(server.display) as one,
            XClient(server.display) as two,
            ThreadPoolExecutor() as threads,
        ):
            if composed:
                one.compose()
            drawing = [
                threads.submit(busy, client, seed) for seed, client in enumerate((one, two), 1)
            ]
            moved = 0
            while not all(future.done() for future in drawing):
                frame = display.read()
                assert frame.changed is not None
                was, now = outside(before, frame.changed), outside(frame.picture, frame.changed)
                assert np.array_equal(was, now), "what was not said to have changed has not"
                moved += not np.array_equal(before, frame.picture)
                before = frame.picture.copy()
            for future in drawing:
                future.result()
            assert moved > 1, "there was something to miss"
            kept = display.read().picture
            assert np.count_nonzero(kept != one.grab()) == 0
        display.close()


@pytest.mark.parametrize("dots", [60, 2000])
def test_more_than_is_worth_reading_by_itself_is_read_together(server: XServer, dots: int) -> None:
    display = connect(server)
    with XClient(server.display) as client:
        display.read()
        client.dot(((index * 37) % WIDTH, (index * 53) % HEIGHT) for index in range(dots))
        frame = display.read()
        assert frame.changed is not None
        assert 1 <= len(frame.changed) <= 32
        assert np.array_equal(frame.picture, client.grab())
    display.close()


@pytest.mark.parametrize("missing", ["DAMAGE", "XFIXES"])
@pytest.mark.parametrize("program", PLIABLE)
def test_a_server_that_does_not_tell_is_read_whole_and_that_is_said(
    program: str, missing: str
) -> None:
    with XServer(WIDTH, HEIGHT, program=program, options=("-extension", missing)) as server:
        with capture_logs() as logs:
            display = connect(server)
        assert [line["event"] for line in logs] == ["DisplayReadWhole"]
        assert logs[0]["display"] == server.display
        assert display.facts.description.endswith("whole for every frame (no DAMAGE)")
        with XClient(server.display) as client:
            for colour in (0x112233, 0x445566):
                client.fill(client.root, 5, 5, 100, 100, colour)
                frame = display.read()
                assert frame.changed is None
                assert (frame.pointer is None) == (missing == "XFIXES")
                assert np.array_equal(frame.picture, client.grab())
        display.close()


@pytest.mark.parametrize("server", PLIABLE, indirect=True)
def test_after_a_resize_everything_may_have_changed(server: XServer) -> None:
    display = connect(server)
    display.read()
    for width, height in ((200, 100), (201, 99), (WIDTH, HEIGHT)):
        server.resize(width, height)
        with XClient(server.display) as client:
            client.fill(client.root, 1, 1, 9, 9, width)
            frame = display.read()
            assert frame.changed is None
            assert frame.picture.shape == (height, width, 3)
            assert np.array_equal(frame.picture, client.grab())
            client.fill(client.root, 0, 0, 1, 1, 0xFFFFFF)
            frame = display.read()
            assert frame.changed is not None
            assert np.array_equal(frame.picture, client.grab())
    display.close()


@pytest.mark.parametrize("server", PLIABLE, indirect=True)
def test_no_pixel_is_missed_while_the_screen_is_resized(server: XServer) -> None:
    display = connect(server)
    sizes = np.random.default_rng(3).integers((100, 100), (WIDTH, HEIGHT), (25, 2)).tolist()

    def resize() -> None:
        for width, height in sizes:
            server.resize(width, height)
            with XClient(server.display) as client:
                client.fill(client.root, width - 50, height - 50, 50, 50, width << 8)

    with XClient(server.display) as client, ThreadPoolExecutor() as threads:
        resizing = threads.submit(resize)
        while not resizing.done():
            display.read()
        resizing.result()
        assert np.array_equal(display.read().picture, client.grab())
    display.close()


def test_of_an_idle_screen_nothing_is_read(
    server: XServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    pixels_read = 0
    grab = ShmImage.grab

    def counted(image: ShmImage, parts: Sequence[Region]) -> list[NDArray[np.uint8]]:
        nonlocal pixels_read
        pixels_read += sum(part.width * part.height for part in parts)
        return grab(image, parts)

    display = connect(server)
    monkeypatch.setattr(ShmImage, "grab", counted)
    with XClient(server.display) as client:
        for _ in range(5):
            display.read()
        assert pixels_read == WIDTH * HEIGHT, "the first frame, and nothing after it"
        client.fill(client.root, 0, 0, 1, 1, 1)
        for _ in range(5):
            display.read()
        assert pixels_read == WIDTH * HEIGHT + TILE * TILE
    display.close()
