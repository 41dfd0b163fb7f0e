"""Wall clocks that can be set, one for each process.

libfaketime was tried first: it has Python 3.11's `time.sleep` fail with EINVAL unless it fakes the
monotonic clock as well, and a machine whose time is set keeps that one. So this is a library of our
own, of a screenful (`wall_clock.c`). nats-server reads the clock without the C library and is not
reached by it; what it stamps and measures is not part of a recording.
"""

from __future__ import annotations

import mmap
import shutil
import struct
import subprocess
from pathlib import Path
from typing import Final

SOURCE: Final = Path(__file__).with_name("wall_clock.c")


class WallClock:
    """The clock of one process, which has `env` in its environment."""

    def __init__(self, library: Path, file: Path) -> None:
        file.write_bytes(struct.pack("=q", 0))
        with file.open("r+b") as opened:
            self._mapped = mmap.mmap(opened.fileno(), 8)
        self.env = {"LD_PRELOAD": str(library), "WALL_CLOCK": str(file)}

    def jump(self, by_s: float) -> None:
        """Set it forward, or back; from where it stands."""
        (ahead_ns,) = struct.unpack("=q", self._mapped[:8])
        self._mapped[:8] = struct.pack("=q", ahead_ns + round(by_s * 1e9))


def clock_library(folder: Path) -> Path | None:
    """The library, compiled into a folder; None where there is no C compiler."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        return None
    library = folder / "wall_clock.so"
    command = [compiler, "-shared", "-fPIC", "-O1", "-o", library, SOURCE, "-ldl"]
    made = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
    assert made.returncode == 0, made.stderr
    return library
