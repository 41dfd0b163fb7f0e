"""Benchmarks by name, or all of them: `make bench`, `python -m benchmarks integrity`."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

from benchmarks import (
    desktops,
    displays,
    encryption,
    export,
    frames,
    integrity,
    pipeline,
    quality,
    screen,
    seek,
    sizing,
    turns,
    x11grab,
)
from recorder_worker.service.observing import logs
from recorder_worker.service.settings.tree import LogSettings

parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
parser.add_argument("--clips", type=Path, help="folder with videos of screens, for `screen`")
parser.add_argument("names", nargs="*", help="which ones; without any, all")

if __name__ == "__main__":
    logs.configure(LogSettings(level="error"))
    given = parser.parse_args()
    benchmarks: dict[str, Callable[[], object]] = {
        "frames": frames.main,
        "screen": lambda: screen.main(given.clips),
        "displays": displays.main,
        "x11grab": x11grab.main,
        "desktops": desktops.main,
        "turns": turns.main,
        "pipeline": pipeline.main,
        "integrity": integrity.main,
        "encryption": encryption.main,
        "quality": quality.main,
        "seek": seek.main,
        "export": export.main,
        "sizing": sizing.main,
    }
    if unknown := set(given.names) - set(benchmarks):
        parser.error(f"expected some of {', '.join(benchmarks)}; got {', '.join(unknown)}")
    for name in given.names or benchmarks:
        benchmarks[name]()
