"""How fast films are made: `python -m benchmarks export`.

`recorder export` in a process, with the verification that it begins with, beside `recorder verify`
alone and `recorder frames`, which decodes everything and digests its pixels.
"""

from __future__ import annotations

import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.peers import print_table, run
from benchmarks.recordings import (
    DESKTOP_FRAMES,
    MOTION_FRAMES,
    desktop_recording,
    motion_recording,
)

FRAMES_A_SECOND = 10
ROUNDS = 3
RECORDER = str(Path(sys.executable).with_name("recorder"))


def taken(command: Sequence[str]) -> tuple[float, float]:
    """Seconds, and seconds of processor time, that a command takes."""
    begin, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    run(command)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
    return time.perf_counter() - begin, used


def medians(commands: Mapping[str, Sequence[str]]) -> dict[str, tuple[float, float]]:
    """The median seconds of each command, and of its processor time; they take turns."""
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in commands}
    for _ in range(ROUNDS):
        for name, command in commands.items():
            found[name].append(taken(command))
    return {
        name: (statistics.median(t for t, _ in times), statistics.median(u for _, u in times))
        for name, times in found.items()
    }


def time_films(title: str, folder: Path, frames: int) -> None:
    """Each form of film of one recording, in turns."""
    films = {"recorder export, .mp4": "film.mp4", "recorder export, .mkv": "film.mkv"}
    target = folder.parent.parent
    commands: dict[str, Sequence[str]] = {
        name: (RECORDER, "export", str(folder), str(target / film), "--force")
        for name, film in films.items()
    }
    burnt = (RECORDER, "export", str(folder), str(target / "burnt.mp4"), "--force", "--burn-time")
    commands |= {
        "… .mp4, with --burn-time": burnt,
        "recorder verify": (RECORDER, "verify", str(folder)),
        "recorder frames": (RECORDER, "frames", str(folder)),
    }
    rows = {
        name: (
            f"{found_s:.1f} s",
            f"{frames / found_s:.0f}",
            f"{frames / FRAMES_A_SECOND / found_s:.1f}x",
            f"{used_s:.1f} s",
            f"{(target / films[name]).stat().st_size / 1e6:.1f} MB" if name in films else "",
        )
        for name, (found_s, used_s) in medians(commands).items()
    }
    heads = ("median", "frames/s", "real time", "CPU", "film")
    print_table(f"{title}: {frames} frames", rows, heads)


def main() -> None:
    """Print the figures."""
    with tempfile.TemporaryDirectory() as name:
        desktop = desktop_recording(Path(name) / "desktop")
        time_films("a synthetic desktop, 1920x1080", desktop, DESKTOP_FRAMES)
        (Path(name) / "motion").mkdir()
        motion = motion_recording(Path(name) / "motion")
        time_films("a 640x360 film of noise on 1920x1080", motion, MOTION_FRAMES)


if __name__ == "__main__":
    main()
