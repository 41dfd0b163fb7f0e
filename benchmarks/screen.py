"""The `screen` codec beside video encoders: bytes an hour and processor seconds a minute.

Run as `python -m benchmarks screen`, with `--clips DIR` for clips of your own; without it the
clips are drawn. Every lossless row is decoded and compared, pixel by pixel.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from benchmarks.clips import clips
from benchmarks.peers import print_table
from benchmarks.screen_codec import ScreenCodec, changes, decoded_chunks, seek
from benchmarks.video_codecs import FPS, VIDEO_CODECS, decoded
from recorder_worker.core.frames.pictures import Picture

ROUNDS = 3
INTRA_FRAMES = 30
SEEKS = 20
OURS = "screen"
Row = tuple[Sequence[Picture], Callable[[], int]]


def main(folder: Path | None = None) -> None:
    """Print the tables."""
    for name, pictures in clips(folder):
        _compare(name, pictures)
        _seek(name, pictures)


def _compare(name: str, pictures: list[Picture]) -> None:
    """Each candidate's size and time; they take turns, and the first turn only checks them."""
    told = changes(pictures)
    some: Sequence[Picture]
    works: dict[str, Row] = {
        OURS: (pictures, lambda: ScreenCodec().record(pictures).stored_size),
        f"{OURS}, told what changed": (
            pictures,
            lambda: ScreenCodec().record(pictures, told).stored_size,
        ),
    }
    _check_exact(OURS, pictures, decoded_chunks(ScreenCodec().record(pictures, told).chunks))
    for title, codec in VIDEO_CODECS.items():
        some = pictures[:INTRA_FRAMES] if codec.intra else pictures
        if codec.lossless:
            _check_exact(title, some, decoded(codec.encode(some)))
        works[title] = (some, lambda codec=codec, some=some: len(codec.encode(some)))  # type: ignore[misc]
    sizes: dict[str, float] = {}
    times: dict[str, list[float]] = {title: [] for title in works}
    for _ in range(ROUNDS):
        for title, (some, work) in works.items():
            begin = time.process_time()
            size = work()
            times[title].append((time.process_time() - begin) * 60 * FPS / len(some))
            sizes[title] = size * 3600 * FPS / len(some) / 1e6
    _print(f"{name}, {len(pictures)} frames", sizes, times)


def _print(title: str, sizes: dict[str, float], times: dict[str, list[float]]) -> None:
    medians = {name: statistics.median(found) for name, found in times.items()}
    rows = {
        name: (
            f"{sizes[name]:.0f}",
            f"{sizes[name] / sizes[OURS]:.2f}x",
            f"{medians[name]:.2f}",
            f"{medians[name] / medians[OURS]:.2f}x",
        )
        for name in sizes
    }
    print_table(title, rows, ("MB an hour", "of ours", "CPU-s a minute", "of ours"))


def _check_exact(title: str, pictures: Sequence[Picture], found: Iterator[Picture]) -> None:
    for expected, picture in zip(pictures, found, strict=True):
        if not np.array_equal(expected, picture):
            raise SystemExit(f"{title}: expected every pixel as it was, found others")


def _seek(name: str, pictures: list[Picture]) -> None:
    """The same clip over and over, an idle one for an hour; then frames out of what is stored."""
    frames = FPS * (3600 if name == "idle" else 60)
    lap = changes([*pictures, pictures[0]])[1:]
    told = [None, *(lap[n % len(lap)] for n in range(frames - 1))]
    recorded = ScreenCodec().record([pictures[n % len(pictures)] for n in range(frames)], told)
    groups = [chunk.unit for chunk in recorded.chunks if chunk.keyframe]
    units = [unit - 1 for unit in [*groups[1:], frames]]  # the farthest from their keyframes
    units = [*units, *np.random.default_rng(0).integers(0, frames, SEEKS).tolist()]
    wall, cpu = [], []
    for unit in units:
        begin, begin_cpu = time.perf_counter(), time.process_time()
        picture = seek(recorded.chunks, unit)
        wall.append((time.perf_counter() - begin) * 1e3)
        cpu.append((time.process_time() - begin_cpu) * 1e3)
        if not np.array_equal(picture, pictures[unit % len(pictures)]):
            raise SystemExit(f"unit {unit}: expected every pixel as it was, found others")
    stored = f"{recorded.stored_size / 1e6:.1f} MB, {len(groups)} keyframes"
    print(
        f"{name} for {frames // FPS} s: {stored}; a frame in {statistics.median(wall):.0f} ms, "
        f"at most {max(wall):.0f}; of the processor {statistics.median(cpu):.0f} and {max(cpu):.0f}"
    )
