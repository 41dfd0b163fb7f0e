"""Threads that encode pictures at once: as they come, and little ones one at a time.

`python -m benchmarks turns`. Sixteen sessions of the pattern, a thread for each, encoded and looked
at as capture does: the time of the processor for a frame, that of the clock, and how often a thread
had to wait for another, which is mostly for the interpreter's lock.
"""

from __future__ import annotations

import resource
import statistics
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from threading import Thread

from benchmarks.peers import print_table
from recorder_worker.adapters.optics import OpenCvOptics
from recorder_worker.adapters.sources.pattern import PatternDesktop
from recorder_worker.core.frames.encoder import FrameEncoder
from recorder_worker.core.frames.pictures import Picture
from recorder_worker.core.sources.kinds import PatternSource
from recorder_worker.stages.capture.one_at_a_time import turn

SESSIONS = 16
FRAMES = 40
ROUNDS = 5
LONGEST = 320
SIZES = ((320, 192), (352, 288), (640, 480), (1280, 720))

Turn = Callable[[Picture], AbstractContextManager[object]]


def _session(pictures: list[Picture], take: Turn) -> None:
    encoder, optics = FrameEncoder(), OpenCvOptics()
    for unit, picture in enumerate(pictures):
        with take(picture):
            encoder.encode(picture, unit=unit, t_ns=unit, wall_ns=unit + 1, keyframe=unit == 0)
        with take(picture):
            small = optics.shrink(picture, (), LONGEST)
        with take(small.picture):
            optics.measure(small)


def _measured(pictures: list[Picture], take: Turn) -> tuple[float, float, float]:
    """Milliseconds of the processor and of the clock, and waits, for each frame."""
    threads = [Thread(target=_session, args=(pictures, take)) for _ in range(SESSIONS)]
    begin_s = time.perf_counter()
    waits, cpu_s = resource.getrusage(resource.RUSAGE_SELF).ru_nvcsw, time.process_time()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    count = SESSIONS * len(pictures)
    waits = resource.getrusage(resource.RUSAGE_SELF).ru_nvcsw - waits
    cpu_s, lasted_s = time.process_time() - cpu_s, time.perf_counter() - begin_s
    return cpu_s * 1000 / count, lasted_s * 1000 / count, waits / count


def _pictures(width: int, height: int) -> list[Picture]:
    desktop = PatternDesktop(PatternSource(width=width, height=height, frames=FRAMES), fps=5.0)
    return [frame.picture for frame in iter(desktop.read, None)]


def main() -> None:
    """Print what a frame costs at each size, both ways in the same run."""
    rows = {}
    for width, height in SIZES:
        pictures = _pictures(width, height)
        ways: dict[str, Turn] = {"as they come": lambda _: nullcontext(), "in turn": turn}
        found: dict[str, list[tuple[float, float, float]]] = {name: [] for name in ways}
        for _ in range(ROUNDS):
            for name, take in ways.items():
                found[name].append(_measured(pictures, take))
        cells = []
        for seen in found.values():
            cells += [f"{statistics.median(column):.2f}" for column in zip(*seen, strict=True)]
        plain, turns = found.values()
        for column in range(2):
            pairs = zip(plain, turns, strict=True)
            cells.append(f"{statistics.median(b[column] / a[column] for a, b in pairs):.2f}")
        rows[f"{width}x{height}"] = cells
    one = ["ms of a core", "ms of the clock", "waits"]
    heads = [*one, *(f"in turn: {head}" for head in one), "ratio, core", "ratio, clock"]
    print_table(f"{SESSIONS} sessions at once, for each frame, medians of {ROUNDS}", rows, heads)
