"""Benchmarks by name, or all of them: `make bench`, `python -m benchmarks integrity`."""

from __future__ import annotations

import sys

from benchmarks import encryption, export, frames, integrity, pipeline, seek, sizing
from recorder_worker.service import logs
from recorder_worker.service.settings_tree import LogSettings

BENCHMARKS = {
    "frames": frames.main,
    "pipeline": pipeline.main,
    "integrity": integrity.main,
    "encryption": encryption.main,
    "sizing": sizing.main,
    "seek": seek.main,
    "export": export.main,
}

if __name__ == "__main__":
    logs.configure(LogSettings(level="error"))
    names = sys.argv[1:] or list(BENCHMARKS)
    if unknown := set(names) - set(BENCHMARKS):
        sys.exit(f"expected some of {', '.join(BENCHMARKS)}; got {', '.join(unknown)}")
    for name in names:
        BENCHMARKS[name]()
