"""An X display, recorded without loss: of what is drawn only what changed is read."""

from __future__ import annotations

import time
from typing import Final

import cv2
import msgspec
import numpy as np
import structlog

from recorder_worker.adapters.sources.x11.damage import open_damage
from recorder_worker.adapters.sources.x11.extent import Extent, written
from recorder_worker.adapters.sources.x11.image import RootImage, open_image
from recorder_worker.adapters.sources.x11.link import ERROR_EVENT, RequestError, X11Link
from recorder_worker.adapters.sources.x11.pointer import open_pointer
from recorder_worker.core.errors import SourceError, SourceLostError
from recorder_worker.core.frames.pictures import Picture, Pointer, Region
from recorder_worker.core.frames.regions import covering
from recorder_worker.core.model import SourceClock, SourceFacts
from recorder_worker.core.sources.kinds import X11Source
from recorder_worker.ports import Frame

TIMEOUT_S: Final = 5.0
"""How long a display may be silent before it counts as lost."""

_ATTEMPTS: Final = 5
_BGRX_MASKS: Final = (0xFF0000, 0x00FF00, 0x0000FF)
_LSB_FIRST: Final = 0

log = structlog.get_logger(__name__)


class X11Display:
    """The root window of a display, or a part of it, of the size that it has at each frame.

    The server collects where it is drawn on; a frame asks for that, and reads only there, into a
    picture that is kept. Where nothing was drawn, a frame costs one round trip. What is drawn
    between the question and the reading is in the next answer: no pixel is missed, and a picture
    is never older than its frame. Servers without DAMAGE are read whole for every frame.
    """

    def __init__(
        self,
        source: X11Source,
        *,
        display: str,
        fps: float,
        timeout_s: float = TIMEOUT_S,
        damage: bool = True,
    ) -> None:
        """Connect to `display`, and see that the screen's pixels are ones that we know.

        Args:
            source: what to record.
            display: the name to connect to.
            fps: how often it will be read, for its facts.
            timeout_s: how long it may be silent.
            damage: read only what changed, where the server tells it.

        Raises:
            SourceError: there is no such display or part of it, it does not admit us, or its
                pixels are not 32-bit BGRX.
        """
        self._link = X11Link(display, timeout_s=timeout_s)
        self._image: RootImage | None = None
        try:
            _check_pixels(self._link)
            self._extent = Extent(self._link, source)
            self._damage = open_damage(self._link) if damage else None
            self._pointer = open_pointer(self._link)
            region = self._extent.region
            self._image = open_image(self._link, region.width, region.height)
        except SourceLostError as error:
            self.close()
            raise SourceError(f"{error} (while it was being opened)") from error
        except BaseException:
            self.close()
            raise
        self._picture = _blank(region)
        self._known = False
        if damage and self._damage is None:
            log.warning(
                "DisplayReadWhole",
                display=display,
                reason="DAMAGE or XFIXES is missing, too old or forbidden",
            )
        self._facts = self._found(source, self._image.name, fps)

    @property
    def facts(self) -> SourceFacts:
        """The screen as it was when it was opened."""
        return self._facts

    def read(self) -> Frame:
        """The screen now. The picture is the same array for as long as the size is the same.

        Raises:
            SourceLostError: the display or the part of it has gone, or has not answered in time.
        """
        if self._image is None:
            raise SourceLostError(
                f"display {self._link.display}: expected it open, found it closed"
            )
        for _ in range(_ATTEMPTS):
            t_ns = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
            try:
                pointer, drawn = self._ask()
                self._refresh(self._image, drawn)
            except RequestError:  # it has shrunk: the extent says to what
                self._known = False
                self._extent.distrust()
                continue
            self._known = True
            self._take_news()
            if not self._extent.stale:
                return Frame(picture=self._picture, t_ns=t_ns, changed=drawn, pointer=pointer)
        raise SourceLostError(
            f"display {self._link.display}: expected to grab it, found that its size changed or "
            f"the grab was refused {_ATTEMPTS} times in a row"
        )

    def close(self) -> None:
        """Disconnect and give the shared memory back."""
        if self._image is not None:
            self._image.close()
            self._image = None
        self._link.close()

    def _ask(self) -> tuple[Pointer | None, tuple[Region, ...] | None]:
        """The pointer, and where was drawn: None where that is not known."""
        damage, pointer = self._damage, self._pointer
        # Both questions go before either answer is waited for: one round trip.
        where = None if damage is None else damage.ask()
        place = None if pointer is None else pointer.ask()
        rectangles = None if damage is None else damage.answer(where)
        self._take_news()
        if self._extent.stale:
            self._move()
        region = self._extent.region
        seen = None if pointer is None else pointer.answer(place, region)
        if rectangles is None or not self._known:
            return seen, None
        moved = [(x - region.x, y - region.y, across, down) for x, y, across, down in rectangles]
        return seen, covering(moved, region.width, region.height)

    def _refresh(self, image: RootImage, drawn: tuple[Region, ...] | None) -> None:
        """Read what was drawn into the picture; all of it where that is not known."""
        region = self._extent.region
        parts = (_whole(region),) if drawn is None else drawn
        if not parts:
            return
        grabbed = image.grab(
            [
                msgspec.structs.replace(part, x=region.x + part.x, y=region.y + part.y)
                for part in parts
            ]
        )
        for part, pixels in zip(parts, grabbed, strict=True):
            rows = slice(part.y, part.y + part.height)
            columns = slice(part.x, part.x + part.width)
            cv2.cvtColor(pixels, cv2.COLOR_BGRA2BGR, dst=self._picture[rows, columns])

    def _take_news(self) -> None:
        news = self._link.news()
        self._extent.notice(news)
        if self._pointer is not None:
            self._pointer.notice(news)
        if ERROR_EVENT in news:
            self._known = False

    def _move(self) -> None:
        """Screen or monitors have changed: begin anew, where the recorded part is now."""
        self._extent.look()
        self._known = False
        region = self._extent.region
        if self._picture.shape[:2] != (region.height, region.width):
            self._picture = _blank(region)

    def _found(self, source: X11Source, image: str, fps: float) -> SourceFacts:
        vendor = bytes(self._link.setup.vendor.buf()).decode("latin-1")
        region = self._extent.region
        part = ""
        if source.monitor is not None:
            part = f", monitor {source.monitor} at {written(region)}"
        elif source.region is not None:
            part = f", region {written(region)}"
        way = "and DAMAGE" if self._damage is not None else "whole for every frame (no DAMAGE)"
        return SourceFacts(
            kind="x11",
            uri=source.uri,
            description=f"X display of {vendor}, depth {self._link.screen.root_depth}{part}, "
            f"by {image} {way}",
            width=region.width,
            height=region.height,
            clock=SourceClock.LIVE,
            frame_rate=fps,
        )


def _whole(region: Region) -> Region:
    return Region(x=0, y=0, width=region.width, height=region.height)


def _blank(region: Region) -> Picture:
    return np.zeros((region.height, region.width, 3), np.uint8)


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
