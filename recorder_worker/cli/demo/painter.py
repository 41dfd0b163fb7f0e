"""Paints something that moves: text that scrolls as in a terminal, and a rectangle that wanders."""

from __future__ import annotations

import threading
from types import TracebackType
from typing import Any, Self

import xcffib
import xcffib.xproto

PERIOD_S = 0.08
LINE_HEIGHT = 16
TEXT_WIDTH = 520
BOX = 60
SHADES = (0x3B82F6, 0xF59E0B, 0x10B981, 0xEF4444)
BACKGROUND, FOREGROUND = 0x101418, 0xD0D8E0

_XCB: Any = xcffib  # it says that it is typed, and its functions are not


class Painter:
    """Paints on a display, in a thread of its own, while the `with` block lasts."""

    def __init__(self, display: str) -> None:
        self._display = display
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="demo-painter", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        try:
            connection = _XCB.connect(self._display)
            try:
                self._paint(connection)
            finally:
                connection.disconnect()
        except xcffib.XcffibException:
            return  # the display is gone: that is the recording's to tell, and it does

    def _paint(self, connection: Any) -> None:  # noqa: ANN401  (xcffib is generated, without types)
        canvas = Canvas(connection)
        step = 0
        while not self._stop.wait(PERIOD_S):
            if step % 3 == 0:
                canvas.scroll(f"{step // 3:05d}  the recorder keeps every pixel of this line")
            canvas.move_box(step)
            # A request with a reply: so that a slow server slows us, and is not flooded.
            connection.core.GetInputFocus().reply()
            step += 1


class Canvas:
    """The root window of a display."""

    def __init__(self, connection: Any) -> None:  # noqa: ANN401  (as above)
        self._core = connection.core
        screen = connection.setup.roots[0]
        self._root = screen.root
        self._width, self._height = screen.width_in_pixels, screen.height_in_pixels
        font = connection.generate_id()
        self._core.OpenFontChecked(font, len("fixed"), "fixed").check()  # built into the server
        self._context = connection.generate_id()
        names = xcffib.xproto.GC.Foreground | xcffib.xproto.GC.Background | xcffib.xproto.GC.Font
        self._core.CreateGCChecked(
            self._context, self._root, names, [FOREGROUND, BACKGROUND, font]
        ).check()
        self._fill(BACKGROUND, 0, 0, self._width, self._height)
        self._box: tuple[int, int] | None = None

    def scroll(self, text: str) -> None:
        """Move the text up by a line and write a new last one."""
        last = self._height - LINE_HEIGHT
        self._core.CopyArea(
            self._root, self._root, self._context, 0, LINE_HEIGHT, 0, 0, TEXT_WIDTH, last
        )
        self._fill(BACKGROUND, 0, last, TEXT_WIDTH, LINE_HEIGHT)
        self._colour(FOREGROUND)
        self._core.ImageText8(len(text), self._root, self._context, 8, self._height - 4, text)

    def move_box(self, step: int) -> None:
        """Draw the rectangle a little further on, beside the text."""
        if self._box is not None:
            self._fill(BACKGROUND, *self._box, BOX, BOX)
        room = (self._width - TEXT_WIDTH - BOX, self._height - BOX)
        x, y = _bounced(step * 7, room[0]), _bounced(step * 5, room[1])
        self._box = (TEXT_WIDTH + x, y)
        self._fill(SHADES[step // 12 % len(SHADES)], *self._box, BOX, BOX)

    def _fill(self, colour: int, x: int, y: int, width: int, height: int) -> None:
        self._colour(colour)
        rectangle = _XCB.xproto.RECTANGLE.synthetic(x, y, width, height)
        self._core.PolyFillRectangle(self._root, self._context, 1, [rectangle])

    def _colour(self, colour: int) -> None:
        self._core.ChangeGC(self._context, xcffib.xproto.GC.Foreground, [colour])


def _bounced(way: int, room: int) -> int:
    """Where something is that runs to and fro in a room, after a way."""
    at = way % (2 * room)
    return min(at, 2 * room - at)
