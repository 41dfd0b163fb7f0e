"""The reader under control: masks in mid-session, armed, idle, slowed down, held."""

from __future__ import annotations

import threading
from collections.abc import Callable
from itertools import pairwise

import msgspec
import numpy as np
import pytest
from memory_store import MemoryStore
from reader_bench import DEADLINE_S, FPS, SECOND, Bench, Scripted, frames_of

from recorder_worker.adapters.system_clock import SystemClock
from recorder_worker.core import notes
from recorder_worker.core.errors import SourceLostError, StoreError
from recorder_worker.core.frames.pictures import Pointer
from recorder_worker.core.model import Cursor, EndReason, GapReason, Mask, SourceClock
from recorder_worker.stages.capture.reading.requests import (
    GoOn,
    Hold,
    MaskWith,
    Pause,
    Release,
    Resume,
    SetRate,
    Stop,
    TriggerNow,
)
from recorder_worker.stages.capture.segments import items

pytestmark = pytest.mark.usefixtures("unhurried")

STOP = Stop(reason=EndReason.STOPPED)
LEFT = Mask(x=0, y=0, width=4, height=8)
RIGHT = Mask(x=4, y=0, width=4, height=8)


def live(**options: object) -> Scripted:
    return Scripted(SystemClock(), SourceClock.LIVE, **options)  # type: ignore[arg-type]


def segments(bench: Bench) -> list[items.Segment]:
    return [item for item in bench.items if isinstance(item, items.Segment)]


def note(bench: Bench) -> items.Note:
    found = bench.wait_for(items.Note)
    assert isinstance(found, items.Note)
    return found


# --- masks ---------------------------------------------------------------------------------------


def masked(bench: Bench, *masks: Mask) -> items.Masked:
    bench.reader.request(MaskWith(masks=masks, by="kim"))
    found = bench.wait_for(items.Masked)
    assert isinstance(found, items.Masked)
    assert (found.masks, found.by) == (masks, "kim")
    return found


@pytest.mark.parametrize("kind", list(SourceClock))
def test_other_masks_hold_from_a_keyframe_on_and_not_a_frame_earlier(kind: SourceClock) -> None:
    source = Scripted(SystemClock(), kind)
    source.shown = 7
    bench = Bench(source, native=True, masks=(LEFT,)).start()
    bench.wait_for(items.Segment)
    at = masked(bench, RIGHT)
    behind = bench.wait_for(items.Segment)
    bench.reader.request(STOP)
    bench.end()
    assert isinstance(behind, items.Segment)
    assert behind.keyframe
    assert behind.span.t0_ns == at.t_ns
    for picture, t_ns in frames_of(bench.store, segments(bench)):
        black, shown = (picture[:, :4], picture[:, 4:])
        if t_ns >= at.t_ns:
            black, shown = shown, black
        assert not black.any()
        assert (shown == 7).all()


def test_masks_that_change_in_a_pause_hold_behind_it() -> None:
    bench = Bench(live()).start()
    bench.wait_for(items.Segment)
    bench.reader.request(Pause())
    paused = bench.wait_for(items.Paused)
    at = masked(bench, LEFT)
    bench.reader.request(Resume())
    bench.wait_for(items.Resumed)
    bench.wait_for(items.Segment)
    bench.reader.request(STOP)
    bench.end()
    assert isinstance(paused, items.Paused)
    assert at.t_ns >= paused.cursor.t_ns
    for picture, t_ns in frames_of(bench.store, segments(bench)):
        assert picture[:, :4].any() == (t_ns < at.t_ns)


@pytest.mark.parametrize("kind", list(SourceClock))
def test_masks_that_were_asked_for_before_the_begin_hold_from_the_first_frame_on(
    kind: SourceClock,
) -> None:
    source = Scripted(SystemClock(), kind, frames=30)
    source.shown = 7
    bench = Bench(source)
    bench.reader.request(MaskWith(masks=(LEFT,), by="kim"))
    bench.start(GapReason.CRASH)
    bench.end()
    told = [type(item) for item in bench.items[:3]]
    assert told == [items.Gap, items.Masked, items.Segment]
    for picture, _ in frames_of(bench.store, segments(bench)):
        assert not picture[:, :4].any()
        assert (picture[:, 4:] == 7).all()


# --- idle ----------------------------------------------------------------------------------------


def test_a_picture_that_stands_still_ends_the_session_and_one_that_changes_does_not() -> None:
    source = Scripted(SystemClock(), frames=200)
    source._script = {100: lambda: setattr(source, "shown", 3)}
    bench = Bench(source, idle_stop_ns=SECOND).start()
    ended = bench.end()
    assert (ended.reason, ended.detail) == (
        EndReason.IDLE,
        "nothing changed on the picture for 1 s",
    )
    assert bench.frames() == 100 + FPS + 1


