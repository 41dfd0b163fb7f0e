"""Where the pointer of a display is, and what it looks like."""

from __future__ import annotations

import math
import struct
from time import monotonic
from typing import Any, Final

import numpy as np
import xcffib.xfixes
import xcffib.xproto
from numpy.typing import NDArray

from recorder_worker.adapters.sources.x11.link import REPLY_HEAD_SIZE, RequestError, X11Link
from recorder_worker.core.frames.pictures import Pointer, Region
from recorder_worker.core.frames.pointer_part import MAX_SHAPE_PIXELS

_HEAD: Final = struct.Struct("<12xHHHH")
"""GetCursorImage: width, height, and the hot spot, behind the pointer's place."""
_CURSOR_NOTIFY: Final = 1
_MAX_SIDE: Final = math.isqrt(MAX_SHAPE_PIXELS)
"""Of a shape that is cut: programs can make larger ones than a recording takes."""
CUT_REST_S: Final = 10.0
"""Behind a shape that had to be cut none is asked for within this. XCB cannot bound a reply: one
of 8000x8000 pixels costs seconds and 256 MB, and a program could show another in every frame."""
_XFIXES: Final[tuple[int, int]] = (2, 0)


class PointerWatch:
    """Asks for the place in every frame, and for the shape when the server says it is another."""

    def __init__(self, link: X11Link, first_event: int) -> None:
        """Begin to watch; `first_event` is that of XFIXES.

        Raises:
            RequestError: the server does not allow it.
            SourceLostError: the display has gone.
        """
        self._link = link
        self._fixes = link.extension(xcffib.xfixes.key)
        self._changed = first_event + _CURSOR_NOTIFY
        self._stale = True
        self._rests_until = -math.inf
        self._hot, self._shape = (0, 0), _no_pixels()
        self._hidden = _no_pixels()
        mask = xcffib.xfixes.CursorNotifyMask.DisplayCursor
        link.check(self._fixes.SelectCursorInputChecked(link.screen.root, mask))

    def ask(self) -> Any:  # noqa: ANN401  (xcffib is generated and has no types)
        """Ask where it is."""
        return self._link.core.QueryPointer(self._link.screen.root)

    def notice(self, news: set[int]) -> None:
        """Take the types of events that have come."""
        self._stale = self._stale or self._changed in news

    def answer(self, question: Any, recorded: Region) -> Pointer:  # noqa: ANN401  (as above)
        """The pointer, in pixels of the part of the root window that is recorded.

        The shape is the same array for as long as it looks the same; behind one that was cut it
        may be older than the place, by CUT_REST_S.

        Raises:
            RequestError: the server refused to say.
            SourceLostError: the display has gone.
        """
        place = self._link.reply(question, xcffib.xproto.QueryPointerReply)
        if self._stale and monotonic() >= self._rests_until:
            self._look()
        hot_x, hot_y = self._hot
        return Pointer(
            x=place.root_x - recorded.x,
            y=place.root_y - recorded.y,
            hot_x=hot_x,
            hot_y=hot_y,
            shape=self._shape if place.same_screen else self._hidden,
        )

    def _look(self) -> None:
        self._stale = False
        try:
            reply = self._link.reply_bytes(self._fixes.GetCursorImage())
        except RequestError:  # the server has no pointer at all
            hot, shape = (0, 0), self._hidden
        else:
            width, height, *hot_spot = _HEAD.unpack_from(reply)
            pixels = np.frombuffer(reply, np.uint8, width * height * 4, REPLY_HEAD_SIZE)
            # 32-bit ARGB, least significant byte first, with premultiplied alpha: BGRA.
            shape, hot = cut_shape(pixels.reshape(height, width, 4), (hot_spot[0], hot_spot[1]))
            shape = shape.copy()
            if shape.shape[:2] != (height, width):
                self._rests_until = monotonic() + CUT_REST_S
        if hot != self._hot or not np.array_equal(shape, self._shape):
            shape.setflags(write=False)
            self._hot, self._shape = hot, shape


def open_pointer(link: X11Link) -> PointerWatch | None:
    """None where the server cannot or may not show its pointer."""
    try:
        first_event = link.agree(xcffib.xfixes, _XFIXES)
        return None if first_event is None else PointerWatch(link, first_event)
    except RequestError:
        return None


def cut_shape(
    shape: NDArray[np.uint8], hot: tuple[int, int]
) -> tuple[NDArray[np.uint8], tuple[int, int]]:
    """What of a shape can be recorded, and where the hot spot (x, y) is in it.

    A shape of more than MAX_SHAPE_PIXELS becomes the part around its hot spot, which stays in the
    middle where there is enough on both sides: that is what points at something. All others stay
    as they are.
    """
    height, width, _ = shape.shape
    if width * height <= MAX_SHAPE_PIXELS:
        return shape, hot
    left, top = (
        min(max(0, spot - _MAX_SIDE // 2), max(0, side - _MAX_SIDE))
        for spot, side in zip(hot, (width, height), strict=True)
    )
    part = shape[top : top + _MAX_SIDE, left : left + _MAX_SIDE]
    return part, (hot[0] - left, hot[1] - top)


def _no_pixels() -> NDArray[np.uint8]:
    return np.zeros((0, 0, 4), np.uint8)
