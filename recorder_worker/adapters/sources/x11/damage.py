"""What has been drawn on a screen, by the X DAMAGE extension."""

from __future__ import annotations

import struct
from typing import Any, Final

import xcffib.damage
import xcffib.xfixes

from recorder_worker.adapters.sources.x11.link import REPLY_HEAD_SIZE, RequestError, X11Link
from recorder_worker.core.frames.regions import Rectangle

_DAMAGE: Final[tuple[int, int]] = (1, 1)
_XFIXES: Final[tuple[int, int]] = (2, 0)
"""The first with regions."""
_NOTHING: Final = 0
_RECTANGLE: Final = struct.Struct("<hhHH")
_RECTANGLES_MAX: Final = 1000
_EXTENTS_AT: Final = 8
"""Where, in the head of the reply, is what surrounds all rectangles."""


class DamageReport:
    """Collects, in the server, where the root window and all inside it is drawn on.

    To ask empties the collection, and only then may what was in it be read: what is drawn while
    it is being read is in the next answer, and no pixel is missed. The pointer is not in it.
    """

    def __init__(self, link: X11Link) -> None:
        """Begin to collect.

        Raises:
            RequestError: the server does not allow it.
            SourceLostError: the display has gone.
        """
        self._link = link
        self._damage, self._parts = link.new_id(), link.new_id()
        self._requests = link.extension(xcffib.damage.key)
        self._regions = link.extension(xcffib.xfixes.key)
        link.check(self._regions.CreateRegionChecked(self._parts, 0, []))
        # Of the levels the quietest: one event, and no more before it is asked.
        level = xcffib.damage.ReportLevel.NonEmpty
        link.check(self._requests.CreateChecked(self._damage, link.screen.root, level))

    def ask(self) -> Any:  # noqa: ANN401  (xcffib is generated and has no types)
        """Empty the collection, and ask what was in it."""
        self._requests.Subtract(self._damage, _NOTHING, self._parts)
        return self._regions.FetchRegion(self._parts)

    def answer(self, question: Any) -> list[Rectangle]:  # noqa: ANN401  (as above)
        """Rectangles of the root window; of very many, the one around them.

        Raises:
            RequestError: the server refused to say.
            SourceLostError: the display has gone.
        """
        reply = self._link.reply_bytes(question)
        found = reply[REPLY_HEAD_SIZE:]
        if len(found) > _RECTANGLES_MAX * _RECTANGLE.size:
            found = reply[_EXTENTS_AT : _EXTENTS_AT + _RECTANGLE.size]
        return [(x, y, width, height) for x, y, width, height in _RECTANGLE.iter_unpack(found)]


def open_damage(link: X11Link) -> DamageReport | None:
    """None where the server cannot or may not tell what is drawn."""
    try:
        if link.agree(xcffib.xfixes, _XFIXES) is None or link.agree(xcffib.damage, _DAMAGE) is None:
            return None
        return DamageReport(link)
    except RequestError:
        return None
