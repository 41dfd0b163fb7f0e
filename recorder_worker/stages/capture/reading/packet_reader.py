"""The reader of the `copy` profile: one thread a session that turns packets into segments and gaps.

As `Reader`, it alone moves the cursor, and waits for nothing without listening for requests. But a
packet is what an encoder made of the one before it: behind whatever is missing it goes on with a
keyframe. What is not recorded is closed, or held where somebody hears what becomes of his packets.
"""

from __future__ import annotations

from recorder_worker.core.errors import PermanentError, SourceLostError
from recorder_worker.core.model import EndReason, GapReason
from recorder_worker.ports import ArrivingPackets, Clock, Packet, PacketSource
from recorder_worker.stages.capture.reading.coverage import Coverage
from recorder_worker.stages.capture.reading.inflow import Inflow
from recorder_worker.stages.capture.reading.keyframe_looks import KeyframeLooks
from recorder_worker.stages.capture.reading.limits import Limits
from recorder_worker.stages.capture.reading.opening import OpenPackets, Patience, Search
from recorder_worker.stages.capture.reading.packet_coverage import PacketCoverage
from recorder_worker.stages.capture.reading.policy import ReaderPolicy
from recorder_worker.stages.capture.reading.reader_thread import ReaderThread
from recorder_worker.stages.capture.reading.requests import (
    GoOn,
    Hold,
    Pause,
    Release,
    Request,
    RequestBox,
    Stop,
)
from recorder_worker.stages.capture.reading.standstill import Standstill
from recorder_worker.stages.capture.reading.timeline import SECOND_NS, Pacer, Timeline
from recorder_worker.stages.capture.segments.items import Paused, Resumed
from recorder_worker.stages.capture.segments.packet_spool import PacketWriter

LOOK_S = 0.2
"""How long a wait may last before requests and limits are looked at again."""


