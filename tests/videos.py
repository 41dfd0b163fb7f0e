"""Real videos for tests, written by OpenCV and then mistreated."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np

RATE = 25


def write_video(
    path: Path, codec: str, frames: int = 100, size: tuple[int, int] = (64, 48)
) -> Path:
    """Noise, so that every frame takes about as many bytes as the next."""
    random = np.random.default_rng(1)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*codec), RATE, size)
    assert writer.isOpened()
    for _ in range(frames):
        writer.write(random.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8))
    writer.release()
    return path


def cut(path: Path, part: float = 0.5) -> Path:
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * part)])
    return path


def readable_frames(path: Path) -> int:
    """How many frames OpenCV gives when it is asked directly."""
    capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
    count = 0
    while capture.read()[0]:
        count += 1
    capture.release()
    return count


def file_source(path: Path | str) -> dict[str, Any]:
    return {"kind": "file", "uri": str(path), "pace": "fast"}
