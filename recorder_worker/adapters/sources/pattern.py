"""A synthetic desktop: wallpaper, a scrolling log, a clock and a pointer.

Unit n is a function of the seed, the size and n alone, so that a source that is opened again at
any unit goes on with the same pixels. (Letters are drawn by OpenCV: another version of it may
draw others.) Of every hundred units sixty are busy and forty idle, as on a desk.
"""

from __future__ import annotations

import hashlib
import math
from typing import Final

import cv2
import numpy as np

from recorder_worker.adapters.sources.pattern_letters import write
from recorder_worker.core.errors import SourceLostError
from recorder_worker.core.frames.pictures import Picture
from recorder_worker.core.model import SourceClock, SourceFacts
from recorder_worker.core.sources.kinds import PatternSource
from recorder_worker.ports import Frame

_CYCLE_UNITS: Final = 100
_BUSY_UNITS: Final = 60
_UNITS_A_LINE: Final = 2
_UNITS_A_CLOCK_TICK: Final = 10
_LINE_HEIGHT: Final = 18
_TITLE_HEIGHT: Final = 22
_WINDOW_COLOUR: Final = (30, 24, 22)
_WORDS: Final = (
    *("accepted", "archive", "begin", "blob", "cache", "chunk", "closed", "commit", "connect"),
    *("digest", "error=0", "fetch", "flush", "frame", "index", "lease", "leaf", "merge", "ok"),
    *("open", "packet", "queue", "ready", "retry", "root", "seal", "segment", "signed", "sync"),
    *("tile", "token", "verify", "wait"),
)


