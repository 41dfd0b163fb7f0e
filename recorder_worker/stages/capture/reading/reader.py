"""The reader: one thread a session that turns a source into segments and gaps.

It alone moves the cursor, so that whatever it hands over tiles the stream: every span begins
where the one before it ended. It is told what to do by requests, and it never waits for anything
without listening for them.
"""

from __future__ import annotations

from recorder_worker.core.errors import (
    SourceError,
    SourceForbiddenError,
    SourceLostError,
    UnitsMissingError,
)
from recorder_worker.core.model import EndReason, GapReason
from recorder_worker.core.notes import RateChanged
from recorder_worker.ports import ArrivingSource, Clock, Frame, FrameSource
from recorder_worker.stages.capture.reading.adjustments import Adjustments
from recorder_worker.stages.capture.reading.arrivals import drain, take_again
from recorder_worker.stages.capture.reading.coverage import Coverage
from recorder_worker.stages.capture.reading.limits import Limits
from recorder_worker.stages.capture.reading.picture_watch import PictureWatch
from recorder_worker.stages.capture.reading.policy import ReaderPolicy, Reopen
from recorder_worker.stages.capture.reading.reader_thread import ReaderThread
from recorder_worker.stages.capture.reading.reopening import Reopening
from recorder_worker.stages.capture.reading.requests import (
    Hold,
    Pause,
    Release,
    Request,
    RequestBox,
    Stop,
)
from recorder_worker.stages.capture.reading.standstill import LOOK_S, Standstill
from recorder_worker.stages.capture.reading.timeline import SECOND_NS, Pacer, Timeline
from recorder_worker.stages.capture.segments.frame_spool import SegmentWriter
from recorder_worker.stages.capture.segments.items import Paused, Resumed

ARRIVE_S = 0.1
"""How long a frame that comes by itself is waited for before requests are looked at again."""


