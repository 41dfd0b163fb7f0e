"""Draws what a film shows into one canvas: pictures with pointer and time, and cards."""

from __future__ import annotations

import cv2
import numpy as np
from msgspec.structs import replace

from recorder_worker.core.frames.pictures import Picture, Pointer
from recorder_worker.core.frames.playback import DecodedFrame
from recorder_worker.core.frames.pointer_overlay import draw_pointer
from recorder_worker.core.screening.card_text import card_lines, card_title, stamp_text
from recorder_worker.core.screening.exposures import Exposure
from recorder_worker.core.screening.scenes import Card, CardKind

_FONT = cv2.FONT_HERSHEY_SIMPLEX
_GROUND = {
    CardKind.GAP: (58, 46, 38),
    CardKind.DAMAGED: (30, 24, 120),
    CardKind.UNPLAYABLE: (58, 46, 38),
    CardKind.NOT_VERIFIED: (30, 24, 120),
}
"""Background of each card, BGR: red where something was changed."""
_TITLE_COLOUR = (255, 255, 255)
_TEXT_COLOUR = (214, 214, 214)


class Painter:
    """Paints exposures, one after the other, into one canvas that it keeps.

    Args:
        width: pixels of the canvas.
        height: pixels of the canvas. Pictures stand at its top left, black around them.
        cursor: draw the pointer where the recording knows one.
        burn_time: draw wall clock and session time into the pictures.

    Attributes:
        changed: whether the last exposure, its time apart, looks other than the one before it.
    """

    def __init__(self, width: int, height: int, *, cursor: bool, burn_time: bool) -> None:
        self.changed = True
        self._clean = np.zeros((height, width, 3), np.uint8)
        self._drawn_over = np.zeros_like(self._clean)
        self._cursor = cursor
        self._burn_time = burn_time
        self._frame_size: tuple[int, int] | None = None  # None: a card, or nothing
        self._pointer: Pointer | None = None

    def paint(self, exposure: Exposure) -> Picture:
        """What the film shows now; valid until the next call. No picture may be larger."""
        scene = exposure.scene
        self.changed = False
        if isinstance(scene, Card):
            self._card(scene)
        elif scene is not None:
            self._picture(scene.frame)
        stamped = self._burn_time and self._frame_size is not None
        if not stamped and self._pointer is None:
            return self._clean
        canvas = self._drawn_over
        canvas[...] = self._clean
        if self._pointer is not None and self._frame_size is not None:
            width, height = self._frame_size
            draw_pointer(canvas[:height, :width], self._pointer)
        if stamped:
            _stamp(canvas, stamp_text(exposure.t_ns, exposure.wall_ns))
        return canvas

    def _picture(self, frame: DecodedFrame) -> None:
        pointer = frame.pointer if self._cursor else None
        size = (frame.width, frame.height)
        place = self._clean[: frame.height, : frame.width]
        same = size == self._frame_size and _same_pixels(place, frame.picture)
        self.changed = not (same and _same_pointer(pointer, self._pointer))
        # A shape is a part of the decoder's memory, as a picture is.
        self._pointer = None if pointer is None else replace(pointer, shape=pointer.shape.copy())
        if same:
            return
        if size != self._frame_size:
            self._clean.fill(0)
        self._frame_size = size
        place[...] = frame.picture

    def _card(self, card: Card) -> None:
        self.changed, self._frame_size, self._pointer = True, None, None
        canvas = self._clean
        canvas[...] = _GROUND[card.kind]
        height, width = canvas.shape[:2]
        scale = max(0.3, min(width / 1100, height / 520))
        left, y = int(width * 0.06), height * 0.32
        _write(canvas, card_title(card), (left, int(y)), scale * 1.35, _TITLE_COLOUR, 2)
        y += 62 * scale
        for text in card_lines(card):
            for line in _wrapped(text, width - 2 * left, scale * 0.75):
                _write(canvas, line, (left, int(y)), scale * 0.75, _TEXT_COLOUR)
                y += 36 * scale


def _same_pixels(one: Picture, other: Picture) -> bool:
    """Compare eight bytes at a time where both lie in one piece."""
    if one.flags.c_contiguous and one.nbytes % 8 == 0:
        return np.array_equal(one.reshape(-1).view(np.uint64), other.reshape(-1).view(np.uint64))
    return np.array_equal(one, other)


def _same_pointer(one: Pointer | None, other: Pointer | None) -> bool:
    if one is None or other is None:
        return one is other
    places = ((p.x, p.y, p.hot_x, p.hot_y) for p in (one, other))
    return len(set(places)) == 1 and np.array_equal(one.shape, other.shape)


def _stamp(canvas: Picture, text: str) -> None:
    """A line at the bottom left on a dark ground, readable over whatever is there."""
    height, width = canvas.shape[:2]
    scale = min(0.6, width / 900)
    (text_width, text_height), below = cv2.getTextSize(text, _FONT, scale, 1)
    top = height - text_height - below - 10
    canvas[max(0, top) :, : text_width + 16] //= 4
    _write(canvas, text, (8, height - below - 5), scale, _TITLE_COLOUR)


def _write(
    canvas: Picture,
    text: str,
    at: tuple[int, int],
    scale: float,
    colour: tuple[int, int, int],
    weight: int = 1,
) -> None:
    cv2.putText(canvas, text, at, _FONT, scale, colour, weight, cv2.LINE_AA)


def _wrapped(text: str, width: int, scale: float) -> list[str]:
    """At most a few lines that fit; words longer than a line are cut."""
    lines: list[str] = []
    for word in text.split():
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and cv2.getTextSize(longer, _FONT, scale, 1)[0][0] <= width:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines[:6]