class PatternDesktop:
    """Frames of a synthetic desktop of which every pixel is known beforehand."""

    def __init__(self, source: PatternSource, *, fps: float, first_unit: int = 0) -> None:
        self._source = source
        self._fps = fps
        self._unit = first_unit
        self._scenes: dict[tuple[int, int], _Scene] = {}
        self._closed = False

    @property
    def facts(self) -> SourceFacts:
        """What was asked for: a pattern is all it claims to be."""
        source = self._source
        return SourceFacts(
            kind="pattern",
            uri=source.uri,
            description=f"synthetic desktop {source.width}x{source.height}, seed {source.seed}",
            width=source.width,
            height=source.height,
            clock=SourceClock.MEDIA,
            frame_rate=self._fps,
            frame_count=source.frames,
        )

    def read(self) -> Frame | None:
        """The next frame; None behind the last that was asked for.

        Raises:
            SourceLostError: the source is closed.
        """
        if self._closed:
            raise SourceLostError(f"{self._source.uri}: expected an open source, found it closed")
        unit = self._unit
        if self._source.frames is not None and unit >= self._source.frames:
            return None
        self._unit += 1
        size = self._size(unit)
        if size not in self._scenes:
            self._scenes[size] = _Scene(*size, self._source.seed)
        return Frame(
            picture=self._scenes[size].draw(unit), t_ns=round(unit * 1_000_000_000 / self._fps)
        )

    def close(self) -> None:
        """Let go of the drawings."""
        self._closed = True
        self._scenes.clear()

    def _size(self, unit: int) -> tuple[int, int]:
        width, height = self._source.width, self._source.height
        every = self._source.resize_every
        if every is not None and unit // every % 2:
            return max(1, width * 3 // 4), max(1, height * 3 // 4)
        return width, height


class _Scene:
    """Everything drawn at one size. What it keeps between units only saves drawing it again."""

    def __init__(self, width: int, height: int, seed: int) -> None:
        self._seed = seed
        self._background = _wallpaper(width, height, seed)
        left, top = width // 12, height // 10
        self._log = (left, top + _TITLE_HEIGHT, width * 8 // 12, height * 8 // 10 - _TITLE_HEIGHT)
        if self._log[2] > 0 and height > top + _TITLE_HEIGHT:
            right, bottom = left + self._log[2], top + _TITLE_HEIGHT + max(0, self._log[3])
            cv2.rectangle(
                self._background, (left, top), (right - 1, bottom - 1), _WINDOW_COLOUR, -1
            )
            cv2.rectangle(
                self._background,
                (left, top),
                (right - 1, top + _TITLE_HEIGHT - 1),
                (96, 84, 72),
                -1,
            )
            write(self._background, f"log of seed {seed}", left + 8, top + 16, (240, 240, 240))
        self._lines: dict[int, Picture] = {}
        self._clock: tuple[int, Picture] | None = None

    def draw(self, unit: int) -> Picture:
        """A new picture of one unit."""
        cycle, phase = divmod(unit, _CYCLE_UNITS)
        busy_units = cycle * _BUSY_UNITS + min(phase, _BUSY_UNITS)
        picture = self._background.copy()
        self._draw_log(picture, busy_units // _UNITS_A_LINE)
        self._draw_clock(picture, unit // _UNITS_A_CLOCK_TICK)
        _draw_pointer(picture, busy_units)
        return picture

    def _draw_log(self, picture: Picture, first_line: int) -> None:
        left, top, width, height = self._log
        for row in range(height // _LINE_HEIGHT):
            if width < 1:
                return
            y = top + row * _LINE_HEIGHT
            picture[y : y + _LINE_HEIGHT, left : left + width] = self._line(first_line + row)
        for line in [line for line in self._lines if line < first_line]:
            del self._lines[line]

    def _line(self, number: int) -> Picture:
        """One line of the log, as a strip of the window's width."""
        strip = self._lines.get(number)
        if strip is None:
            chosen = hashlib.sha256(f"{self._seed}:{number}".encode()).digest()
            words = [_WORDS[byte % len(_WORDS)] for byte in chosen[: 3 + chosen[31] % 9]]
            colour = [(210, 210, 210), (120, 220, 120), (90, 200, 240), (240, 170, 120)]
            strip = np.full((_LINE_HEIGHT, self._log[2], 3), _WINDOW_COLOUR, np.uint8)
            stamp = f"{number:07d} {chosen[:3].hex()} {' '.join(words)}"
            write(strip, stamp, 6, 14, colour[chosen[30] % len(colour)])
            self._lines[number] = strip
        return strip

    def _draw_clock(self, picture: Picture, seconds: int) -> None:
        height, width, _ = picture.shape
        corner = picture[max(0, height - 30) :, max(0, width - 110) :]
        if self._clock is None or self._clock[0] != seconds:
            face = np.full(corner.shape, (60, 40, 20), np.uint8)
            text = f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}"
            write(face, text, 10, 21, (255, 255, 255))
            self._clock = seconds, face
        corner[:] = self._clock[1]


def _wallpaper(width: int, height: int, seed: int) -> Picture:
    """A gradient between two colours of the seed, from corner to corner."""
    colours = np.frombuffer(hashlib.sha256(f"wallpaper {seed}".encode()).digest()[:6], np.uint8)
    begin, end = colours[:3] // 2, colours[3:] // 2 + 128
    down = np.arange(height, dtype=np.int64)[:, None]
    across = np.arange(width, dtype=np.int64)[None, :]
    share = (down * width + across * height) * 256 // (2 * width * height)
    step = end.astype(np.int64) - begin
    mixed = begin + share[:, :, None] * step // 256
    picture: Picture = mixed.astype(np.uint8)
    return picture


def _draw_pointer(picture: Picture, busy_units: int) -> None:
    """An arrow on a Lissajous curve, which stands still while the desk is idle."""
    height, width, _ = picture.shape
    x = int((width - 1) * (0.5 + 0.45 * math.sin(busy_units * 0.05)))
    y = int((height - 1) * (0.5 + 0.45 * math.sin(busy_units * 0.07)))
    arrow = np.array([(0, 0), (0, 16), (4, 12), (7, 18), (9, 17), (7, 11), (12, 11)], np.int32)
    placed = arrow + np.array([x, y], np.int32)
    cv2.fillPoly(picture, [placed], (255, 255, 255))
    cv2.polylines(picture, [placed], isClosed=True, color=(0, 0, 0))
