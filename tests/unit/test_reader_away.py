"""A source that is away, or flaps, or hangs: no time is left out, and nobody is kept waiting."""

from __future__ import annotations

import threading

import pytest
from reader_bench import DEADLINE_S, SECOND, Bench, Scripted

from recorder_worker.adapters.system_clock import SystemClock
from recorder_worker.core.errors import SourceError, SourceLostError
from recorder_worker.core.model import Cursor, EndReason, GapReason, SourceClock, Span
from recorder_worker.ports import FrameSource
from recorder_worker.stages.capture.reading.pre_record import PreRecord
from recorder_worker.stages.capture.reading.requests import Pause, Resume, Stop
from recorder_worker.stages.capture.segments import items

pytestmark = pytest.mark.usefixtures("unhurried")

STOP = Stop(reason=EndReason.STOPPED)
AWAY_S = 0.3


def lose() -> None:
    raise SourceLostError("the display is gone")


def live(**script: int) -> Scripted:
    at = script.get("lost_at", 25)
    return Scripted(SystemClock(), SourceClock.LIVE, script={at: lose})


class Gone:
    """A source that does not come back; `tried` says that it is looked for."""

    def __init__(self) -> None:
        self.tried = threading.Event()

    def __call__(self, _unit: int) -> FrameSource:
        self.tried.set()
        raise SourceError("still away")


class Late(Scripted):
    """A source that is opened when nobody waits for it any more."""

    def __init__(self, clock: SystemClock, kind: SourceClock) -> None:
        super().__init__(clock, kind)
        self.let_go = threading.Event()

    @property
    def open(self) -> bool:
        return not self.let_go.is_set()

    def close(self) -> None:
        self.let_go.set()


def lost(bench: Bench) -> items.Gap:
    gap = bench.gaps()[-1]
    assert gap.reason is GapReason.SOURCE_LOST
    assert gap.detail == "the display is gone"
    assert gap.span.duration_ns >= AWAY_S * SECOND
    assert gap.span.unit_count > 0
    return gap


def test_a_stop_leaves_no_time_out_in_which_the_source_was_away() -> None:
    gone = Gone()
    bench = Bench(live(), reopen=gone, retry_s=60).start()
    assert gone.tried.wait(DEADLINE_S)
    threading.Event().wait(AWAY_S)  # to be away is what is tested
    bench.reader.request(STOP)
    ended = bench.end()
    assert ended.reason is EndReason.STOPPED
    assert lost(bench).span.t1_ns == ended.cursor.t_ns


def test_a_pause_is_not_to_blame_for_what_a_source_that_was_away_did_not_show() -> None:
    gone = Gone()
    bench = Bench(live(), reopen=gone, retry_s=60).start()
    assert gone.tried.wait(DEADLINE_S)
    threading.Event().wait(AWAY_S)
    bench.reader.request(Pause())
    paused = bench.wait_for(items.Paused)
    assert isinstance(paused, items.Paused)
    assert lost(bench).span.t1_ns == paused.cursor.t_ns
    bench.reader.request(Resume())
    bench.wait_for(items.Resumed)
    bench.reader.request(STOP)
    bench.end()
    assert [gap.reason for gap in bench.gaps()] == [
        GapReason.SOURCE_LOST,
        GapReason.PAUSE,
        GapReason.SOURCE_LOST,
    ]


def test_the_longest_duration_leaves_no_time_out_in_which_the_source_was_away() -> None:
    bench = Bench(live(lost_at=1), reopen=Gone(), retry_s=60, max_duration_ns=SECOND).start()
    ended = bench.end()
    assert ended.reason is EndReason.MAX_DURATION
    assert lost(bench).span.t1_ns == ended.cursor.t_ns >= SECOND


def test_a_source_that_hangs_while_it_is_opened_keeps_nobody_from_stopping() -> None:
    trying, go_on = threading.Event(), threading.Event()
    late = Late(SystemClock(), SourceClock.LIVE)

    def reopen(_unit: int) -> FrameSource:
        trying.set()
        assert go_on.wait(DEADLINE_S)
        return late

    bench = Bench(live(), reopen=reopen, retry_s=60).start()
    assert trying.wait(DEADLINE_S)
    bench.reader.request(STOP)
    assert bench.end().reason is EndReason.STOPPED  # while it still hangs
    assert late.open
    go_on.set()
    assert late.let_go.wait(DEADLINE_S)


def test_a_source_that_is_found_only_to_be_lost_again_is_no_flood_of_gaps() -> None:
    opened: list[int] = []
    enough = threading.Event()

    def reopen(_unit: int) -> FrameSource:
        opened.append(SystemClock().monotonic_ns())
        if len(opened) == 3:
            enough.set()
        return live(lost_at=0)

    bench = Bench(live(), reopen=reopen, retry_s=60).start()
    assert enough.wait(DEADLINE_S)
    bench.reader.request(STOP)
    bench.end()
    waits_ms = [(opened[at + 1] - opened[at]) // 1_000_000 for at in range(2)]
    assert waits_ms[0] >= 500
    assert waits_ms[1] >= 1000


def test_material_that_cannot_be_read_at_one_place_ends_there() -> None:
    def reopen(unit: int) -> FrameSource:
        again = Scripted(SystemClock(), script={10: lose})
        again.reads = unit
        return again

    bench = Bench(Scripted(SystemClock(), script={10: lose}), reopen=reopen, retry_s=60).start()
    ended = bench.end()
    assert (ended.reason, ended.cursor.unit) == (EndReason.SOURCE_LOST, 10)
    assert len(bench.gaps()) <= 2


@pytest.mark.parametrize("lost_at", [0, 1])
def test_a_source_that_is_lost_at_once_is_looked_for_at_once(lost_at: int) -> None:
    found = Scripted(SystemClock(), SourceClock.LIVE)
    bench = Bench(live(lost_at=lost_at), reopen=lambda _unit: found, retry_s=60).start()
    bench.wait_for(items.Segment)
    bench.reader.request(STOP)
    assert bench.end().reason is EndReason.STOPPED


def test_an_armed_session_whose_source_only_loses_units_does_not_keep_every_gap() -> None:
    # A publisher of garbage makes a gap each second, for as long as nobody triggers.
    begin = Cursor()
    held = PreRecord(
        base=begin, begin=begin, keep_ns=10 * SECOND, max_bytes=1 << 20, full=lambda: None
    )
    for second in range(1000):
        span = Span(
            first_unit=second,
            unit_count=1,
            t0_ns=second * SECOND,
            t1_ns=(second + 1) * SECOND,
            wall0_ns=0,
            wall1_ns=0,
        )
        cursor = Cursor(unit=second + 1, t_ns=(second + 1) * SECOND)
        gap = items.Gap(cursor=cursor, span=span, reason=GapReason.SOURCE_LOST, detail="")
        assert held.take(gap) == ()
    kept = [one.item.span for one in held.held()]
    assert 10 <= len(kept) <= 12
    (before,) = held.before()
    assert (before.span.first_unit, before.span.t0_ns) == (0, 0)
    assert (before.cursor.unit, before.cursor.t_ns) == (kept[0].first_unit, kept[0].t0_ns)
