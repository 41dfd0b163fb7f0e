"""Coverage: whatever is handed over tiles the stream, span behind span, in units and in time."""

from __future__ import annotations

import threading
from collections.abc import Callable

import msgspec

from recorder_worker.core.errors import StoreError, StoreFullError
from recorder_worker.core.model import Cursor, EndReason, GapReason, SourceFacts
from recorder_worker.ports import Clock
from recorder_worker.stages.capture.items import Ended, Gap, Item
from recorder_worker.stages.capture.packet_spool import PacketWriter
from recorder_worker.stages.capture.spool import SegmentWriter
from recorder_worker.stages.capture.timeline import SECOND_NS, Timeline

STORE_RETRY_WAIT_S = 0.5
DETAIL_CHARACTERS = 500
TOLERATED_UNITS = 2.0
"""A container's count is off by so many, or by a second's, without a frame being lost."""


class Finished(Exception):  # noqa: N818  (it ends the reader's loop; nothing went wrong)
    """The last item has been handed over."""


class Coverage:
    """Closes segments, declares gaps and ends, each from the cursor that the last one left."""

    def __init__(
        self,
        *,
        writer: SegmentWriter | PacketWriter,
        timeline: Timeline,
        clock: Clock,
        retry_s: float,
        deliver: Callable[[Item], None],
    ) -> None:
        self.writer = writer
        self._timeline = timeline
        self._clock = clock
        self._retry_ns = round(retry_s * SECOND_NS)
        self.deliver = deliver

    @property
    def cursor(self) -> Cursor:
        """How far the stream is covered by what was handed over."""
        return self.writer.cursor

    def close(self, t1_ns: int) -> None:
        """Make the segment being filled durable and hand it over.

        Passing faults of the store are waited out; one that stays, or a full store, ends the
        session visibly.

        Raises:
            Finished: the session has ended here.
        """
        give_up_ns = self._clock.monotonic_ns() + self._retry_ns
        while True:
            try:
                segment = self.writer.close(t1_ns)
            except StoreError as error:
                if isinstance(error, StoreFullError) or self._clock.monotonic_ns() > give_up_ns:
                    self._store_failed(error, t1_ns)
                threading.Event().wait(STORE_RETRY_WAIT_S)
                continue
            if segment is not None:
                self.deliver(segment)
            return

    def gap(self, reason: GapReason, detail: str) -> None:
        """Declare what lies between the cursor and now as missing."""
        span = self._timeline.missed(self.cursor, self._missed_until())
        self.skip(reason, detail, span.unit_count, span.t1_ns)

    def skip(self, reason: GapReason, detail: str, units: int, t1_ns: int) -> None:
        """Declare that many units, up to session time `t1_ns`, as missing; go on behind them."""
        span = msgspec.structs.replace(
            self._timeline.missed(self.cursor, t1_ns), unit_count=units, t1_ns=t1_ns
        )
        cursor = Cursor(
            unit=span.first_unit + span.unit_count,
            t_ns=span.t1_ns,
            wall_ns=span.wall1_ns,
            boot_ns=self._clock.monotonic_ns(),
        )
        self.writer.restart(cursor)
        self.deliver(Gap(cursor=cursor, span=span, reason=reason, detail=detail))

    def end(self, reason: EndReason, detail: str, t1_ns: int) -> None:
        """Close at session time `t1_ns` and end.

        Raises:
            Finished: always.
        """
        self.close(t1_ns)
        self.deliver(Ended(cursor=self.cursor, reason=reason, detail=detail))
        raise Finished

    def source_ended(self, facts: SourceFacts) -> None:
        """End behind the material; what it had declared but did not give is a gap.

        Raises:
            Finished: always.
        """
        t1_ns = self._timeline.end_ns()
        self.close(t1_ns)
        missing = (facts.frame_count or 0) - self.cursor.unit
        if missing > max(TOLERATED_UNITS, facts.frame_rate):
            detail = (
                f"the source declares {facts.frame_count} frames but only {self.cursor.unit} "
                "could be read; the file is truncated or damaged"
            )
            end_ns = max(self.cursor.t_ns, t1_ns + missing * self._timeline.period_ns)
            self.skip(GapReason.SOURCE_LOST, detail, missing, end_ns)
            self.end(EndReason.SOURCE_LOST, detail, end_ns)
        self.end(EndReason.SOURCE_ENDED, "", self.cursor.t_ns)

    def crashed(self, error: Exception) -> None:
        """A defect: what was read and not handed over is a gap, and the session ends visibly.

        Raises:
            Finished: always.
        """
        detail = f"{type(error).__name__}: {error}"[:DETAIL_CHARACTERS]
        if self.writer.count:
            span = self.writer.abandon(max(self._timeline.last_ns + 1, self._timeline.end_ns()))
            gap = Gap(cursor=self.cursor, span=span, reason=GapReason.CRASH, detail=detail)
            self.deliver(gap)
        self.deliver(Ended(cursor=self.cursor, reason=EndReason.WORKER_LOST, detail=detail))
        raise Finished from error

    def _missed_until(self) -> int:
        cursor_ns = self.cursor.t_ns
        return max(cursor_ns, self._timeline.now_ns()) if self._timeline.live else cursor_ns

    def _store_failed(self, error: StoreError, t1_ns: int) -> None:
        span = self.writer.abandon(t1_ns)
        detail = str(error)
        gap = Gap(cursor=self.cursor, span=span, reason=GapReason.DISK, detail=detail)
        self.deliver(gap)
        self.deliver(Ended(cursor=self.cursor, reason=EndReason.DISK_FULL, detail=detail))
        raise Finished from error
