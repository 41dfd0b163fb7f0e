"""The reader thread: whatever happens, what it hands over tiles the stream in units and time."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from itertools import pairwise

import pytest
import zstandard
from memory_store import MemoryStore
from reader_bench import DEADLINE_S, FPS, SECOND, SESSION, Bench, Scripted

from recorder_worker.adapters.system_clock import SystemClock
from recorder_worker.core.errors import (
    LeaseLostError,
    SourceError,
    SourceLostError,
    StoreError,
)
from recorder_worker.core.frames.playback import scan_headers
from recorder_worker.core.model import Cursor, EndReason, GapReason, SourceClock
from recorder_worker.ports import FrameSource
from recorder_worker.stages.capture.reading import coverage, reopening
from recorder_worker.stages.capture.reading.requests import Pause, Release, Resume, Stop
from recorder_worker.stages.capture.reading.timeline import Timeline
from recorder_worker.stages.capture.segments import items

pytestmark = pytest.mark.usefixtures("unhurried")


def clock() -> SystemClock:
    return SystemClock()


def test_material_is_read_to_its_end_in_segments_of_the_wanted_length() -> None:
    bench = Bench(Scripted(clock(), frames=55)).start()
    assert bench.end().reason is EndReason.SOURCE_ENDED
    segments = [item for item in bench.items if isinstance(item, items.Segment)]
    assert [segment.span.unit_count for segment in segments] == [10, 10, 10, 10, 10, 5]
    assert [segment.keyframe for segment in segments] == [True] + [False] * 5
    assert bench.gaps() == []


def test_every_segment_is_durable_before_it_is_handed_over() -> None:
    bench = Bench(Scripted(clock(), frames=30)).start()
    while not isinstance(item := bench.wait_for(items.Segment, items.Ended), items.Ended):
        assert isinstance(item, items.Segment)
        assert bench.store.size(f"sessions/{SESSION}/{item.name}") == item.stored_size


def test_fewer_frames_than_declared_are_a_gap_and_a_lost_source() -> None:
    bench = Bench(Scripted(clock(), frames=40, declared=200)).start()
    ended = bench.end()
    assert ended.reason is EndReason.SOURCE_LOST
    assert "declares 200 frames but only 40" in ended.detail
    (gap,) = bench.gaps()
    assert (gap.reason, gap.span.unit_count) == (GapReason.SOURCE_LOST, 160)


def test_a_stop_ends_with_what_was_read_so_far() -> None:
    bench = Bench(Scripted(clock(), SourceClock.LIVE)).start()
    bench.wait_for(items.Segment)
    bench.reader.request(Stop(reason=EndReason.STOPPED, detail="me"))
    ended = bench.end()
    assert (ended.reason, ended.detail) == (EndReason.STOPPED, "me")


def test_a_pause_of_a_live_source_loses_units_and_of_material_none() -> None:
    for kind, loses in ((SourceClock.LIVE, True), (SourceClock.MEDIA, False)):
        bench = Bench(Scripted(clock(), kind, frames=None), native=True).start()
        bench.wait_for(items.Segment)
        bench.reader.request(Pause())
        bench.wait_for(items.Paused)
        bench.reader.request(Resume())
        bench.wait_for(items.Resumed)
        bench.wait_for(items.Segment)
        bench.reader.request(Stop(reason=EndReason.STOPPED))
        bench.end()
        (gap,) = bench.gaps()
        assert gap.reason is GapReason.PAUSE
        assert (gap.span.t1_ns > gap.span.t0_ns) is loses
        behind = bench.items[bench.items.index(gap) + 1 :]
        first = next(item for item in behind if isinstance(item, items.Segment))
        assert first.keyframe


def test_a_session_that_is_stopped_while_it_is_paused_has_its_gap() -> None:
    bench = Bench(Scripted(clock(), SourceClock.LIVE)).start()
    bench.wait_for(items.Segment)
    bench.reader.request(Pause())
    bench.wait_for(items.Paused)
    bench.reader.request(Stop(reason=EndReason.STOPPED))
    bench.end()
    assert [gap.reason for gap in bench.gaps()] == [GapReason.PAUSE]


def test_a_worker_that_takes_over_a_paused_session_leaves_it_paused() -> None:
    bench = Bench(Scripted(clock(), SourceClock.LIVE)).start(paused=True)
    bench.reader.request(Release())
    released = bench.wait_for(items.Released)
    assert bench.items == [released]


def test_a_live_source_that_was_not_read_in_time_has_lost_units(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(coverage, "STALL_NS", SECOND)
    stall = threading.Event()
    bench = Bench(Scripted(clock(), SourceClock.LIVE, script={20: lambda: _hang(stall, 1.5)}))
    bench.start()
    bench.wait_for(items.Gap)
    bench.reader.request(Stop(reason=EndReason.STOPPED))
    bench.end()
    assert bench.gaps()
    for gap in bench.gaps():  # the machine itself may stand still too
        assert gap.reason is GapReason.BACK_PRESSURE
        assert gap.span.unit_count >= FPS


def test_a_source_that_is_lost_and_comes_back_is_a_gap() -> None:
    first = Scripted(clock(), SourceClock.LIVE, script={25: _lose})
    second = Scripted(clock(), SourceClock.LIVE)
    bench = Bench(first, reopen=lambda _unit: second).start()
    bench.wait_for(items.Gap)
    bench.wait_for(items.Segment)
    bench.reader.request(Stop(reason=EndReason.STOPPED))
    bench.end()
    assert [gap.reason for gap in bench.gaps()] == [GapReason.SOURCE_LOST]
    assert first.closed
    assert second.closed


def test_a_source_that_stays_away_ends_the_session_with_its_reason() -> None:
    bench = Bench(Scripted(clock(), SourceClock.LIVE, script={25: _lose})).start()
    ended = bench.end()
    assert ended.reason is EndReason.SOURCE_LOST
    assert "does not come back" in ended.detail
    assert bench.frames() == 25


def test_a_worker_that_takes_over_without_a_source_says_so_and_ends() -> None:
    cursor = Cursor(unit=100, t_ns=2 * SECOND, wall_ns=1)
    bench = Bench(None, cursor=cursor, kind=SourceClock.LIVE).start(GapReason.CRASH)
    assert bench.end().reason is EndReason.SOURCE_LOST
    assert bench.gaps()[0].reason is GapReason.CRASH


def test_material_is_taken_over_at_the_unit_where_it_was_left() -> None:
    cursor = Cursor(unit=30, t_ns=30 * SECOND // FPS, wall_ns=SystemClock().wall_ns())
    source = Scripted(clock(), frames=60)
    source.reads = 30
    bench = Bench(source, cursor=cursor).start(GapReason.CRASH)
    bench.end()
    (gap,) = bench.gaps()
    assert (gap.span.unit_count, gap.span.t1_ns) == (0, cursor.t_ns)
    assert bench.frames() == 30


def test_a_change_of_size_begins_a_segment_with_a_keyframe() -> None:
    source = Scripted(clock(), frames=30)
    source._script = {15: lambda: setattr(source, "size", (20, 9))}
    bench = Bench(source).start()
    bench.end()
    keyed = [i.span.first_unit for i in bench.items if isinstance(i, items.Segment) and i.keyframe]
    assert keyed == [0, 15]


@pytest.mark.parametrize("kind", list(SourceClock))
def test_the_longest_duration_is_kept(kind: SourceClock) -> None:
    begin_ns = clock().monotonic_ns()
    bench = Bench(Scripted(clock(), kind), max_duration_ns=SECOND).start()
    ended = bench.end()
    lasted_ns = clock().monotonic_ns() - begin_ns
    assert ended.reason is EndReason.MAX_DURATION
    most_ns = lasted_ns if kind is SourceClock.LIVE else 3 * SECOND
    assert SECOND <= ended.cursor.t_ns < most_ns


def test_a_full_store_ends_the_session_with_a_gap_for_what_could_not_be_kept() -> None:
    bench = Bench(Scripted(clock(), frames=60), store=MemoryStore(limit_bytes=700)).start()
    assert bench.end().reason is EndReason.DISK_FULL
    assert bench.gaps()[-1].reason is GapReason.DISK
    assert bench.gaps()[-1].span.unit_count == 10


def test_a_store_that_fails_for_a_moment_loses_nothing() -> None:
    class Flaky(MemoryStore):
        failures = 2

        def put(self, key: str, data: bytes) -> None:
            if self.failures:
                self.failures -= 1
                raise StoreError("input/output error")
            super().put(key, data)

    bench = Bench(Scripted(clock(), frames=30), store=Flaky(), retry_s=10).start()
    assert bench.end().reason is EndReason.SOURCE_ENDED
    assert bench.frames() == 30


def test_a_reader_whose_items_nobody_takes_lets_go_of_its_source() -> None:
    source = Scripted(clock(), frames=None)

    def refuse(_item: items.Item) -> None:
        raise LeaseLostError("another worker has it")

    bench = Bench(source)
    bench.reader._coverage.deliver = refuse
    bench.start()
    bench.reader.join(DEADLINE_S)
    assert source.closed


def test_a_defect_in_a_source_ends_the_session_with_a_gap_for_what_was_read() -> None:
    def broken() -> None:
        raise ZeroDivisionError("a defect")

    bench = Bench(Scripted(clock(), script={15: broken})).start()
    ended = bench.end()
    assert ended.reason is EndReason.WORKER_LOST
    assert "ZeroDivisionError: a defect" in ended.detail
    (gap,) = bench.gaps()
    assert (gap.reason, gap.span.unit_count) == (GapReason.CRASH, 5)


def test_a_frame_that_was_read_before_a_pause_is_not_recorded_behind_it() -> None:
    source = Scripted(clock(), SourceClock.LIVE)
    bench = Bench(source)
    source._script = {25: lambda: bench.reader.request(Pause())}
    bench.start()
    bench.wait_for(items.Paused)
    bench.reader.request(Resume())
    bench.wait_for(items.Resumed)
    bench.wait_for(items.Segment)
    bench.reader.request(Stop(reason=EndReason.STOPPED))
    bench.end()
    for item in bench.items:
        if isinstance(item, items.Segment):
            stored = bench.store.get(f"sessions/{SESSION}/{item.name}")
            for header in scan_headers([zstandard.ZstdDecompressor().decompress(stored)]):
                assert item.span.t0_ns <= header.t_ns < item.span.t1_ns


def test_the_longest_duration_ends_a_session_that_is_paused() -> None:
    bench = Bench(Scripted(clock(), SourceClock.LIVE), max_duration_ns=SECOND).start()
    bench.wait_for(items.Segment)
    bench.reader.request(Pause())
    ended = bench.end()
    assert ended.reason is EndReason.MAX_DURATION
    assert [gap.reason for gap in bench.gaps()] == [GapReason.PAUSE]


def test_a_paused_reader_ends_when_its_session_is_given_up() -> None:
    source = Scripted(clock(), SourceClock.LIVE)
    bench = Bench(source).start(paused=True)
    bench.reader.request(Release())
    bench.reader.join(DEADLINE_S)
    assert source.closed


def test_a_source_that_was_lost_is_tried_again_after_a_long_pause() -> None:
    tries: list[int] = []

    def reopen(unit: int) -> FrameSource:
        tries.append(unit)
        raise SourceError("still away")

    bench = Bench(Scripted(clock(), SourceClock.LIVE, script={25: _lose}), reopen=reopen)
    bench.start()
    bench.wait_for(items.Segment)
    bench.reader.request(Pause())
    bench.wait_for(items.Paused)
    threading.Event().wait(0.5)  # longer than the source is tried for
    before = len(tries)
    bench.reader.request(Resume())
    assert bench.end().reason is EndReason.SOURCE_LOST
    assert len(tries) > before


def test_a_source_that_comes_back_while_time_is_left_is_found_before_it_is_given_up() -> None:
    found = Scripted(clock(), SourceClock.LIVE)
    answers: Iterator[SourceError | Scripted] = iter([SourceError("still away"), found])

    def reopen(_unit: int) -> FrameSource:
        answer = next(answers)
        if isinstance(answer, SourceError):
            raise answer
        return answer

    first = Scripted(clock(), SourceClock.LIVE, script={25: _lose})
    bench = Bench(first, reopen=reopen, retry_s=reopening.RETRY_WAIT_S / 2).start()
    bench.wait_for(items.Gap)
    bench.wait_for(items.Segment)
    bench.reader.request(Stop(reason=EndReason.STOPPED))
    assert bench.end().reason is EndReason.STOPPED


def test_a_source_that_stays_away_is_looked_for_ever_less_often(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(reopening, "RETRY_WAIT_S", 0.02)
    monkeypatch.setattr(reopening, "RETRY_LONGEST_S", 0.08)
    tries: list[int] = []

    def reopen(_unit: int) -> FrameSource:
        tries.append(clock().monotonic_ns())
        raise SourceError("still away")

    first = Scripted(clock(), SourceClock.LIVE, script={25: _lose})
    bench = Bench(first, reopen=reopen, retry_s=0.5).start()
    assert bench.end().reason is EndReason.SOURCE_LOST
    waits_ms = [(after - before) // 1_000_000 for before, after in pairwise(tries)]
    shortest_ms = [20, 40, 80, 80, 80, 80, 80, 80]
    # The last wait ends where the time does. A busy machine makes them longer, and fewer.
    assert all(waited >= least for waited, least in zip(waits_ms[:-1], shortest_ms, strict=False))
    assert 2 <= len(tries) <= 9


class SteppedClock(SystemClock):
    """A wall clock that somebody has set."""

    offset_ns = 0

    def wall_ns(self) -> int:
        return super().wall_ns() + self.offset_ns


@pytest.mark.parametrize("step_s", [-3600, 3600])
def test_a_wall_clock_that_was_stepped_does_not_falsify_a_gap_on_the_same_boot(
    step_s: int,
) -> None:
    stepped = SteppedClock()
    ago_ns = 2 * SECOND
    cursor = Cursor(
        unit=50,
        t_ns=SECOND,
        wall_ns=stepped.wall_ns() - ago_ns,
        boot_ns=stepped.monotonic_ns() - ago_ns,
    )
    stepped.offset_ns = step_s * SECOND
    timeline = Timeline(SourceClock.LIVE, cursor, stepped, FPS, same_boot=True)
    now_ns, later_ns = timeline.now_ns(), stepped.monotonic_ns()
    half = SECOND // 2
    assert 3 * SECOND - half <= now_ns <= SECOND + later_ns - cursor.boot_ns + half
    elsewhere = Timeline(SourceClock.LIVE, cursor, stepped, FPS, same_boot=False)
    assert abs(elsewhere.now_ns() - 3 * SECOND) > SECOND


def _lose() -> None:
    raise SourceLostError("the display is gone")


def _hang(event: threading.Event, seconds: float) -> None:
    """Be late once: waiting is what is tested."""
    if not event.is_set():
        event.wait(seconds)
        event.set()
