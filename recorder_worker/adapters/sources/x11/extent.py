"""Which part of a display is recorded, and where that is now: screens and monitors change."""

from __future__ import annotations

from typing import Any, Final

import xcffib.randr
import xcffib.xproto

from recorder_worker.adapters.sources.x11.link import RequestError, X11Link
from recorder_worker.core.errors import SourceError, SourceLostError
from recorder_worker.core.frames.header import MAX_PIXELS
from recorder_worker.core.frames.pictures import Region
from recorder_worker.core.sources.kinds import X11Source

_CONFIGURE_NOTIFY: Final = 22
_RANDR: Final[tuple[int, int]] = (1, 5)
"""The first with monitors."""


class Extent:
    """The part of the root window that a source names; all of it where it names none.

    `region` is where it is, in pixels of the root window.
    """

    def __init__(self, link: X11Link, source: X11Source) -> None:
        """Look, and listen for changes.

        Raises:
            SourceError: there is no such part, or the server knows no monitors.
            SourceLostError: the display has gone.
        """
        self._link = link
        self._source = source
        self._telling = {_CONFIGURE_NOTIFY}
        self._listen()
        self._stale = False
        self.region = self._find()

    @property
    def stale(self) -> bool:
        """Whether screen or monitors have changed since it was looked."""
        return self._stale

    def notice(self, news: set[int]) -> None:
        """Take the types of events that have come."""
        self._stale = self._stale or not self._telling.isdisjoint(news)

    def distrust(self) -> None:
        """Something did not fit: look again."""
        self._stale = True

    def look(self) -> None:
        """Find the part again.

        Raises:
            SourceLostError: it is not there any more, or the display has gone.
        """
        self._stale = False
        self.region = self._find()

    def _listen(self) -> None:
        core, root = self._link.core, self._link.screen.root
        # A new size, and what RandR does to monitors, comes as a new configuration of the root.
        mask = xcffib.xproto.EventMask.StructureNotify
        try:
            self._link.check(
                core.ChangeWindowAttributesChecked(root, xcffib.xproto.CW.EventMask, [mask])
            )
            if self._source.monitor is not None:
                self._listen_to_monitors()
        except RequestError as error:
            raise SourceError(
                f"display {self._link.display}: expected to be told of changes of its size, found "
                f"{error}; let the recorder be a trusted client"
            ) from error

    def _listen_to_monitors(self) -> None:
        first_event = self._link.agree(xcffib.randr, _RANDR)
        if first_event is None:
            raise SourceError(
                f"display {self._link.display}: expected RandR {_RANDR[0]}.{_RANDR[1]}, which "
                "knows monitors, found none; name a region instead of a monitor"
            )
        self._telling |= {first_event, first_event + 1}
        kinds = xcffib.randr.NotifyMask
        mask = kinds.ScreenChange | kinds.CrtcChange | kinds.OutputChange | kinds.ResourceChange
        randr = self._link.extension(xcffib.randr.key)
        self._link.check(randr.SelectInputChecked(self._link.screen.root, mask))

    def _find(self) -> Region:
        try:
            size = self._link.reply(
                self._link.core.GetGeometry(self._link.screen.root),
                xcffib.xproto.GetGeometryReply,
            )
            part = self._named(int(size.width), int(size.height))
        except RequestError as error:
            raise SourceLostError(
                f"display {self._link.display}: expected the size of its root window, found {error}"
            ) from error
        right, bottom = part.x + part.width, part.y + part.height
        if min(part.x, part.y) < 0 or right > size.width or bottom > size.height:
            what = f"monitor {self._source.monitor}" if self._source.monitor else "region"
            raise SourceLostError(
                f"display {self._link.display}: expected {what} {written(part)} inside of its "
                f"screen, found a screen of {size.width}x{size.height}; name another part"
            )
        if part.width * part.height > MAX_PIXELS:  # looked at before any memory is asked for
            raise SourceLostError(
                f"display {self._link.display}: expected at most {MAX_PIXELS} pixels, found "
                f"{written(part)}; name a monitor or a region of it"
            )
        return part

    def _named(self, width: int, height: int) -> Region:
        region = self._source.region
        if region is not None:
            return Region(x=region.x, y=region.y, width=region.width, height=region.height)
        if self._source.monitor is None:
            return Region(x=0, y=0, width=width, height=height)
        monitors = self._monitors()
        if self._source.monitor not in monitors:
            found = ", ".join(f"{name} {written(part)}" for name, part in monitors.items())
            raise SourceLostError(
                f"display {self._link.display}: expected a monitor {self._source.monitor}, found "
                f"{found or 'none'}; it may be switched off or unplugged"
            )
        return monitors[self._source.monitor]

    def _monitors(self) -> dict[str, Region]:
        """Those that show something, by name."""
        question = self._link.extension(xcffib.randr.key).GetMonitors(self._link.screen.root, 1)
        found = self._link.reply(question, xcffib.randr.GetMonitorsReply).monitors
        return {
            self._atom(monitor.name): Region(
                x=monitor.x, y=monitor.y, width=monitor.width, height=monitor.height
            )
            for monitor in found
            if monitor.width and monitor.height
        }

    def _atom(self, atom: Any) -> str:  # noqa: ANN401  (xcffib is generated and has no types)
        question = self._link.core.GetAtomName(atom)
        name = self._link.reply(question, xcffib.xproto.GetAtomNameReply).name
        return bytes(name.buf()).decode(errors="replace")


def written(region: Region) -> str:
    """A region as X writes it: 1920x1080+0+0."""
    return f"{region.width}x{region.height}+{region.x}+{region.y}"
