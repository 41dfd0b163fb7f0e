"""When a lease holder has got further than whoever had the session before him.

From then on a worker that dies does not die of this start: what an earlier holder died at lies
behind. A file that kills the decoder at one frame lets nobody past it. Nor does it count that a
session was taken over, for that comes in front of the first frame.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from recorder_worker.core.events import BeatCaptured, Captured, SegmentCaptured

BEATS_UNREAD = 8
"""Where nothing is read, for a source is away or silent, a holder that lives for so many beats is
as good as one that reads."""


class Headway:
    """Tells it once."""

    def __init__(self, tell: Callable[[], Awaitable[None]]) -> None:
        self._tell = tell
        self._told = False
        self._beats = 0

    async def seen(self, event: Captured) -> None:
        """An event that this holder has appended."""
        if self._told or not self._proves(event):
            return
        self._told = True
        await self._tell()

    def _proves(self, event: Captured) -> bool:
        if not isinstance(event, BeatCaptured):
            return isinstance(event, SegmentCaptured)
        self._beats += 1
        # Of one that is paused, armed or held back no frame comes into a segment for days.
        idle = event.paused or event.armed or event.held
        return idle or self._beats >= BEATS_UNREAD
