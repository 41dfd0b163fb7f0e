"""Pictures whose condition is known: drawn ones, and frames of the demo's clip, a real desktop."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np

from recorder_worker.core.frames.pictures import Picture
from recorder_worker.core.quality.conditions import Condition
from recorder_worker.core.quality.judge import QualityPolicy
from recorder_worker.service.policies import watch_policy
from recorder_worker.service.settings.pictures import QualitySettings

DEMO = Path(__file__).parents[1] / "demo" / "screen.mkv"
PHOTOGRAPHS = Path(__file__).parent / "vectors" / "pictures"
SECOND_NS = 1_000_000_000
POLICY: QualityPolicy = watch_policy(QualitySettings()).quality
"""The thresholds that are in force where nobody sets others."""
ALL = tuple(Condition)

BLUE, GREEN = (255, 0, 0), (0, 135, 0)
"""BGR. Green is what a decoder makes of planes that are all zero."""
SMPTE = ((1, 1, 1), (0, 1, 1), (1, 1, 0), (0, 1, 0), (1, 0, 1), (0, 0, 1), (1, 0, 0))
"""The seven bars, BGR: white, yellow, cyan, green, magenta, red, blue."""


def flat(colour: tuple[int, int, int], size: tuple[int, int] = (640, 360)) -> Picture:
    return np.full((size[1], size[0], 3), colour, np.uint8)


def hot(picture: Picture) -> Picture:
    """With one pixel of the sensor that always burns."""
    picture[40, 60] = 255
    return picture


def written(picture: Picture, text: str = "NO SIGNAL") -> Picture:
    shown = picture.copy()
    place = (shown.shape[1] // 3, shown.shape[0] // 2)
    cv2.putText(shown, text, place, cv2.FONT_HERSHEY_SIMPLEX, 1.0, (255, 255, 255), 2)
    return shown


def noisy(picture: Picture, deviation: float, seed: int = 1) -> Picture:
    """As a sensor gives it."""
    noise = np.random.default_rng(seed).normal(0, deviation, picture.shape)
    return np.clip(picture + noise, 0, 255).astype(np.uint8)


def blurred(picture: Picture, share: float) -> Picture:
    """Out of focus: a Gaussian whose deviation is a share of the width."""
    made = cv2.GaussianBlur(picture, (0, 0), picture.shape[1] * share)
    return made.astype(np.uint8)


def bars(
    level: int = 191, *, eight: bool = False, size: tuple[int, int] = (640, 360), sides: int = 0
) -> Picture:
    """SMPTE's seven bars over what is below them, or EBU's eight; `sides` black at both."""
    picture = flat((0, 0, 0), size)
    colours = (*SMPTE, (0, 0, 0)) if eight else SMPTE
    edges = np.linspace(sides, size[0] - sides, len(colours) + 1).astype(int)
    for colour, left, right in zip(colours, edges, edges[1:], strict=False):
        picture[:, left:right] = np.array(colour) * level
    if not eight:
        picture[size[1] * 2 // 3 :] = 16
    return picture


def scene(size: tuple[int, int] = (640, 360), seed: int = 3) -> Picture:
    """Shapes of many sizes and colours with texture, as a camera sees a room in focus."""
    random = np.random.default_rng(seed)
    picture = flat((90, 110, 120), size)
    for _ in range(120):
        centre = (int(random.integers(size[0])), int(random.integers(size[1])))
        radius = int(random.integers(4, 50))
        colour = [int(level) for level in random.integers(0, 256, 3)]
        cv2.circle(picture, centre, radius, colour, -1)
        corner = (centre[0] + radius, centre[1] + radius // 2)
        cv2.rectangle(picture, centre, corner, [255 - level for level in colour], -1)
    return noisy(picture, 3)


def photographs() -> dict[str, Picture]:
    """Photographs by their names."""
    found: dict[str, Picture] = {}
    for path in sorted(PHOTOGRAPHS.glob("*.jpg")):
        picture: Any = cv2.imread(str(path), cv2.IMREAD_COLOR)
        found[path.stem] = picture
    assert len(found) == 4
    return found


def desktop(count: int = 6) -> list[Picture]:
    """Frames of a real desktop: terminals first, a browser then."""
    capture = cv2.VideoCapture(str(DEMO), cv2.CAP_FFMPEG)
    frames = []
    while True:
        read, picture = capture.read()
        if not read:
            break
        frames.append(picture.astype(np.uint8))
    capture.release()
    assert len(frames) == 250
    return frames[:: len(frames) // count][:count]