def test_what_changes_below_a_mask_does_not_keep_a_session_from_its_idle_end() -> None:
    bench = Bench(
        Scripted(SystemClock(), frames=200),
        idle_stop_ns=SECOND,
        masks=(Mask(x=0, y=0, width=8, height=8),),
    ).start()
    assert bench.end().reason is EndReason.IDLE
    assert bench.frames() == FPS + 1


def test_a_pointer_that_moves_keeps_a_session_from_its_idle_end() -> None:
    source = Scripted(SystemClock(), frames=200)
    source.shown, source.changed = 3, ()

    def at(x: int) -> Pointer:
        return Pointer(x=x, y=0, hot_x=0, hot_y=0, shape=np.zeros((1, 1, 4), np.uint8))

    source.pointer = at(0)
    source._script = {40: lambda: setattr(source, "pointer", at(1))}
    bench = Bench(source, idle_stop_ns=SECOND).start()
    assert bench.end().reason is EndReason.IDLE
    assert bench.frames() == 40 + FPS + 1


def test_a_pause_does_not_count_as_idle() -> None:
    source = Scripted(SystemClock(), SourceClock.LIVE)
    source.shown = 3
    bench = Bench(source, idle_stop_ns=SECOND)
    # While it stands still, and long before it has done so for too long.
    source._script = {5: lambda: bench.reader.request(Pause())}
    bench.start()
    bench.wait_for(items.Paused)
    threading.Event().wait(1.1)  # longer than the limit: waiting is what is tested
    bench.reader.request(Resume())
    resumed = bench.wait_for(items.Resumed)
    ended = bench.end()
    assert isinstance(resumed, items.Resumed)
    assert ended.reason is EndReason.IDLE
    assert ended.cursor.t_ns >= resumed.cursor.t_ns + SECOND


# --- armed ---------------------------------------------------------------------------------------

PLENTY = 1 << 20


def armed(source: Scripted, *, keep_ns: int = SECOND, max_bytes: int = PLENTY) -> Bench:
    bench = Bench(source, native=True, pre_record=(keep_ns, max_bytes)).start(armed=True)
    said = note(bench)
    assert said.kind == notes.ARMED
    body = msgspec.json.decode(said.body, type=notes.Armed)
    assert (body.pre_record_s, body.max_bytes) == (keep_ns / SECOND, max_bytes)
    return bench


def read_for(source: Scripted, frames: int) -> None:
    """Wait until the reader has read so many frames."""
    for _ in range(2000):
        if source.reads >= frames:
            return
        threading.Event().wait(0.01)
    raise AssertionError(f"expected {frames} frames, found {source.reads}")


