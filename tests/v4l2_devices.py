"""V4L2 devices that are none, for a worker in a process of its own: see `v4l2_device.c`.

This machine need have no camera, and no module of the kernel for one. What is stood in for is the
kernel; OpenCV's V4L2 backend is the real one.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

SOURCE = Path(__file__).with_name("v4l2_device.c")
FAULTS = ("none", "gone", "silent", "busy", "hangs", "unknown rate")


class V4l2Devices:
    """`/dev/video70` and up, as the process sees them that has `env`."""

    def __init__(self, folder: Path) -> None:
        compiler = shutil.which("cc") or shutil.which("gcc")
        if compiler is None:
            pytest.skip("no C compiler here, which makes the stand-in for a V4L2 device")
        self._folder = folder
        library = folder / "v4l2_device.so"
        made = subprocess.run(
            [compiler, "-shared", "-fPIC", "-O1", "-o", str(library), str(SOURCE), "-ldl"],
            capture_output=True,
            text=True,
            check=False,
        )
        assert made.returncode == 0, made.stderr
        self.env = {"LD_PRELOAD": str(library), "V4L2_DEVICES": str(folder)}

    def plug(self, number: int, *, fps: int = 50, frames: int = 10**9, fault: str = "none") -> str:
        """A device of 64x48 pixels; its path. `frames` come before a fault."""
        words = (64, 48, fps, frames, FAULTS.index(fault))
        (self._folder / str(number)).write_text(" ".join(map(str, words)))
        return f"/dev/video{number}"

    def unplug(self, number: int) -> None:
        (self._folder / str(number)).unlink()
