"""The reader of the `copy` profile: one thread a session that turns packets into segments and gaps.

As `Reader`, it alone moves the cursor, and waits for nothing without listening for requests. But a
packet is what an encoder made of the one before it: behind whatever is missing it goes on with a
keyframe, and a source that is not recorded is closed, so that it begins anew with one.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable

import structlog

from recorder_worker.core.errors import (
    LeaseLostError,
    SourceLostError,
)
from recorder_worker.core.model import EndReason, GapReason
from recorder_worker.ports import Clock, Packet, PacketSource
from recorder_worker.stages.capture.coverage import Coverage, Finished
from recorder_worker.stages.capture.items import (
    Crashed,
    Item,
    Paused,
    Released,
    Resumed,
)
from recorder_worker.stages.capture.opening import OpenPackets, Search
from recorder_worker.stages.capture.packet_coverage import PacketCoverage
from recorder_worker.stages.capture.packet_spool import PacketWriter
from recorder_worker.stages.capture.reader_policy import ReaderPolicy
from recorder_worker.stages.capture.requests import (
    Pause,
    Release,
    Request,
    RequestBox,
    Resume,
    Stop,
)
from recorder_worker.stages.capture.timeline import SECOND_NS, Pacer, Timeline

log = structlog.get_logger(__name__)

LOOK_S = 0.2
"""How long a wait may last before requests and limits are looked at again."""


class PacketReader:
    """Reads until the source, a limit or a request ends it. Has the methods of `Reader`."""

    def __init__(
        self,
        *,
        source: PacketSource | None,
        reopen: OpenPackets,
        writer: PacketWriter,
        timeline: Timeline,
        policy: ReaderPolicy,
        clock: Clock,
        deliver: Callable[[Item], None],
    ) -> None:
        self._source = source
        self._reopen = reopen
        self._writer = writer
        self._timeline = timeline
        self._policy = policy
        self._clock = clock
        self._coverage = Coverage(
            writer=writer,
            timeline=timeline,
            clock=clock,
            retry_s=policy.retry_s,
            deliver=deliver,
        )
        self._pacer = Pacer(clock, timeline.period_ns, native=policy.native)
        self._requests = RequestBox()
        self._packing = PacketCoverage(self._coverage, writer, timeline)
        self._packets: deque[Packet] = deque()
        self._thread: threading.Thread | None = None

    def start(self, *, gap: GapReason | None, paused: bool) -> None:
        """As `Reader.start`."""
        self._thread = threading.Thread(
            target=self._run, args=(gap, paused), name="reader", daemon=True
        )
        self._thread.start()

    def request(self, request: Request) -> None:
        """Ask for something; the answer is an item."""
        self._requests.put(request)

    def now_ns(self) -> int:
        """Session time now, for marks."""
        return self._timeline.now_ns()

    def join(self, timeout_s: float) -> None:
        """Wait for the thread to end."""
        if self._thread is not None:
            self._thread.join(timeout_s)

    # --- the loop -------------------------------------------------------------------------------

    def _run(self, gap: GapReason | None, paused: bool) -> None:  # noqa: FBT001  (a thread's arguments)
        try:
            if paused:
                self._let_go()
                self._pause()
            elif gap is not None:
                self._gap(gap, "another worker had this session before")
            if self._source is not None:
                self._begin(self._source)
            while True:
                try:
                    self._step()
                except SourceLostError as error:
                    self._lost(error, GapReason.SOURCE_LOST)
        except (Finished, LeaseLostError):
            pass  # handed over to the end, or nobody takes it any more
        except Exception as error:  # noqa: BLE001  (a defect must end in the record, not beside it)
            self._crashed(error)
        finally:
            self._let_go()

    def _crashed(self, error: Exception) -> None:
        log.error("ReaderCrashed", error=repr(error), exc_info=error)
        try:
            self._coverage.crashed(error)
        except (Finished, LeaseLostError):
            pass  # as in _run
        except Exception as again:  # noqa: BLE001  (nothing more can be done in this thread)
            self._coverage.deliver(Crashed(error=again))

    def _step(self) -> None:
        """Record one packet once it is due, or fetch more; or answer one request."""
        request = self._requests.next(0)
        if request is not None:
            self._answer(request)
            return
        self._check_duration()
        source = self._source
        if source is None:
            raise SourceLostError("the source has not been opened yet")
        if self._packets:
            if not self._packets[0].video or self._is_due(self._packets[0]):
                self._record(self._packets.popleft(), source)
            return
        packets = source.read(LOOK_S)
        if packets is None:
            self._coverage.source_ended(source.facts)
        elif packets:
            self._packets.extend(packets)
        elif self._writer.full(self._timeline.now_ns()):
            self._packing.close(self._timeline.now_ns())  # a slow source keeps nothing undurable

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
        t_ns = self._timeline.frame_time(packet.t_ns)
        limit_ns = self._policy.max_duration_ns
        if limit_ns is not None and t_ns >= limit_ns:
            self._time_is_up(limit_ns, limit_ns)
        self._packing.add(packet, t_ns, source)

    # --- requests -------------------------------------------------------------------------------

    def _answer(self, request: Request) -> None:
        match request:
            case Pause(by=by):
                self._packing.put_down()
                self._let_go()
                self._coverage.deliver(Paused(cursor=self._coverage.cursor))
                self._pause(f"paused by {by}" if by else "")
            case Resume():
                pass  # it is not paused: the state machine refuses this before it comes here
            case Release():
                self._packing.put_down()
                self._let_go()
                self._coverage.deliver(Released(cursor=self._coverage.cursor))
                raise Finished
            case Stop(reason=reason, detail=detail):
                self._packing.end(reason, detail)

    def _let_go(self) -> None:
        self._packets.clear()
        if self._source is not None:
            self._source.close()
            self._source = None

    def _pause(self, detail: str = "") -> None:
        """Wait, and open the source again: what a live one showed meanwhile is paused too."""
        self._wait_for_resume(detail)
        self._lost(SourceLostError("until it was connected again"), GapReason.PAUSE)

    def _wait_for_resume(self, detail: str = "") -> None:
        """Paused: there is no source until a request comes."""
        while True:
            match self._requests.next(LOOK_S):
                case None:
                    self._check_duration_paused(detail)
                case Resume():
                    self._gap(GapReason.PAUSE, detail)
                    self._coverage.deliver(Resumed(cursor=self._coverage.cursor))
                    return
                case Release():
                    self._coverage.deliver(Released(cursor=self._coverage.cursor))
                    raise Finished
                case Stop(reason=reason, detail=detail):
                    self._gap(GapReason.PAUSE, detail)
                    self._coverage.end(reason, detail, self._coverage.cursor.t_ns)
                case Pause():
                    pass  # as in _answer

    # --- limits, gaps and ends ------------------------------------------------------------------

    def _gap(self, reason: GapReason, detail: str) -> None:
        self._coverage.gap(reason, detail)
        self._timeline.last_ns = max(self._timeline.last_ns, self._coverage.cursor.t_ns - 1)
        self._pacer.rebase()

    def _begin(self, source: PacketSource) -> None:
        """A source is open: its times begin anew."""
        self._source = source
        self._packets.clear()
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
        search = Search(self._reopen, unit, self._clock, self._policy.retry_s)
        try:
            while not search.over:
                source = search.look(LOOK_S)
                if source is not None:
                    self._begin(source)
                    if self._timeline.live:
                        self._gap(reason, str(error))
                    return
                request = self._requests.next(0)
                if request is not None:
                    self._answer(request)
                    if self._source is not None:
                        return  # a pause came between, behind which it was found
                    search.prolong()
        finally:
            search.abandon()
        self._gap(GapReason.SOURCE_LOST, str(error))
        self._coverage.end(search.end, str(search.reason or error), self._coverage.cursor.t_ns)

    def _check_duration(self) -> None:
        limit_ns = self._policy.max_duration_ns
        if limit_ns is not None and self._timeline.live and self._timeline.now_ns() >= limit_ns:
            self._time_is_up(limit_ns, max(limit_ns, self._timeline.last_ns + 1))

    def _time_is_up(self, limit_ns: int, t1_ns: int) -> None:
        detail = f"recorded for {limit_ns / SECOND_NS:g} s"
        self._coverage.end(EndReason.MAX_DURATION, detail, t1_ns)

    def _check_duration_paused(self, detail: str) -> None:
        limit_ns = self._policy.max_duration_ns
        if limit_ns is not None and self._timeline.live and self._timeline.now_ns() >= limit_ns:
            self._gap(GapReason.PAUSE, detail)
            end_ns = self._coverage.cursor.t_ns
            self._coverage.end(EndReason.MAX_DURATION, "the time was up while paused", end_ns)
