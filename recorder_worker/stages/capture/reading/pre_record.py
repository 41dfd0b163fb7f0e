"""The last seconds of an armed session: in memory alone, until a trigger makes them the record.

While a session is armed its reader works as ever, but what it hands over ends here. Segments are
let go of in groups, each beginning with a keyframe or a gap, as soon as those behind them cover the
seconds that were asked for, or as soon as all of them together are too large. Nothing of it is
written, so a crash or a hand-over loses it: it is no evidence before the trigger.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import msgspec

from recorder_worker.core.model import Cursor, GapReason, Span
from recorder_worker.stages.capture.segments.items import Ended, Gap, Item, Released, Segment

DETAIL = "armed: not kept, for no trigger had come"


class Held(msgspec.Struct, frozen=True, kw_only=True):
    """A segment with the bytes that are to be stored under a key; a gap has none."""

    item: Segment | Gap
    key: str = ""
    data: bytes = b""


class PreRecord:
    """A `SegmentStore`, and the place that items are handed to, while a session is armed."""

    def __init__(
        self, *, base: Cursor, begin: Cursor, keep_ns: int, max_bytes: int, full: Callable[[], None]
    ) -> None:
        """Begin to hold.

        Args:
            base: how far the stream is covered in the log.
            begin: where reading begins.
            keep_ns: how much is kept, in session time.
            max_bytes: how much at most.
            full: called where all had to go: the next segment must begin with a keyframe.
        """
        self._base = base
        self._begin = begin
        self._keep_ns = keep_ns
        self._max_bytes = max_bytes
        self._full = full
        self._blob: tuple[str, bytes] = ("", b"")
        self._held: deque[Held] = deque()
        self._size = 0

    @property
    def size(self) -> int:
        """Bytes that are held."""
        return self._size

    def put(self, key: str, data: bytes) -> None:
        """Take the bytes of a segment, which is handed over next."""
        self._blob = (key, data)

    def take(self, item: Item) -> tuple[Item, ...]:
        """An item of the reader: what of it is to be handed on, which is never a frame."""
        match item:
            case Segment():
                key, data = self._blob
                self._blob = ("", b"")
                self._hold(Held(item=item, key=key, data=data))
                return ()
            case Gap():
                self._hold(Held(item=item))
                return ()
            case Ended():
                self.forget(item.cursor)
                return (*self.before(), item)
            case Released():
                return (msgspec.structs.replace(item, cursor=self._base),)
            case _:
                return (item,)

    def forget(self, begin: Cursor) -> None:
        """Let go of everything; go on from a cursor, with a keyframe."""
        self._held.clear()
        self._size = 0
        self._begin = begin
        self._full()

    def before(self) -> tuple[Gap, ...]:
        """The gap from the log to what is held; none where nothing is missing."""
        base, begin = self._base, self._begin
        if (begin.unit, begin.t_ns) == (base.unit, base.t_ns):
            return ()
        span = Span(
            first_unit=base.unit,
            unit_count=begin.unit - base.unit,
            t0_ns=base.t_ns,
            t1_ns=begin.t_ns,
            wall0_ns=base.wall_ns,
            wall1_ns=begin.wall_ns,
        )
        return (Gap(cursor=begin, span=span, reason=GapReason.ARMED, detail=DETAIL),)

    def held(self) -> tuple[Held, ...]:
        """What is held, the oldest first."""
        return tuple(self._held)

    def _hold(self, held: Held) -> None:
        self._held.append(held)
        self._size += len(held.data)
        now_ns = held.item.cursor.t_ns
        while (count := self._group_end()) < len(self._held):
            rest_ns = now_ns - self._held[count].item.span.t0_ns
            if rest_ns < self._keep_ns and self._size <= self._max_bytes:
                return
            self._drop(count)
        if self._size > self._max_bytes:
            self.forget(held.item.cursor)

    def _group_end(self) -> int:
        """How many items come before the second keyframe, or before a gap: behind it comes one."""
        for at, held in enumerate(self._held):
            if at and (isinstance(held.item, Gap) or held.item.keyframe):
                return at
        return len(self._held)

    def _drop(self, count: int) -> None:
        for _ in range(count):
            held = self._held.popleft()
            self._size -= len(held.data)
            self._begin = held.item.cursor
