"""What reading an X display costs: only what was drawn, against the whole screen.

    .venv/bin/python -m benchmarks displays

Xvfb of 1920x1080, read ten times a second, by the source alone: nothing is encoded. A program of
its own draws. The ways take turns; medians of the processor time of this process and of the X
server, less what they take while nobody reads. `DISPLAYS_SECONDS` sets the length of a turn (4).
"""

from __future__ import annotations

import multiprocessing
import os
import shutil
import statistics
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import xcffib
import xcffib.xproto

from benchmarks.peers import print_table
from recorder_worker.adapters.sources.x11.source import X11Display
from recorder_worker.core.sources.kinds import X11Source

SECONDS = float(os.environ.get("DISPLAYS_SECONDS", "4"))
ROUNDS, FPS = 5, 10
WIDTH, HEIGHT = 1920, 1080
WAYS = {"nobody reads": None, "what was drawn": True, "whole": False}
"""Whether DAMAGE is used; None: the display is not read at all."""
_XCB: Any = xcffib  # it says that it is typed, and its functions are not


class Cost(NamedTuple):
    """Hundredths of one core."""

    reader: float
    server: float


# --- what is on the screen ------------------------------------------------------------------------


class Program:
    """Draws in a window of its own, ten times a second."""

    def __init__(self, display: str, width: int, height: int) -> None:
        self._connection = _XCB.connect(display)
        self._core = self._connection.core
        screen = self._connection.setup.roots[0]
        self._window, self._context = (self._connection.generate_id() for _ in range(2))
        self._width, self._height = width, height
        self._core.CreateWindow(
            screen.root_depth,
            self._window,
            screen.root,
            *(100, 100, width, height, 0),
            xcffib.xproto.WindowClass.InputOutput,
            0,
            xcffib.xproto.CW.BackPixel,
            [0x202020],
        )
        self._core.MapWindow(self._window)
        colours = xcffib.xproto.GC.Foreground | xcffib.xproto.GC.Background
        self._core.CreateGC(self._context, self._window, colours, [0xD0D0D0, 0x202020])

    def log(self, turn: int) -> None:
        """A terminal in which a line comes and all others go up."""
        line = 16
        rest = self._height - line
        where = (0, line, 0, 0, self._width, rest)
        self._core.CopyArea(self._window, self._window, self._context, *where)
        text = f"{turn:08d} " + "the quick brown fox jumps over the lazy dog " * 3
        self._core.ImageText8(len(text), self._window, self._context, 4, rest + 12, text)

    def film(self, turn: int) -> None:
        """Every pixel is another in every picture."""
        pixels = np.random.default_rng(turn).integers(0, 256, (360, 640, 4), np.uint8)
        for top in range(0, 360, 60):  # a request holds at most 256 kB
            strip = pixels[top : top + 60]
            self._core.PutImage(
                xcffib.xproto.ImageFormat.ZPixmap,
                self._window,
                self._context,
                *(640, 60, 0, top, 0, 24),
                strip.size,
                strip.tobytes(),
            )

    def caret(self, turn: int) -> None:
        """A caret that blinks twice a second."""
        if turn % 5 == 0:
            self._core.ClearArea(0, self._window, 0, 0, 8, 16)
        if turn % 10 == 0:
            text = "|"
            self._core.ImageText8(len(text), self._window, self._context, 0, 12, text)

    def finish(self) -> None:
        """Wait until the server has drawn it."""
        self._core.GetInputFocus().reply()


LOADS = {
    "nothing happens": ("", 0, 0),
    "a caret blinks": ("caret", 800, 600),
    "a log in a window of 1200x800": ("log", 1200, 800),
    "a film of 640x360": ("film", 640, 360),
}


def draw(display: str, what: str, width: int, height: int) -> None:
    """Draw until this process is ended."""
    program, begin, turn = Program(display, width, height), time.monotonic(), 0
    while True:
        getattr(program, what)(turn)
        program.finish()
        turn += 1
        time.sleep(max(0.0, begin + turn / FPS - time.monotonic()))


# --- measuring ------------------------------------------------------------------------------------


@contextmanager
def server() -> Iterator[tuple[str, int]]:
    """An X server's display name and process id."""
    reader, writer = os.pipe()
    command = ["Xvfb", "-displayfd", str(writer), "-screen", "0", f"{WIDTH}x{HEIGHT}x24"]
    process = subprocess.Popen(  # noqa: S603  (a program of this benchmark)
        [*command, "-noreset", "-nolisten", "tcp"], pass_fds=[writer], stderr=subprocess.DEVNULL
    )
    os.close(writer)
    try:
        with os.fdopen(reader) as told:
            yield f":{told.readline().strip()}", process.pid
    finally:
        process.terminate()
        process.wait()


def processor_s(pid: int) -> float:
    """Seconds on a processor of all threads of a process, to the nanosecond."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9


def turn(display: str, pid: int, *, damage: bool | None) -> Cost:
    """Read for some seconds, or only wait."""
    source = None
    if damage is not None:
        known = X11Source(uri=display)
        source = X11Display(known, display=display, fps=FPS, damage=damage)
        source.read()
    server_s, reader_s, begin = processor_s(pid), time.process_time(), time.monotonic()
    for nth in range(1, round(SECONDS * FPS) + 1):
        time.sleep(max(0.0, begin + nth / FPS - time.monotonic()))
        if source is not None:
            source.read()
    taken_s = time.monotonic() - begin
    cost = Cost(time.process_time() - reader_s, processor_s(pid) - server_s)
    if source is not None:
        source.close()
    return Cost(*(100 * seconds / taken_s for seconds in cost))


@contextmanager
def drawn_on(what: str, width: int, height: int) -> Iterator[tuple[str, int]]:
    """As `server`, with a program of its own that draws; none where `what` is empty."""
    with server() as (display, pid):
        process = None
        if what:
            context = multiprocessing.get_context("spawn")
            process = context.Process(target=draw, args=(display, what, width, height), daemon=True)
            process.start()
            time.sleep(2)  # an interpreter has started by then
        try:
            yield display, pid
        finally:
            if process is not None:
                process.terminate()
                process.join()


def measure(what: str, width: int, height: int) -> dict[str, Cost]:
    """The median cost of each way, of one load."""
    found: dict[str, list[Cost]] = {way: [] for way in WAYS}
    with drawn_on(what, width, height) as (display, pid):
        for _ in range(ROUNDS):
            for way, damage in WAYS.items():
                found[way].append(turn(display, pid, damage=damage))
    return {
        way: Cost(*map(statistics.median, zip(*costs, strict=True))) for way, costs in found.items()
    }


def main() -> None:
    """Print the figures."""
    if shutil.which("Xvfb") is None:
        print("no Xvfb here: displays are not measured")
        return
    rows = {}
    for name, (what, width, height) in LOADS.items():
        costs = measure(what, width, height)
        alone = costs["nobody reads"]
        drawn, whole = (
            Cost(*(much - least for much, least in zip(costs[way], alone, strict=True)))
            for way in ("what was drawn", "whole")
        )
        ratio = sum(whole) / sum(drawn) if sum(drawn) > 0 else float("inf")
        cells = [f"{value:.2f} %" for value in (*drawn, *whole)]
        rows[name] = (*cells, f"{ratio:.1f}x", f"{alone.server:.2f} %")
    title = f"{WIDTH}x{HEIGHT} at {FPS} frames a second: of one core, medians of {ROUNDS} turns"
    heads = ("drawn: reader", "server", "whole: reader", "server", "ratio", "server alone")
    print_table(title, rows, heads)


if __name__ == "__main__":
    main()
