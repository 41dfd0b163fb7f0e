"""A program on a display: it draws, scrolls, moves windows and changes the pointer."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Self

import numpy as np
import xcffib
import xcffib.composite
import xcffib.render
import xcffib.xfixes
import xcffib.xproto
from numpy.typing import NDArray

_XCB: Any = xcffib  # it says that it is typed, and its functions are not
_ALL_PLANES = 0xFFFFFFFF


class XClient:
    """A client while the `with` block lasts. What it is told is done when the call returns."""

    def __init__(self, display: str) -> None:
        self._connection = _XCB.connect(display)
        self.core = self._connection.core
        screen = self._connection.setup.roots[0]
        self.root: int = screen.root
        self._depth: int = screen.root_depth
        self._context = self._connection.generate_id()
        self.core.CreateGCChecked(self._context, self.root, 0, []).check()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.disconnect()

    def grab(self) -> NDArray[np.uint8]:
        """The whole screen, BGR, through a connection that nothing else uses."""
        size = self.core.GetGeometry(self.root).reply()
        rows = []
        for top in range(0, size.height, 64):
            count = min(64, size.height - top)
            image = self.core.GetImage(
                xcffib.xproto.ImageFormat.ZPixmap,
                self.root,
                *(0, top, size.width, count),
                _ALL_PLANES,
            ).reply()
            pixels = np.frombuffer(bytes(image.data.buf()), np.uint8)
            rows.append(pixels.reshape(count, size.width, 4)[:, :, :3])
        return np.concatenate(rows)

    def window(self, x: int, y: int, width: int, height: int, colour: int) -> int:
        """A window that is shown, with a background."""
        window = int(self._connection.generate_id())
        values = [colour, 1]  # no window manager shall touch it
        mask = xcffib.xproto.CW.BackPixel | xcffib.xproto.CW.OverrideRedirect
        self.core.CreateWindowChecked(
            self._depth,
            window,
            self.root,
            *(x, y, width, height, 0),
            xcffib.xproto.WindowClass.InputOutput,
            0,
            mask,
            values,
        ).check()
        self.core.MapWindowChecked(window).check()
        return window

    def move(self, window: int, x: int, y: int) -> None:
        """Move a window: what it covered shows again."""
        mask = xcffib.xproto.ConfigWindow.X | xcffib.xproto.ConfigWindow.Y
        self.core.ConfigureWindowChecked(window, mask, [x, y]).check()

    def fill(self, target: int, x: int, y: int, width: int, height: int, colour: int) -> None:
        """A rectangle of one colour."""
        self.core.ChangeGCChecked(self._context, xcffib.xproto.GC.Foreground, [colour]).check()
        area = _XCB.xproto.RECTANGLE.synthetic(x, y, width, height)
        self.core.PolyFillRectangleChecked(target, self._context, 1, [area]).check()

    def dot(self, points: Iterable[tuple[int, int]]) -> None:
        """Single pixels, each by itself."""
        for x, y in points:
            point = _XCB.xproto.POINT.synthetic(x, y)
            self.core.PolyPoint(0, self.root, self._context, 1, [point])
        self.core.GetInputFocus().reply()

    def scroll(self, target: int, width: int, height: int, rows: int) -> None:
        """Copy what a window shows to further up in it."""
        self.core.CopyAreaChecked(
            target, target, self._context, 0, rows, 0, 0, width, height - rows
        ).check()

    def write(self, target: int, x: int, y: int, text: str) -> None:
        """Text in the server's own font, each letter a little picture."""
        self.core.ImageText8Checked(len(text), target, self._context, x, y, text).check()

    def close_window(self, window: int) -> None:
        """Take a window away."""
        self.core.DestroyWindowChecked(window).check()

    def compose(self) -> None:
        """Have windows drawn aside and put together later, as under a compositing manager."""
        composite = self._connection(xcffib.composite.key)
        composite.QueryVersion(0, 4).reply()
        automatic = xcffib.composite.Redirect.Automatic
        composite.RedirectSubwindowsChecked(self.root, automatic).check()

    def warp(self, x: int, y: int) -> None:
        """Put the pointer somewhere."""
        self.core.WarpPointerChecked(0, self.root, 0, 0, 0, 0, x, y).check()

    def set_pointer(self, bgra: NDArray[np.uint8], hot_x: int, hot_y: int) -> None:
        """Give the pointer a shape: BGRA with premultiplied alpha, as a theme's pointers are."""
        render = self._connection(xcffib.render.key)
        render.QueryVersion(0, 11).reply()
        formats = render.QueryPictFormats().reply().formats
        argb = next(
            form.id for form in formats if form.depth == 32 and form.direct.alpha_shift == 24
        )
        new_id = self._connection.generate_id
        pixmap, context, picture, cursor = (new_id() for _ in range(4))
        height, width, _ = bgra.shape
        self.core.CreatePixmapChecked(32, pixmap, self.root, width, height).check()
        self.core.CreateGCChecked(context, pixmap, 0, []).check()
        rows = max(1, 2**17 // (4 * width))
        for top in range(0, height, rows):  # a request holds at most 256 kB
            strip = bgra[top : top + rows]
            self.core.PutImageChecked(
                xcffib.xproto.ImageFormat.ZPixmap,
                pixmap,
                context,
                *(width, len(strip), 0, top, 0, 32),
                strip.size,
                strip.tobytes(),
            ).check()
        render.CreatePictureChecked(picture, pixmap, argb, 0, []).check()
        render.CreateCursorChecked(cursor, picture, hot_x, hot_y).check()
        self.core.ChangeWindowAttributesChecked(
            self.root, xcffib.xproto.CW.Cursor, [cursor]
        ).check()