@pytest.mark.parametrize("kind", list(SourceClock))
def test_nothing_is_written_before_the_trigger_and_then_the_last_seconds_are(
    kind: SourceClock,
) -> None:
    source = Scripted(SystemClock(), kind)
    bench = armed(source, keep_ns=SECOND // 2)
    read_for(source, 3 * FPS // 2)
    assert bench.store.puts == {}
    bench.reader.request(TriggerNow())
    triggered = bench.wait_for(items.Triggered)
    assert isinstance(triggered, items.Triggered)
    before = [item for item in bench.items if not isinstance(item, items.Note)]
    bench.wait_for(items.Segment)
    bench.reader.request(STOP)
    bench.end()
    gap, first, *rest = before
    assert isinstance(gap, items.Gap)
    assert (gap.reason, gap.span.first_unit, gap.span.t0_ns) == (GapReason.ARMED, 0, 0)
    assert isinstance(first, items.Segment)
    assert first.keyframe
    kept_ns = triggered.t_ns - first.span.t0_ns
    times = [t_ns for _, t_ns in frames_of(bench.store, segments(bench))]
    held = [*(t_ns for t_ns in times if t_ns < triggered.t_ns), triggered.t_ns]
    stood_ns = sum(max(0, after - before - SECOND // 10) for before, after in pairwise(held))
    assert SECOND // 2 <= kept_ns < SECOND + stood_ns, "no more than a group and a segment beside"
    assert all(isinstance(item, items.Segment | items.Triggered) for item in rest)
    assert len(bench.gaps()) == 1
    assert times == sorted(times), "all is decoded from the first keyframe on"
    assert len(times) == bench.frames()


def test_what_is_held_is_bounded_in_bytes_and_starts_with_a_keyframe_all_the_same() -> None:
    source = live()
    source.size = (64, 64)
    bench = armed(source, keep_ns=60 * SECOND, max_bytes=2_000)
    read_for(source, 2 * FPS)
    pre_record = bench.reader._coverage._pre_record
    assert pre_record is not None
    assert pre_record.size <= 2_000
    bench.reader.request(TriggerNow())
    bench.wait_for(items.Triggered)
    bench.wait_for(items.Segment)
    bench.reader.request(STOP)
    bench.end()
    assert bench.gaps()[0].span.unit_count > 0
    assert segments(bench)[0].keyframe


def test_a_trigger_before_the_seconds_are_over_misses_next_to_nothing() -> None:
    source = Scripted(SystemClock())
    bench = armed(source, keep_ns=60 * SECOND)
    read_for(source, 5)
    bench.reader.request(TriggerNow())
    bench.wait_for(items.Triggered)
    bench.reader.request(STOP)
    bench.end()
    assert bench.gaps() == [], "material waits for its reader"


def test_a_stop_before_any_trigger_leaves_one_gap_and_no_byte() -> None:
    source = live()
    bench = armed(source)
    read_for(source, FPS)
    bench.reader.request(STOP)
    ended = bench.end()
    assert ended.reason is EndReason.STOPPED
    [gap] = bench.gaps()
    assert (gap.reason, gap.span.t0_ns, gap.span.t1_ns) == (GapReason.ARMED, 0, ended.cursor.t_ns)
    assert gap.span.unit_count == ended.cursor.unit > 0
    assert (segments(bench), bench.store.puts) == ([], {})


def test_a_worker_that_takes_over_an_armed_session_is_armed_and_says_nothing_of_before() -> None:
    clock = SystemClock()
    cursor = Cursor(wall_ns=clock.wall_ns() - 3 * SECOND)
    source = live()
    bench = Bench(source, cursor=cursor, pre_record=(SECOND, PLENTY)).start(
        GapReason.HANDOVER, armed=True
    )
    note(bench)
    read_for(source, 10)
    bench.reader.request(Release())
    released = bench.wait_for(items.Released)
    assert isinstance(released, items.Released)
    assert released.cursor == cursor
    assert [type(item) for item in bench.items] == [items.Note, items.Released]

    source = live()
    bench = Bench(source, cursor=cursor, pre_record=(SECOND, PLENTY)).start(
        GapReason.HANDOVER, armed=True
    )
    read_for(source, 10)
    bench.reader.request(TriggerNow())
    bench.wait_for(items.Triggered)
    bench.reader.request(STOP)
    bench.end()
    [gap] = bench.gaps()
    assert (gap.reason, gap.span.t0_ns) == (GapReason.ARMED, 0)
    assert gap.span.t1_ns >= 3 * SECOND
    assert gap.span.unit_count >= 3 * FPS


def test_masks_that_change_while_armed_let_go_of_what_shows_too_much() -> None:
    source = live()
    source.shown = 9
    bench = armed(source, keep_ns=60 * SECOND)
    read_for(source, FPS)
    at = masked(bench, LEFT)
    read_for(source, 2 * FPS)
    bench.reader.request(TriggerNow())
    bench.wait_for(items.Triggered)
    bench.reader.request(STOP)
    bench.end()
    [gap] = bench.gaps()
    assert gap.span.t1_ns == at.t_ns
    pictures = [picture for picture, _ in frames_of(bench.store, segments(bench))]
    assert pictures
    assert not any(picture[:, :4].any() for picture in pictures)


def test_a_source_that_is_lost_and_comes_back_while_armed_is_a_gap_of_what_is_held() -> None:
    def lose() -> None:
        raise SourceLostError("away for a moment")

    second = live()
    bench = Bench(
        live(script={FPS // 2: lose}),
        reopen=lambda _unit: second,
        pre_record=(60 * SECOND, PLENTY),
    ).start(armed=True)
    read_for(second, 10)
    bench.reader.request(TriggerNow())
    bench.wait_for(items.Triggered)
    bench.reader.request(STOP)
    bench.end()
    assert [gap.reason for gap in bench.gaps()][-1] is GapReason.SOURCE_LOST
    assert bench.frames() >= FPS // 2 + 10


def test_a_store_that_is_full_at_the_trigger_ends_the_session_with_what_could_be_kept() -> None:
    source = live()
    bench = Bench(source, store=MemoryStore(limit_bytes=400), pre_record=(60 * SECOND, PLENTY))
    bench.start(armed=True)
    read_for(source, 2 * FPS)
    bench.reader.request(TriggerNow())
    ended = bench.end()
    assert ended.reason is EndReason.DISK_FULL
    assert bench.gaps()[-1].reason is GapReason.DISK
    assert segments(bench)


# --- slower, held, back --------------------------------------------------------------------------


def test_another_frame_rate_is_a_note_and_fewer_frames() -> None:
    source = live()
    bench = Bench(source).start()
    bench.wait_for(items.Segment)
    bench.reader.request(SetRate(fps=5, reason="overload", detail="30% of reads came late"))
    said = note(bench)
    assert said.kind == notes.RATE
    assert msgspec.json.decode(said.body) == {
        "from_fps": FPS,
        "to_fps": 5,
        "reason": "overload",
        "detail": "30% of reads came late",
    }
    slow = [bench.wait_for(items.Segment) for _ in range(3)]
    bench.reader.request(SetRate(fps=FPS, reason="overload"))
    back = note(bench)
    bench.wait_for(items.Segment)
    bench.reader.request(STOP)
    bench.end()
    assert bench.gaps() == [], "a lower rate is no loss"
    times = [t_ns for _, t_ns in frames_of(bench.store, segments(bench))]
    between = [t_ns for t_ns in times if said.t_ns <= t_ns < back.t_ns]
    assert len(between) <= 2 + (back.t_ns - said.t_ns) * 5 // SECOND
    assert len(slow) == 3


@pytest.mark.parametrize("reason", [GapReason.BACK_PRESSURE, GapReason.DISK])
@pytest.mark.parametrize("kind", list(SourceClock))
def test_a_session_that_is_held_reads_nothing_and_says_why(
    kind: SourceClock, reason: GapReason
) -> None:
    source = Scripted(SystemClock(), kind)
    bench = Bench(source, native=True).start()
    bench.wait_for(items.Segment)
    bench.reader.request(Hold(detail="900 messages wait", reason=reason))
    bench.reader.request(MaskWith(masks=(LEFT,)))  # answered once it stands still, or just before
    bench.wait_for(items.Masked)
    threading.Event().wait(0.2)
    before = source.reads
    threading.Event().wait(0.3)  # several frames long: waiting is what is tested
    assert source.reads <= before + 1
    bench.reader.request(GoOn())
    bench.wait_for(items.Gap)
    behind = bench.wait_for(items.Segment)
    bench.reader.request(STOP)
    bench.end()
    begin, gap = bench.gaps()
    for one in (begin, gap):
        assert (one.reason, one.detail) == (reason, "900 messages wait")
    assert (begin.span.unit_count, begin.span.t1_ns) == (0, begin.span.t0_ns), "told at once"
    assert (gap.span.unit_count > 0) is (kind is SourceClock.LIVE)
    assert isinstance(behind, items.Segment)
    assert behind.keyframe


def test_a_session_that_is_held_can_be_paused_and_is_held_behind_it_too() -> None:
    bench = Bench(live()).start()
    bench.wait_for(items.Segment)
    bench.reader.request(Hold(detail="behind"))
    bench.wait_for(items.Gap)
    bench.reader.request(Pause())
    bench.wait_for(items.Paused)
    bench.reader.request(Resume())
    bench.wait_for(items.Resumed)
    bench.reader.request(GoOn())
    bench.wait_for(items.Segment)
    bench.reader.request(STOP)
    bench.end()
    reasons = [gap.reason for gap in bench.gaps()]
    assert GapReason.PAUSE in reasons
    assert reasons[0] is GapReason.BACK_PRESSURE
    held = [gap for gap in bench.gaps() if gap.reason is GapReason.BACK_PRESSURE]
    assert len(held) % 2 == 0, "each has its begin and its end"


def test_reads_that_come_late_are_counted() -> None:
    stalled = threading.Event()
    hang: Callable[[], None] = lambda: None if stalled.is_set() else _hang(stalled)  # noqa: E731  (a script's line)
    bench = Bench(live(script={10: hang})).start()
    bench.wait_for(items.Segment)
    bench.wait_for(items.Segment)
    reads, late = bench.reader.ticks
    bench.reader.request(STOP)
    bench.end()
    assert 0 < late < reads


def _hang(stalled: threading.Event) -> None:
    stalled.set()
    threading.Event().wait(0.2)


def test_a_store_that_refuses_is_told_at_once_and_well_again_when_it_takes() -> None:
    class Refusing(MemoryStore):
        refuses = True

        def put(self, key: str, data: bytes) -> None:
            if self.refuses:
                raise StoreError("read-only file system")
            super().put(key, data)

    store = Refusing()
    bench = Bench(live(), store=store, retry_s=60).start()
    for _ in range(int(DEADLINE_S / 0.01)):
        if bench.writes.trouble():
            break
        threading.Event().wait(0.01)
    assert "read-only file system" in bench.writes.trouble()
    store.refuses = False
    bench.wait_for(items.Segment)
    assert bench.writes.trouble() == ""
    bench.reader.request(STOP)
    bench.end()
