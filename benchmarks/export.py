"""How fast films are made: `python -m benchmarks export`.

`recorder export` in a process, with the verification that it begins with, beside `recorder verify`
alone and `recorder frames`, which decodes everything and digests its pixels.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from benchmarks.peers import medians, print_table, run
from benchmarks.recordings import (
    DESKTOP_FRAMES,
    MOTION_FRAMES,
    desktop_recording,
    motion_recording,
)

FRAMES_A_SECOND = 10
ROUNDS = 3
RECORDER = str(Path(sys.executable).with_name("recorder"))


def time_films(title: str, folder: Path, frames: int) -> None:
    """Each form of film of one recording, in turns."""
    target = folder.parent.parent

    def exported(name: str, *options: str) -> Callable[[], object]:
        command = [RECORDER, "export", str(folder), str(target / name), "--force", *options]
        return lambda: run(command)

    works: dict[str, Callable[[], object]] = {
        "recorder export, .mp4": exported("film.mp4"),
        "… with --burn-time": exported("burnt.mp4", "--burn-time"),
        "recorder export, .mkv": exported("film.mkv"),
        "recorder verify": lambda: run([RECORDER, "verify", str(folder)]),
        "recorder frames": lambda: run([RECORDER, "frames", str(folder)]),
    }
    seconds = medians(works, ROUNDS)
    sizes = dict(zip(works, ("film.mp4", "burnt.mp4", "film.mkv"), strict=False))
    print_table(
        f"{title}: {frames} frames",
        {
            name: (
                f"{found:.1f} s",
                f"{frames / found:.0f}",
                f"{frames / FRAMES_A_SECOND / found:.1f}x",
                f"{(target / sizes[name]).stat().st_size / 1e6:.1f} MB" if name in sizes else "",
            )
            for name, found in seconds.items()
        },
        ("median", "frames/s", "real time", "film"),
    )


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
