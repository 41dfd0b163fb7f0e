"""Coverage: whatever is handed over tiles the stream, span behind span, in units and in time."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, NoReturn, TypeVar

import msgspec
import structlog

from recorder_worker.core.errors import (
    LeaseLostError,
    StoreError,
    StoreFullError,
    UnitsMissingError,
)
from recorder_worker.core.frames.keyframes import KeyframePolicy
from recorder_worker.core.model import Cursor, EndReason, GapReason, SourceFacts, Span
from recorder_worker.ports import Clock
from recorder_worker.stages.capture.reading.policy import Arming
from recorder_worker.stages.capture.reading.pre_record import Held, PreRecord
from recorder_worker.stages.capture.reading.timeline import SECOND_NS, Timeline
from recorder_worker.stages.capture.segments.frame_spool import SegmentWriter
from recorder_worker.stages.capture.segments.items import (
    Crashed,
    Ended,
    Gap,
    Item,
    Released,
    Triggered,
)
from recorder_worker.stages.capture.segments.spool import UnitWriter
from recorder_worker.stages.capture.segments.write_watch import SessionWrites

log = structlog.get_logger(__name__)

T = TypeVar("T")
W_co = TypeVar("W_co", bound=UnitWriter, covariant=True)

ARMED_GROUPS = 4
"""An armed session has a keyframe this often in the time that it keeps: it keeps a quarter more."""
STALL_NS = SECOND_NS
"""A live source that was not read for longer than this has lost units."""
STORE_RETRY_WAIT_S = 0.5
DETAIL_CHARACTERS = 500
TOLERATED_UNITS = 2.0
"""A container's count is off by so many, or by a second's, without a frame being lost."""


class Finished(Exception):  # noqa: N818  (it ends the reader's loop; nothing went wrong)
    """The last item has been handed over."""


class Coverage(Generic[W_co]):
    """Closes segments, declares gaps and ends, each from the cursor that the last one left.

    Only what frames are coded into can be armed: packets are not made for the recorder.
    """

    def __init__(
        self,
        *,
        writer: W_co,
        timeline: Timeline,
        clock: Clock,
        retry_s: float,
        writes: SessionWrites,
        deliver: Callable[[Item], None],
    ) -> None:
        self.writer = writer
        self._timeline = timeline
        self._clock = clock
        self._retry_ns = round(retry_s * SECOND_NS)
        self._writes = writes
        self._pre_record: PreRecord | None = None
        self.deliver = deliver

    @property
    def cursor(self) -> Cursor:
        """How far the stream is covered by what was handed over."""
        return self.writer.cursor

    def close(self, t1_ns: int) -> None:
        """Make the segment being filled durable and hand it over.

        Raises:
            Finished: the session has ended here, for the store did not take it.
        """
        segment = self._stored(lambda: self.writer.close(t1_ns), lambda: self.writer.abandon(t1_ns))
        if segment is not None:
            self._hand_over(segment)

    # --- armed ----------------------------------------------------------------------------------

    @property
    def armed(self) -> bool:
        """Whether what is covered is held in memory, until a trigger."""
        return self._pre_record is not None

    def arm(self: Coverage[SegmentWriter], arming: Arming) -> None:
        """From now on hold the last seconds in memory; what passed until now is not kept."""
        base = self.cursor
        span = self._timeline.missed(base, self._missed_until())
        self.writer.restart(self._behind(span))
        self._pre_record = PreRecord(
            base=base,
            begin=self.cursor,
            keep_ns=arming.keep_ns,
            max_bytes=arming.max_bytes,
            full=self.writer.begin_with_keyframe,
        )
        often_ns = min(arming.keep_ns // ARMED_GROUPS, arming.keyframes.max_interval_ns)
        often = KeyframePolicy(min_interval_ns=often_ns, max_interval_ns=often_ns)
        self.writer.write_to(self._pre_record, often)

    def forget_held(self) -> None:
        """Armed: let go of what is held. Nothing may be in the segment being filled."""
        if self._pre_record is not None:
            self._pre_record.forget(self.cursor)

    def trigger(self: Coverage[SegmentWriter], arming: Arming, t1_ns: int) -> None:
        """Record what is held, behind a gap for what was not, and all that comes.

        Raises:
            Finished: as `close`.
        """
        self.close(t1_ns)
        held = self._pre_record
        if held is None:
            return
        self._pre_record = None
        self.writer.write_to(arming.store, arming.keyframes)
        for gap in held.before():
            self.deliver(gap)
        for one in held.held():
            if one.key:
                self._store_held(arming, one)
            self.deliver(one.item)
        self.deliver(Triggered(t_ns=t1_ns))

    def _store_held(self: Coverage[SegmentWriter], arming: Arming, one: Held) -> None:
        rest = msgspec.structs.replace(
            one.item.span,
            unit_count=self.cursor.unit - one.item.span.first_unit,
            t1_ns=self.cursor.t_ns,
            wall1_ns=self.cursor.wall_ns,
        )
        self._stored(lambda: arming.store.put(one.key, one.data), lambda: rest)

    def _hand_over(self, item: Item) -> None:
        held = self._pre_record
        for one in (item,) if held is None else held.take(item):
            self.deliver(one)

    # --- gaps and ends --------------------------------------------------------------------------

    def gap(self, reason: GapReason, detail: str) -> None:
        """Declare what lies between the cursor and now as missing."""
        span = self._timeline.missed(self.cursor, self._missed_until())
        self.skip(reason, detail, span.unit_count, span.t1_ns)

    def hold(self, reason: GapReason, detail: str, t1_ns: int) -> None:
        """Close at session time `t1_ns`, for nothing is read from here on.

        An empty gap tells so at once, and ends the chunk that is being filled: else the spool would
        keep its segments, and might never get below its low mark.
        """
        self.close(t1_ns)
        self.skip(reason, detail, 0, self.cursor.t_ns, held=True)

    def skip(
        self, reason: GapReason, detail: str, units: int, t1_ns: int, *, held: bool = False
    ) -> None:
        """Declare that many units, up to session time `t1_ns`, as missing; go on behind them."""
        span = msgspec.structs.replace(
            self._timeline.missed(self.cursor, t1_ns), unit_count=units, t1_ns=t1_ns
        )
        cursor = self._behind(span)
        self.writer.restart(cursor)
        self._hand_over(Gap(cursor=cursor, span=span, reason=reason, detail=detail, held=held))

    def check_stall(self, before_ns: int, t_ns: int) -> None:
        """A live source that was not read for long has lost units, whatever held it up.

        `before_ns` is the session time of the frame before the one at `t_ns`.
        """
        covered_ns = max(self.cursor.t_ns, before_ns + self._timeline.period_ns)
        if t_ns - covered_ns > max(STALL_NS, self._timeline.period_ns):
            self.close(covered_ns)
            span = self._timeline.missed(self.cursor, t_ns)
            detail = f"nothing was read for {(t_ns - covered_ns) / SECOND_NS:.1f} s"
            self.skip(GapReason.BACK_PRESSURE, detail, span.unit_count, t_ns)

    def missing(self, error: UnitsMissingError) -> None:
        """Declare what a source itself says is missing, behind the frames before it."""
        last_ns = self._timeline.last_ns + 1
        t0_ns = max(self.cursor.t_ns, last_ns if self._timeline.live else self._timeline.end_ns())
        self.close(t0_ns)
        t1_ns = max(t0_ns, self._timeline.session_time(error.t_ns))
        self.skip(error.reason, str(error)[:DETAIL_CHARACTERS], error.unit_count, t1_ns)

    def end(self, reason: EndReason, detail: str, t1_ns: int) -> None:
        """Close at session time `t1_ns` and end.

        Raises:
            Finished: always.
        """
        self.close(t1_ns)
        self._hand_over(Ended(cursor=self.cursor, reason=reason, detail=detail))
        raise Finished

    def released(self) -> None:
        """Let go for another worker.

        Raises:
            Finished: always.
        """
        self._hand_over(Released(cursor=self.cursor))
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

        Where not even that can be handed over, the session's event loop is told.
        """
        log.error("ReaderCrashed", error=repr(error), exc_info=error)
        detail = f"{type(error).__name__}: {error}"[:DETAIL_CHARACTERS]
        try:
            if self.writer.count:
                t1_ns = max(self._timeline.last_ns + 1, self._timeline.end_ns())
                span = self.writer.abandon(t1_ns)
                gap = Gap(cursor=self.cursor, span=span, reason=GapReason.CRASH, detail=detail)
                self._hand_over(gap)
            self._hand_over(Ended(cursor=self.cursor, reason=EndReason.WORKER_LOST, detail=detail))
        except LeaseLostError:
            pass  # nobody takes it any more
        except Exception as again:  # noqa: BLE001  (nothing more can be done in this thread)
            self.deliver(Crashed(error=again))

    def _missed_until(self) -> int:
        cursor_ns = self.cursor.t_ns
        return max(cursor_ns, self._timeline.now_ns()) if self._timeline.live else cursor_ns

    def _behind(self, span: Span) -> Cursor:
        return Cursor(
            unit=span.first_unit + span.unit_count,
            t_ns=span.t1_ns,
            wall_ns=span.wall1_ns,
            boot_ns=self._clock.monotonic_ns(),
        )

    def _stored(self, write: Callable[[], T], lost: Callable[[], Span]) -> T:
        """What `write` gives. Passing faults of the store are told at once, and waited out.

        One that stays, or a full store, ends the session visibly: behind a gap for what is `lost`.
        """
        give_up_ns = self._clock.monotonic_ns() + self._retry_ns
        self._writes.begun()
        try:
            while True:
                try:
                    return write()
                except StoreError as error:
                    self._writes.refused(str(error))
                    if isinstance(error, StoreFullError) or self._clock.monotonic_ns() > give_up_ns:
                        self._store_failed(error, lost())
                    threading.Event().wait(STORE_RETRY_WAIT_S)
        finally:
            self._writes.done()

    def _store_failed(self, error: StoreError, span: Span) -> NoReturn:
        detail = str(error)
        gap = Gap(cursor=self.cursor, span=span, reason=GapReason.DISK, detail=detail)
        self.deliver(gap)
        self.deliver(Ended(cursor=self.cursor, reason=EndReason.DISK_FULL, detail=detail))
        raise Finished from error