class Reader:
    """Reads until the source, a limit or a request ends it."""

    def __init__(
        self,
        *,
        source: FrameSource | None,
        reopen: Reopen,
        coverage: Coverage[SegmentWriter],
        timeline: Timeline,
        policy: ReaderPolicy,
        clock: Clock,
        watch: PictureWatch | None = None,
        carried: RateChanged | None = None,
    ) -> None:
        """`carried`: the lower rate of the worker before, at which the timeline begins."""
        self._source = source
        self._reopening = Reopening(reopen, clock, policy.retry_s, waits=not timeline.live)
        self._coverage = coverage
        self._writer = coverage.writer
        self._timeline = timeline
        self._policy = policy
        self._clock = clock
        self._watch = watch
        self._carried = carried
        self._limits = Limits(policy, timeline, coverage)
        self._pacer = Pacer(clock, timeline.period_ns, native=policy.native)
        self._adjustments = Adjustments(
            coverage.writer, coverage, timeline, self._pacer, policy.arming
        )
        self._requests = RequestBox()
        self._standstill = Standstill(
            self._requests, self._limits, coverage, self._gap, self._adjustments.make_standing
        )
        self._pending: tuple[Frame, int] | None = None
        self._thread = ReaderThread(coverage, self._let_go)

    def start(self, *, gap: GapReason | None, paused: bool, armed: bool = False) -> None:
        """Begin in a thread of its own, behind a gap where another worker had the session.

        What is paused or armed has its gap when it goes on.
        """
        self._thread.start(lambda: self._begin(gap, paused=paused, armed=armed), self._step)

    def request(self, request: Request) -> None:
        """Ask for something; the answer is an item."""
        self._requests.put(request)

    def now_ns(self) -> int:
        """Session time now, for marks."""
        return self._timeline.now_ns()

    @property
    def ticks(self) -> tuple[int, int]:
        """How often a live source was read since the start, and how often too late."""
        return self._pacer.reads, self._pacer.late

    def join(self, timeout_s: float) -> None:
        """Wait for the thread to end."""
        self._thread.join(timeout_s)

    # --- the loop -------------------------------------------------------------------------------

    def _begin(self, gap: GapReason | None, *, paused: bool, armed: bool) -> None:
        if armed:
            self._adjustments.arm()
        elif paused:
            self._wait_for_resume()
        elif gap is not None:
            self._gap(gap, "another worker had this session before")
            if self._carried is not None:
                self._adjustments.tell_rate(self._carried, self._coverage.cursor.t_ns)

    def _step(self) -> None:
        """Read one frame, wait until it is due, record it; or answer one request."""
        try:
            if self._adjustments.hold is not None and not self._coverage.armed:
                self._wait_until_caught_up(self._adjustments.hold)
            if self._pending is None and not self._read():
                return
            if self._pending and self._waited_until(self._pacer.due(self._pending[1])):
                self._add_pending()
        except UnitsMissingError as error:
            self._coverage.missing(error)
        except SourceLostError as error:
            self._lost(error)

    def _read(self) -> bool:
        """Hold the next frame in `_pending`; False where a request came first."""
        source = self._source
        if source is None:
            raise SourceLostError("the source has not been opened yet")
        if isinstance(source, ArrivingSource):
            if not self._arrived(source):
                return False
        elif self._timeline.live:
            if not self._waited_until(self._pacer.tick()):
                return False
            self._pacer.ticked()
        self._limits.check_now()
        return self._take(source)

    def _take(self, source: FrameSource) -> bool:
        """Hold the frame that the source has now in `_pending`."""
        frame = source.read()
        if frame is None:
            self._coverage.source_ended(source.facts)
            return False
        before_ns = self._timeline.last_ns
        t_ns = self._timeline.frame_time(frame.t_ns, self._coverage.cursor.t_ns)
        if self._timeline.live and not isinstance(source, ArrivingSource):
            self._coverage.check_stall(before_ns, t_ns)
        if not self._writer.fits(frame, t_ns):
            self._coverage.close(t_ns)
        self._pending = (frame, t_ns)
        return True

    def _arrived(self, source: ArrivingSource) -> bool:
        """Whether there is a frame; False where a request came first, or nothing for a moment."""
        request = self._requests.next(0)
        if request is not None:
            self._answer(request)
            return False
        if source.arrived(ARRIVE_S):
            return True
        self._idle_in_wait()
        return False

    def _drain(self) -> None:
        """What had come before a request is recorded before it, also a frame that is held back."""
        if isinstance(self._source, ArrivingSource):
            self._add_pending()
            drain(self._source, self._take, self._add_pending, self._coverage.missing)

    def _add_pending(self) -> None:
        if self._pending is not None:
            pending, self._pending = self._pending, None
            self._add(*pending)

    def _add(self, frame: Frame, t_ns: int) -> None:
        self._limits.check_frame(t_ns)
        self._writer.add(frame, t_ns)
        self._limits.check_idle(frame, self._writer.masks, t_ns)
        if self._watch is not None and not self._coverage.armed:
            unit, masks = self._writer.newest_unit, self._writer.masks
            for note in self._watch.see(frame, t_ns, unit, masks):
                self._coverage.deliver(note)

    def _waited_until(self, due_ns: int) -> bool:
        """Wait for a moment of the monotonic clock; False where a request came first."""
        while True:
            wait_s = (due_ns - self._clock.monotonic_ns()) / SECOND_NS
            request = self._requests.next(min(max(0.0, wait_s), LOOK_S))
            if request is not None:
                self._answer(request)
                return False
            if self._clock.monotonic_ns() >= due_ns:
                return True
            if self._timeline.live:
                self._idle_in_wait()

    def _idle_in_wait(self) -> None:
        """A slow live source must not keep its frames undurable until the next one comes."""
        now_ns = self._timeline.now_ns()
        if self._writer.full(now_ns):
            self._coverage.close(now_ns)
        if self._reopening.away:
            self._limits.check_standing(self._missed_while_away, "the source was away")
        self._limits.check_now()

    # --- requests -------------------------------------------------------------------------------

    def _answer(self, request: Request) -> None:
        self._drain()
        if isinstance(request, Pause | Stop):
            self._missed_while_away()
        match request:
            case Pause(by=by):
                self._coverage.close(self._covered_ns())
                self._coverage.deliver(Paused(cursor=self._coverage.cursor))
                self._wait_for_resume(by)
            case Release():
                self._coverage.close(self._covered_ns())
                self._coverage.released()
            case Stop(reason=reason, detail=detail):
                self._coverage.end(reason, detail, self._covered_ns())
            case _:
                self._adjustments.make(request, self._covered_ns())
                if self._adjustments.hold is None:
                    take_again(self._source)

    def _wait_for_resume(self, by: str = "") -> None:
        """Paused: nothing is read until a request comes."""
        self._drain()
        self._standstill.until_resumed(by)
        take_again(self._source)
        self._coverage.deliver(Resumed(cursor=self._coverage.cursor))

    def _wait_until_caught_up(self, hold: Hold) -> None:
        """Later stages are behind, or there is no room: nothing is read until that is over."""
        request = self._standstill.until_caught_up(hold, self._covered_ns())
        if isinstance(request, Pause):
            self._answer(request)
        else:
            self._adjustments.hold = None
            take_again(self._source)

    # --- gaps and ends --------------------------------------------------------------------------

    def _gap(self, reason: GapReason, detail: str) -> None:
        if self._timeline.live:
            self._pending = None  # a frame from before the gap lies inside it
        if self._watch is not None:
            self._watch.forget()
        self._coverage.gap(reason, detail)
        self._pacer.rebase()
        self._limits.forget()

    def _missed_while_away(self) -> None:
        """What a source that is away has not shown is missing because of that."""
        if self._reopening.away and self._timeline.live:
            self._gap(GapReason.SOURCE_LOST, self._reopening.away)

    def _lost(self, error: SourceLostError) -> None:
        """The source is gone: try to get it back, then say what is missing."""
        self._coverage.close(self._covered_ns())
        self._pending = None
        self._let_go()
        try:
            self._source = self._reopening.source(
                error, lambda: self._coverage.cursor.unit, self._waited_until
            )
        except SourceError as reason:
            forbidden = isinstance(reason, SourceForbiddenError)
            self._gap(GapReason.SOURCE_LOST, str(error))
            end = EndReason.POLICY if forbidden else EndReason.SOURCE_LOST
            self._coverage.end(end, str(reason), self._coverage.cursor.t_ns)
        self._gap(GapReason.SOURCE_LOST, str(error))

    def _let_go(self) -> None:
        if self._source is not None:
            self._source.close()
            self._source = None

    def _covered_ns(self) -> int:
        """How far the frames so far cover; a frame that is held back is not covered yet."""
        if self._pending is not None:
            return self._pending[1]
        return max(self._coverage.cursor.t_ns, self._timeline.end_ns())