class PacketReader:
    """Reads until the source, a limit or a request ends it. Has the methods of `Reader`."""

    def __init__(
        self,
        *,
        source: PacketSource | None,
        reopen: OpenPackets,
        coverage: Coverage[PacketWriter],
        timeline: Timeline,
        policy: ReaderPolicy,
        clock: Clock,
        looks: KeyframeLooks | None = None,
    ) -> None:
        self._source = source
        self._reopen = reopen
        self._writer = coverage.writer
        self._timeline = timeline
        self._policy = policy
        self._clock = clock
        self._coverage = coverage
        self._limits = Limits(policy, timeline, coverage)
        self._pacer = Pacer(clock, timeline.period_ns, native=policy.native)
        self._requests = RequestBox()
        self._hold: Hold | None = None
        self._standstill = Standstill(
            self._requests, self._limits, coverage, self._gap, self._held_or_not
        )
        self._packing = PacketCoverage(coverage, timeline, looks)
        self._inflow = Inflow(self._packing, clock)
        self._patience = Patience(clock)
        self._away: tuple[GapReason, str] | None = None
        self._thread = ReaderThread(coverage, self._let_go)

    def start(self, *, gap: GapReason | None, paused: bool, armed: bool = False) -> None:
        """As `Reader.start`; a session of packets is never armed."""
        if armed:
            raise PermanentError("a session is armed whose packets are copied")
        self._thread.start(lambda: self._begin(gap, paused=paused), self._step)

    def request(self, request: Request) -> None:
        """Ask for something; the answer is an item."""
        self._requests.put(request)

    def now_ns(self) -> int:
        """Session time now, for marks."""
        return self._timeline.now_ns()

    @property
    def ticks(self) -> tuple[int, int]:
        """As `Reader.ticks`: packets come at a pace of their own."""
        return 0, 0

    def join(self, timeout_s: float) -> None:
        """Wait for the thread to end."""
        self._thread.join(timeout_s)

    # --- the loop -------------------------------------------------------------------------------

    def _begin(self, gap: GapReason | None, *, paused: bool) -> None:
        if paused:
            self._let_go()
            self._pause()
        elif gap is not None:
            self._gap(gap, "another worker had this session before")
        if self._source is not None:
            self._open(self._source)

    def _step(self) -> None:
        """Take one packet or one request; or look for a source that is gone."""
        try:
            self._step_on()
        except SourceLostError as error:
            self._lost(error, GapReason.SOURCE_LOST)

    def _step_on(self) -> None:
        """Record one packet once it is due, or fetch more; or answer one request."""
        request = self._requests.next(0)
        if request is not None:
            self._answer(request)
            return
        if self._hold is not None:
            self._wait_until_caught_up(self._hold)
            return
        self._limits.check_now()
        source = self._source
        if source is None:
            raise SourceLostError("the source has not been opened yet")
        first = self._inflow.first
        if first is not None:
            if not first.video or self._is_due(first):
                self._record(self._inflow.take(), source)
            return
        if not self._inflow.fetch(source, LOOK_S) and self._writer.full(self._timeline.now_ns()):
            self._packing.close(self._timeline.now_ns())  # a slow source keeps nothing undurable

    def _drain(self) -> None:
        """What had come from a live source before a request is recorded before it; it is no gap."""
        if self._source is not None and self._timeline.live:
            self._inflow.drain(self._source, self._record)

    def _is_due(self, packet: Packet) -> bool:
        """Wait for the packet's time at native pace; False where a request came first."""
        due_ns = self._pacer.due(packet.t_ns)
        wait_s = (due_ns - self._clock.monotonic_ns()) / SECOND_NS
        if wait_s <= 0:
            return True
        request = self._requests.next(min(wait_s, LOOK_S))
        if request is not None:
            self._answer(request)
            return False
        return self._clock.monotonic_ns() >= due_ns

    def _record(self, packet: Packet, source: PacketSource) -> None:
        if not packet.video:
            self._packing.hear(packet)
            return
        # One that was on its way while a segment was closed counts from there.
        t_ns = self._timeline.frame_time(packet.t_ns, self._coverage.cursor.t_ns)
        self._limits.check_frame(t_ns)
        self._packing.add(packet, t_ns, source)

    # --- requests -------------------------------------------------------------------------------

    def _answer(self, request: Request) -> None:
        if isinstance(request, Pause | Stop):
            self._missed_while_away()
        match request:
            case Pause(by=by):
                self._put_down()
                self._coverage.deliver(Paused(cursor=self._coverage.cursor))
                self._pause(by)
            case Release():
                self._put_down()
                self._coverage.released()
            case Stop(reason=reason, detail=detail):
                self._drain()
                self._packing.end(reason, detail)
            case _:
                self._held_or_not(request)

    def _held_or_not(self, request: Request) -> None:
        """Of the others only those count that hold a session: nothing else fits packets."""
        match request:
            case Hold():
                self._hold = request
            case GoOn():
                self._hold = None
            case _:
                pass  # refused before it comes here

    def _put_down(self) -> None:
        """Nothing is read for now: the source is closed, or held."""
        self._drain()
        self._packing.put_down()
        if not isinstance(self._source, ArrivingPackets):
            self._let_go()

    def _take_up(self, reason: GapReason) -> None:
        """Read again. What a live source showed until it is there again is missing, too."""
        source = self._source
        if isinstance(source, ArrivingPackets):
            source.go_on(reason)
            self._open(source)
        else:
            self._lost(SourceLostError("until it was connected again"), reason)

    def _let_go(self) -> None:
        self._inflow.clear()
        if self._source is not None:
            self._source.close()
            self._source = None

    def _pause(self, by: str = "") -> None:
        """Wait, and take the source up again: what a live one showed meanwhile is paused too."""
        self._standstill.until_resumed(by)
        self._coverage.deliver(Resumed(cursor=self._coverage.cursor))
        if self._away is None:  # else it is looked for already
            self._take_up(GapReason.PAUSE)

    def _wait_until_caught_up(self, hold: Hold) -> None:
        """Later stages are behind, or there is no room: nothing is read until that is over."""
        self._put_down()
        request = self._standstill.until_caught_up(hold, self._coverage.cursor.t_ns)
        if isinstance(request, Pause):
            self._answer(request)
            return
        self._hold = None
        self._take_up(hold.reason)

    # --- gaps and ends --------------------------------------------------------------------------

    def _gap(self, reason: GapReason, detail: str) -> None:
        self._coverage.gap(reason, detail)
        self._timeline.last_ns = max(self._timeline.last_ns, self._coverage.cursor.t_ns - 1)
        self._pacer.rebase()

    def _open(self, source: PacketSource) -> None:
        """A source is open: its times begin anew."""
        self._source = source
        self._inflow.clear()
        self._packing.begin(source)

    def _lost(self, error: SourceLostError, reason: GapReason) -> None:
        """The source is gone: try to get it back, then say what is missing.

        What could not be read in a file cannot be read in it again.
        """
        if not self._timeline.live and self._source is not None:
            self._packing.close_lost()
            self._coverage.end(EndReason.SOURCE_LOST, str(error), self._coverage.cursor.t_ns)
        self._packing.close_lost()
        self._let_go()
        unit = self._coverage.cursor.unit
        patience = self._patience if reason is GapReason.SOURCE_LOST else Patience(self._clock)
        search = Search(self._reopen, unit, self._clock, self._policy.retry_s, patience)
        self._away = reason, str(error)
        try:
            while not search.over:
                source = search.look(LOOK_S)
                if source is not None:
                    self._open(source)
                    if self._timeline.live:
                        self._gap(reason, str(error))
                    return
                self._limits.check_standing(self._missed_while_away, "the source was away")
                request = self._requests.next(0)
                if request is not None:
                    search.abandon()  # what it shows in a pause is none of anybody's business
                    self._answer(request)
                    search.prolong()
        finally:
            search.abandon()
            self._away = None
        self._gap(GapReason.SOURCE_LOST, str(error))
        self._coverage.end(search.end, str(search.reason or error), self._coverage.cursor.t_ns)

    def _missed_while_away(self) -> None:
        """What a source that is away has not shown until now is missing because of that."""
        if self._away is not None and self._timeline.live:
            self._gap(*self._away)
