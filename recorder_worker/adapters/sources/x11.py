"""An X display, grabbed without loss."""

from __future__ import annotations

import time
from typing import Any, Final

import cv2
import numpy as np
import xcffib.xproto

from recorder_worker.adapters.sources.x11_image import RootImage, open_image
from recorder_worker.adapters.sources.x11_link import RequestError, X11Link
from recorder_worker.core.errors import SourceError, SourceLostError
from recorder_worker.core.model import SourceClock, SourceFacts, X11Source
from recorder_worker.core.pictures import Picture
from recorder_worker.ports import Frame

TIMEOUT_S: Final = 5.0
"""How long a display may be silent before it counts as lost."""

_GRAB_ATTEMPTS: Final = 5
_BGRX_MASKS: Final = (0xFF0000, 0x00FF00, 0x0000FF)
_LSB_FIRST: Final = 0


class X11Display:
    """The root window of a display, of the size that it has at each grab.

    The pointer is drawn by the display hardware and is not part of the root window.
    """

    def __init__(
        self, source: X11Source, *, display: str, fps: float, timeout_s: float = TIMEOUT_S
    ) -> None:
        """Connect to `display`, and see that the screen's pixels are ones that we know.

        Raises:
            SourceError: there is no such display, it does not admit us, or its pixels are not
                32-bit BGRX.
        """
        self._link = X11Link(display, timeout_s=timeout_s)
        self._image: RootImage | None = None
        try:
            _check_pixels(self._link)
            self._size = self._geometry(self._ask_geometry())
            self._image = open_image(self._link, *self._size)
        except SourceLostError as error:
            self.close()
            raise SourceError(f"{error}, while it was being opened") from error
        except BaseException:
            self.close()
            raise
        width, height = self._size
        vendor = bytes(self._link.setup.vendor.buf()).decode("latin-1")
        self._facts = SourceFacts(
            kind="x11",
            uri=source.uri,
            description=f"X display of {vendor}, depth {self._link.screen.root_depth}, "
            f"by {self._image.name}",
            width=width,
            height=height,
            clock=SourceClock.LIVE,
            frame_rate=fps,
        )

    @property
    def facts(self) -> SourceFacts:
        """The screen as it was when it was opened."""
        return self._facts

    def read(self) -> Frame:
        """Grab the screen now.

        Raises:
            SourceLostError: the display has gone, or has not answered in time.
        """
        if self._image is None:
            raise SourceLostError(
                f"display {self._link.display}: expected it open, found it closed"
            )
        self._link.discard_events()
        for _ in range(_GRAB_ATTEMPTS):
            t_ns = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
            size = self._size
            question = self._ask_geometry()
            picture: Picture | None
            try:
                picture = _without_fourth_byte(self._image.grab(*size))
            except RequestError:
                picture = None  # it has shrunk: the geometry says to what
            self._size = self._geometry(question)
            if picture is not None and self._size == size:
                return Frame(picture=picture, t_ns=t_ns)
        raise SourceLostError(
            f"display {self._link.display}: expected to grab it, found that its size changed or "
            f"the grab was refused {_GRAB_ATTEMPTS} times in a row"
        )

    def close(self) -> None:
        """Disconnect and give the shared memory back."""
        if self._image is not None:
            self._image.close()
            self._image = None
        self._link.close()

    def _ask_geometry(self) -> Any:  # noqa: ANN401  (xcffib is generated and has no types)
        """Ask for the size; it is sent with the grab and costs no round trip of its own."""
        return self._link.core.GetGeometry(self._link.screen.root)

    def _geometry(self, question: Any) -> tuple[int, int]:  # noqa: ANN401  (as above)
        try:
            reply = self._link.reply(question, xcffib.xproto.GetGeometryReply)
        except RequestError as error:
            raise SourceLostError(
                f"display {self._link.display}: expected the size of its root window, found {error}"
            ) from error
        return int(reply.width), int(reply.height)


def _without_fourth_byte(pixels: np.ndarray) -> Picture:
    picture: Picture = np.asarray(cv2.cvtColor(pixels, cv2.COLOR_BGRA2BGR), dtype=np.uint8)
    return picture


def _check_pixels(link: X11Link) -> None:
    """Hold the screen to 32-bit little-endian BGRX, which is what all current servers have."""
    depth = link.screen.root_depth
    bits = {form.depth: form.bits_per_pixel for form in link.setup.pixmap_formats}.get(depth)
    masks = [
        (visual.red_mask, visual.green_mask, visual.blue_mask)
        for allowed in link.screen.allowed_depths
        for visual in allowed.visuals
        if visual.visual_id == link.screen.root_visual
    ]
    known = depth in (24, 32) and bits == 32 and masks == [_BGRX_MASKS]
    if not known or link.setup.image_byte_order != _LSB_FIRST:
        raise SourceError(
            f"display {link.display}: expected depth 24 or 32 in 32-bit little-endian BGRX pixels, "
            f"found depth {depth} in {bits} bits with masks {masks}, byte order "
            f"{link.setup.image_byte_order}; run the server with depth 24"
        )
