"""Clips of screens, 1920x1080 at 10 frames a second: from a folder, or drawn here.

Those that are drawn are the same on every machine with the same OpenCV. They stand in for what
was recorded on real desktops: text that scrolls, a page with pictures, a photo behind an idle
desktop, and a film in a part of it.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import av
import cv2
import numpy as np

from benchmarks.video_codecs import FPS, LOSSY, decoded
from recorder_worker.adapters.sources.pattern import PatternDesktop
from recorder_worker.core.frames.pictures import Picture
from recorder_worker.core.sources.kinds import PatternSource

WIDTH, HEIGHT = 1920, 1080
MAX_FRAMES = 300
FILM = (slice(300, 660), slice(600, 1240))
_TYPES = {".mkv", ".mp4", ".avi", ".mov"}


def clips(folder: Path | None) -> Iterator[tuple[str, list[Picture]]]:
    """Name and pictures of each clip, one at a time; at most `MAX_FRAMES` of each are held."""
    if folder is None:
        for name, draw in DRAWN.items():
            yield name, list(itertools.islice(draw(), MAX_FRAMES))
        return
    paths = sorted(path for path in folder.iterdir() if path.suffix in _TYPES)
    if not paths:
        raise SystemExit(f"expected videos ({', '.join(sorted(_TYPES))}) in {folder}, found none")
    for path in paths:
        yield path.stem, list(itertools.islice(_decoded(path), MAX_FRAMES))


def _decoded(path: Path) -> Iterator[Picture]:
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            yield np.ascontiguousarray(frame.to_ndarray(format="bgr24"))


def _log() -> Iterator[Picture]:
    """The synthetic desktop of the pattern source: a log scrolls, then rests."""
    source = PatternDesktop(PatternSource(width=WIDTH, height=HEIGHT), fps=FPS)
    while (frame := source.read()) is not None:
        yield frame.picture


def _page() -> Iterator[Picture]:
    """A long page with text and pictures, which is scrolled by the wheel now and then."""
    page = np.full((HEIGHT * 6, WIDTH, 3), 250, np.uint8)
    rng = np.random.default_rng(3)
    for line in range(len(page) // 24):
        words = rng.choice(["recorder", "frame", "the", "of", "a", "chunk", "sealed", "tile"], 16)
        text, at = " ".join(words), (220, 24 * line + 18)
        cv2.putText(page, text, at, cv2.FONT_HERSHEY_SIMPLEX, 0.6, (40, 30, 30), 1, cv2.LINE_AA)
    for top in range(300, len(page) - 400, 1500):
        page[top : top + 360, 1200:1840] = photo(640, 360, seed=top)
    offset = 0
    for nth in itertools.count():
        if nth % 30 < 8:
            offset = (offset + 53) % (len(page) - HEIGHT)
        yield page[offset : offset + HEIGHT].copy()


def _idle() -> Iterator[Picture]:
    """A photo, a clock that ticks and a caret that blinks."""
    desktop = photo(WIDTH, HEIGHT, seed=1)
    for nth in itertools.count():
        picture = desktop.copy()
        picture[500:518, 800:802] = 255 * (nth // 5 % 2)
        picture[1050:1080] = 40
        clock = f"{nth // 600:02}:{nth // 10 % 60:02}"
        cv2.putText(picture, clock, (1800, 1072), cv2.FONT_HERSHEY_PLAIN, 1.5, (255, 255, 255))
        yield picture


def _film() -> Iterator[Picture]:
    """A desktop in which a 640x360 film plays, which was compressed with loss as films are."""
    desktop = np.full((HEIGHT, WIDTH, 3), 90, np.uint8)
    shots = LOSSY.encode(list(itertools.islice(_shots(), MAX_FRAMES)))
    for shot in decoded(shots):
        desktop[FILM] = shot
        yield desktop.copy()


def _shots() -> Iterator[Picture]:
    """A slow pan over a scene, with a little grain."""
    scene, rng = photo(1280, 720, seed=2), np.random.default_rng(5)
    for nth in itertools.count():
        turn = nth / 40
        centre = (640 + 200 * float(np.cos(turn)), 360 + 100 * float(np.sin(turn)))
        shot = cv2.getRectSubPix(scene, (640, 360), centre).astype(np.int16)
        yield np.clip(shot + rng.integers(-2, 3, shot.shape), 0, 255).astype(np.uint8)


def photo(width: int, height: int, seed: int) -> Picture:
    """Something like a photo: random detail of every size, less of it the smaller it is."""
    rng = np.random.default_rng(seed)
    picture = np.zeros((height, width, 3), np.float32)
    for octave in range(9):
        side = 2**octave
        coarse = rng.normal(0, 1, (height * side // 512 + 2, width * side // 512 + 2, 3))
        grey = coarse.mean(axis=2, keepdims=True) * 2 + coarse * 0.5
        wide = cv2.resize(grey.astype(np.float32), (width, height), interpolation=cv2.INTER_CUBIC)
        picture += wide * 48 / side**0.8
    return np.clip(picture + 120, 0, 255).astype(np.uint8)


DRAWN: dict[str, Callable[[], Iterator[Picture]]] = {
    "log": _log,
    "page": _page,
    "idle": _idle,
    "film": _film,
}
