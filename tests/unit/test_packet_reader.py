"""The reader of packets: what it hands over tiles the stream, and begins with keyframes."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

import msgspec
import numpy as np
import pytest
import zstandard
from handmade_pieces import fragment, head
from memory_store import MemoryStore
from reader_bench import DEADLINE_S, FPS, SECOND, SESSION, HandedOver, no_source

from recorder_worker.adapters.optics import OpenCvOptics
from recorder_worker.adapters.system_clock import SystemClock
from recorder_worker.core.errors import (
    SourceError,
    SourceForbiddenError,
    SourceLostError,
    UnitsMissingError,
)
from recorder_worker.core.frames.pictures import Picture
from recorder_worker.core.model import Cursor, EndReason, GapReason, SourceClock, SourceFacts
from recorder_worker.core.packets.fmp4_stream import Piece, scan_pieces
from recorder_worker.core.quality.conditions import Condition, QualityChange, Turn
from recorder_worker.ports import Coding, KeyframeDecoder, Packet, PacketSource
from recorder_worker.service.observing.metrics import Metrics
from recorder_worker.service.policies import watch_policy
from recorder_worker.service.settings.pictures import QualitySettings
from recorder_worker.stages.capture.reading import keyframe_looks, packet_reader
from recorder_worker.stages.capture.reading.coverage import Coverage
from recorder_worker.stages.capture.reading.keyframe_looks import KeyframeLooks
from recorder_worker.stages.capture.reading.packet_reader import PacketReader
from recorder_worker.stages.capture.reading.picture_watch import PictureWatch
from recorder_worker.stages.capture.reading.policy import ReaderPolicy
from recorder_worker.stages.capture.reading.requests import GoOn, Hold, Pause, Release, Resume, Stop
from recorder_worker.stages.capture.reading.timeline import Timeline
from recorder_worker.stages.capture.segments import items
from recorder_worker.stages.capture.segments.packet_spool import PacketWriter
from recorder_worker.stages.capture.segments.spool import SegmentLimits
from recorder_worker.stages.capture.segments.write_watch import WriteWatch

STEP = SECOND // FPS


def video(unit: int, *, group: int = 10, dts: int | None = None, t_ns: int | None = None) -> Packet:
    return Packet(
        video=True,
        keyframe=unit % group == 0,
        pts=unit if dts is None else dts,
        dts=unit if dts is None else dts,
        duration=1,
        t_ns=unit * STEP if t_ns is None else t_ns,
        data=bytes([unit % 256]) * 10,
    )


class Material:
    """A source of packets as a test wrote them down; behind them nothing, an end, or an error."""

    tick = (1, FPS)
    coding = Coding("h264", b"")

    def __init__(
        self,
        packets: Sequence[Packet],
        kind: SourceClock = SourceClock.MEDIA,
        *,
        then: SourceLostError | None = None,
        ends: bool = True,
        skipped: int = 0,
    ) -> None:
        self._packets = list(packets)
        self._then = then
        self._ends = ends
        self.skipped = skipped
        self.closed = False
        self.facts = SourceFacts(
            kind="test", uri="t:", description="", width=8, height=8, clock=kind, frame_rate=FPS
        )

    def read(self, wait_s: float) -> tuple[Packet, ...] | None:
        if self._packets:
            return (self._packets.pop(0),)
        if self._then is not None:
            raise self._then
        if self._ends:
            return None
        threading.Event().wait(min(wait_s, 0.02))
        return ()

    def piece(self, packets: Sequence[Packet], shift: int) -> tuple[bytes, bytes]:  # noqa: ARG002  (of the port)
        if any(packet.data == b"bad" for packet in packets):
            raise SourceLostError("MP4 cannot hold it")
        sizes = [len(packet.data) for packet in packets if packet.video]
        first = next(packet for packet in packets if packet.video)
        return head(), fragment((1, sizes), keyframe=first.keyframe)

    def close(self) -> None:
        self.closed = True


class Published(Material):
    """A live source that can be held: packets of now, and what is missing among them."""

    def __init__(self, *found: Packet | UnitsMissingError) -> None:
        super().__init__((), SourceClock.LIVE, ends=False)
        self.found = list(found)
        self.held = False
        self.went_on: list[GapReason] = []

    def read(self, wait_s: float) -> tuple[Packet, ...] | None:
        if not self.found:
            threading.Event().wait(min(wait_s, 0.02))
            return ()
        first = self.found.pop(0)
        if isinstance(first, UnitsMissingError):
            raise first
        return (first,)

    def hold(self) -> None:
        self.held = True

    def go_on(self, reason: GapReason) -> None:
        self.held = False
        self.went_on.append(reason)


class Bench(HandedOver):
    """A reader over material, with what it hands over."""

    def __init__(
        self,
        source: Material | None,
        *,
        reopen: Callable[[int], PacketSource] | None = None,
        kind: SourceClock = SourceClock.MEDIA,
        retry_s: float = 0.4,
        decoder: KeyframeDecoder | None = None,
    ) -> None:
        super().__init__()
        self.clock = SystemClock()
        self.store = MemoryStore()
        kind = source.facts.clock if source else kind
        timeline = Timeline(kind, Cursor(), self.clock, FPS, same_boot=False)
        writer = PacketWriter(
            store=self.store,
            session_id=SESSION,
            clock=self.clock,
            cursor=Cursor(),
            limits=SegmentLimits(duration_ns=SECOND // 5, plain_size=1 << 20, level=1),
            whole_groups=kind is SourceClock.MEDIA,
        )
        self.reader = PacketReader(
            source=source,
            reopen=reopen or no_source,
            coverage=Coverage(
                writer=writer,
                timeline=timeline,
                clock=self.clock,
                retry_s=retry_s,
                writes=WriteWatch(self.clock, Metrics(version="", node="")).of(SESSION),
                deliver=self.news.put,
            ),
            timeline=timeline,
            policy=ReaderPolicy(native=False, max_duration_ns=None, retry_s=retry_s),
            clock=self.clock,
            looks=None if decoder is None else self._looks(decoder, kind),
        )

    def _looks(self, decoder: KeyframeDecoder, kind: SourceClock) -> KeyframeLooks:
        policy = watch_policy(QualitySettings(look_s=0.1))
        watch = PictureWatch(
            optics=OpenCvOptics(),
            policy=msgspec.structs.replace(policy, look_ns=0),
            conditions=(Condition.BLACK,),
            thumbnails=None,
        )
        return KeyframeLooks(
            decoder=decoder,
            watch=watch,
            look_ns=policy.look_ns,
            clock=self.clock,
            metrics=Metrics(version="", node=""),
            waits=kind is SourceClock.MEDIA,
        )

    def start(self, gap: GapReason | None = None) -> Bench:
        self.reader.start(gap=gap, paused=False)
        return self

    def end(self) -> items.Ended:
        """As `ended`, and no gap is followed by a delta."""
        ended = self.ended()
        self.reader.join(DEADLINE_S)
        keyframe_due = True
        for item in self.items:
            if isinstance(item, items.Segment):
                assert item.keyframe or not keyframe_due
                keyframe_due = False
            elif isinstance(item, items.Gap):
                keyframe_due = True
        return ended

    def pieces(self) -> list[Piece]:
        found: list[Piece] = []
        for item in self.items:
            if isinstance(item, items.Segment):
                stored = self.store.get(f"sessions/{SESSION}/{item.name}")
                found += scan_pieces([zstandard.ZstdDecompressor().decompress(stored)])
        return found

    def runs(self) -> list[tuple[int, int]]:
        """First units and lengths of what has no gap in it, in however many pieces it is stored."""
        found: list[tuple[int, int]] = []
        for piece in self.pieces():
            first, count = piece.times.first_unit, len(piece.times.times)
            if found and sum(found[-1]) == first:
                first, count = found[-1][0], found.pop()[1] + count
            found.append((first, count))
        return found


def now(units: int, *, group: int = 10) -> list[Packet]:
    at = SystemClock().monotonic_ns()
    return [video(unit, group=group, t_ns=at + unit) for unit in range(units)]


class Dark:
    """Every keyframe is a black picture."""

    def picture(self, coding: Coding, data: bytes) -> Picture:
        assert (coding, data[0] % 10) == (Material.coding, 0)
        return np.zeros((9, 16, 3), np.uint8)


def test_what_keyframes_show_is_told_among_the_segments_up_to_the_end() -> None:
    bench = Bench(Material([video(unit) for unit in range(200)]), decoder=Dark()).start()
    bench.end()
    (note,) = bench.notes()
    change = msgspec.json.decode(note.body, type=QualityChange)
    assert (change.condition, change.state, change.since_ns) == (Condition.BLACK, Turn.BEGUN, 0)
    assert note.t_ns == 2 * SECOND

    # The look that makes it certain is at the last keyframe, and nothing comes behind it.
    bench = Bench(Material([video(unit) for unit in range(101)]), decoder=Dark()).start()
    bench.end()
    assert len(bench.notes()) == 1


@pytest.mark.parametrize("kind", [SourceClock.MEDIA, SourceClock.LIVE])
def test_a_decoder_that_hangs_changes_nothing_in_what_is_recorded(
    kind: SourceClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keyframe_looks, "PATIENCE_S", 0.05)
    released = threading.Event()

    class Hanging:
        def picture(self, coding: Coding, data: bytes) -> Picture:  # noqa: ARG002  (of the port)
            released.wait(DEADLINE_S)
            raise ZeroDivisionError

    def recorded(decoder: KeyframeDecoder | None) -> tuple[int, int]:
        live = kind is SourceClock.LIVE
        packets = now(45) if live else [video(unit) for unit in range(45)]
        bench = Bench(Material(packets, kind), decoder=decoder).start()
        assert bench.end().reason is EndReason.SOURCE_ENDED
        assert bench.notes() == []
        pieces = bench.pieces()
        return sum(len(piece.times.times) for piece in pieces), sum(each.size for each in pieces)

    try:
        assert recorded(Hanging()) == recorded(None) == (45, 450)
    finally:
        released.set()


def test_material_is_cut_at_keyframes_alone() -> None:
    bench = Bench(Material([video(unit) for unit in range(45)])).start()
    assert bench.end().reason is EndReason.SOURCE_ENDED
    segments = [item for item in bench.items if isinstance(item, items.Segment)]
    assert [segment.span.unit_count for segment in segments] == [10, 10, 10, 10, 5]
    assert all(segment.keyframe for segment in segments)
    assert bench.gaps() == []
    assert [piece.times.times[0][0] for piece in bench.pieces()] == [
        0,
        10 * STEP,
        *(unit * STEP for unit in (20, 30, 40)),
    ]


def test_pictures_that_are_all_keyframes_share_a_segment() -> None:
    bench = Bench(Material([video(unit, group=1) for unit in range(20)])).start()
    bench.end()
    counts = [i.span.unit_count for i in bench.items if isinstance(i, items.Segment)]
    assert counts == [5, 5, 5, 5]


def test_a_live_source_waits_for_no_keyframe() -> None:
    at = SystemClock().monotonic_ns()
    packets = [video(unit, group=100, t_ns=at + unit * STEP) for unit in range(25)]
    bench = Bench(Material(packets, SourceClock.LIVE, ends=False)).start()
    bench.wait_for(items.Segment)
    bench.wait_for(items.Segment)
    bench.reader.request(Stop(reason=EndReason.STOPPED))
    bench.end()
    assert [piece.keyframe for piece in bench.pieces()][:2] == [True, False]


def test_times_that_step_back_are_noted_and_shifted() -> None:
    packets = [video(unit) for unit in range(20)]
    packets += [video(20 + unit, dts=3 + unit) for unit in range(10)]
    bench = Bench(Material(packets)).start()
    bench.end()
    (note,) = bench.notes()
    assert note.kind == "recorder.timestamps"
    said = msgspec.json.decode(note.body)
    assert (said["what"], said["before"], said["after"]) == ("backward", 19, 3)
    assert [piece.times.shift for piece in bench.pieces()] == [0, 0, 17]
    assert bench.gaps() == []


def test_a_pause_of_material_reads_again_from_the_last_keyframe_that_was_kept() -> None:
    asked = []

    def reopen(unit: int) -> PacketSource:
        asked.append(unit)
        return Material([video(each) for each in range(unit, 40)])

    first = Material([video(unit) for unit in range(15)], ends=False)
    bench = Bench(first, reopen=reopen).start()
    bench.wait_for(items.Segment)
    bench.reader.request(Pause())
    bench.wait_for(items.Paused)
    assert first.closed
    bench.reader.request(Resume())
    bench.end()
    assert asked == [10]
    assert [t for piece in bench.pieces() for t, _ in piece.times.times] == [
        unit * STEP for unit in range(40)
    ]
    assert [gap.span.unit_count for gap in bench.gaps()] == [0]


def test_held_material_is_read_again_from_where_it_was_kept() -> None:
    asked = []

    def reopen(unit: int) -> PacketSource:
        asked.append(unit)
        return Material([video(each) for each in range(unit, 40)])

    first = Material([video(unit) for unit in range(15)], ends=False)
    bench = Bench(first, reopen=reopen).start()
    bench.wait_for(items.Segment)
    bench.reader.request(Hold(detail="2000 messages wait"))
    bench.wait_for(items.Gap)
    assert first.closed
    bench.reader.request(GoOn())
    assert bench.end().reason is EndReason.SOURCE_ENDED
    assert asked == [10]
    assert sum(len(piece.times.times) for piece in bench.pieces()) == 40
    assert {(gap.reason, gap.span.unit_count) for gap in bench.gaps()} == {
        (GapReason.BACK_PRESSURE, 0)
    }


@pytest.mark.parametrize("reason", [GapReason.BACK_PRESSURE, GapReason.DISK])
def test_a_live_source_that_is_held_misses_what_it_showed_meanwhile(reason: GapReason) -> None:
    def reopen(_unit: int) -> PacketSource:
        return Material(now(10), SourceClock.LIVE, ends=False)

    first = Material(now(7), SourceClock.LIVE, ends=False)
    bench = Bench(first, reopen=reopen).start()
    bench.wait_for(items.Segment)
    bench.reader.request(Hold(detail="2000 messages wait", reason=reason))
    bench.wait_for(items.Gap)
    threading.Event().wait(0.1)
    bench.reader.request(GoOn())
    bench.wait_for(items.Segment)
    bench.reader.request(Stop(reason=EndReason.STOPPED))
    bench.end()
    assert {gap.reason for gap in bench.gaps()} == {reason}
    assert sum(gap.span.unit_count for gap in bench.gaps()) >= 4


def test_a_held_source_can_be_paused_and_stopped() -> None:
    first = Material(now(7), SourceClock.LIVE, ends=False)
    bench = Bench(first).start()
    bench.wait_for(items.Segment)
    bench.reader.request(Hold(detail="2000 messages wait"))
    bench.wait_for(items.Gap)
    bench.reader.request(Pause(by="kim"))
    bench.wait_for(items.Paused)
    bench.reader.request(Stop(reason=EndReason.STOPPED))
    assert bench.end().reason is EndReason.STOPPED
    assert bench.gaps()[-1].reason is GapReason.PAUSE


def test_a_release_of_material_leaves_it_at_a_keyframe() -> None:
    bench = Bench(Material([video(unit) for unit in range(15)], ends=False)).start()
    bench.wait_for(items.Segment)
    bench.reader.request(Release())
    released = bench.wait_for(items.Released)
    assert isinstance(released, items.Released)
    assert released.cursor.unit == 10


def test_units_before_a_keyframe_are_a_gap() -> None:
    source = Material([video(unit) for unit in range(10, 20)], skipped=4)
    bench = Bench(source).start(GapReason.CRASH)
    bench.end()
    assert [(gap.reason, gap.span.unit_count) for gap in bench.gaps()] == [
        (GapReason.CRASH, 0),
        (GapReason.SOURCE_LOST, 4),
    ]


def test_a_live_source_that_is_lost_is_looked_for_and_goes_on_with_a_keyframe() -> None:
    tries = []

    def reopen(unit: int) -> PacketSource:
        tries.append(unit)
        if len(tries) == 1:
            raise SourceError("not yet")
        return Material(now(10), SourceClock.LIVE, ends=False)

    first = Material(now(7), SourceClock.LIVE, then=SourceLostError("it broke"))
    bench = Bench(first, reopen=reopen, retry_s=5).start()
    bench.wait_for(items.Gap)
    bench.wait_for(items.Segment)
    bench.reader.request(Stop(reason=EndReason.STOPPED))
    bench.end()
    (gap,) = bench.gaps()
    assert (gap.reason, gap.detail) == (GapReason.SOURCE_LOST, "it broke")
    assert gap.span.unit_count > 10
    assert first.closed


def test_one_that_stays_away_ends_the_session_with_the_last_reason() -> None:
    bench = Bench(Material(now(3), SourceClock.LIVE, then=SourceLostError("it broke"))).start()
    ended = bench.end()
    assert (ended.reason, ended.detail) == (EndReason.SOURCE_LOST, "it does not come back")


def test_one_that_is_forbidden_meanwhile_ends_it_at_once() -> None:
    def forbidden(_unit: int) -> PacketSource:
        raise SourceForbiddenError("source.uri", "not any more")

    first = Material(now(3), SourceClock.LIVE, then=SourceLostError("it broke"))
    ended = Bench(first, reopen=forbidden, retry_s=60).start().end()
    assert ended.reason is EndReason.POLICY


def test_a_stop_is_heard_while_an_opening_hangs_and_what_it_opens_is_closed() -> None:
    hanging, late = threading.Event(), Material([], SourceClock.LIVE)

    def reopen(_unit: int) -> PacketSource:
        hanging.wait(DEADLINE_S)
        return late

    first = Material(now(3), SourceClock.LIVE, then=SourceLostError("it broke"))
    bench = Bench(first, reopen=reopen, retry_s=60).start()
    bench.wait_for(items.Segment)
    bench.reader.request(Stop(reason=EndReason.STOPPED))
    assert bench.end().reason is EndReason.STOPPED
    hanging.set()
    for _ in range(1500):
        if late.closed:
            break
        threading.Event().wait(0.02)
    assert late.closed


def test_material_that_breaks_off_ends_there() -> None:
    packets = [video(unit) for unit in range(12)]
    bench = Bench(Material(packets, then=SourceLostError("the container is damaged"))).start()
    ended = bench.end()
    assert (ended.reason, ended.detail) == (EndReason.SOURCE_LOST, "the container is damaged")
    assert ended.cursor.unit == 12


@pytest.mark.parametrize(
    "bad",
    [msgspec.structs.replace(video(5), data=b"bad"), video(5, dts=-(1 << 70))],
    ids=["refused by FFmpeg", "of times that no piece can say"],
)
def test_packets_that_mp4_cannot_hold_are_a_gap(bad: Packet) -> None:
    packets = [video(unit) for unit in range(5)] + [bad] + [video(unit) for unit in range(6, 15)]
    bench = Bench(Material(packets)).start()
    ended = bench.end()
    assert ended.reason is EndReason.SOURCE_LOST
    (gap,) = bench.gaps()
    assert gap.reason is GapReason.SOURCE_LOST
    assert 0 < gap.span.unit_count <= 10


def missing(count: int, t_ns: int) -> UnitsMissingError:
    return UnitsMissingError(count, t_ns, GapReason.SOURCE_LOST, f"{count} did not come")


def test_what_a_source_says_is_missing_is_a_gap_between_segments_and_begins_a_stretch() -> None:
    at = now(20)
    later = [video(unit, dts=unit + 500, t_ns=at[0].t_ns + unit) for unit in range(20, 25)]
    bench = Bench(
        Published(*at[:4], missing(6, at[10].t_ns), *at[10:20], missing(0, later[0].t_ns), *later)
    ).start()
    for _ in range(2):
        bench.wait_for(items.Gap)
    bench.wait_for(items.Segment)
    bench.reader.request(Stop(reason=EndReason.STOPPED))
    bench.end()
    assert [(gap.reason, gap.span.unit_count, gap.detail) for gap in bench.gaps()] == [
        (GapReason.SOURCE_LOST, 6, "6 did not come"),
        (GapReason.SOURCE_LOST, 0, "0 did not come"),
    ]
    assert bench.gaps()[1].span.t0_ns == bench.gaps()[1].span.t1_ns
    assert bench.runs() == [(0, 4), (10, 15)]
    assert {piece.times.first_unit for piece in bench.pieces()} >= {0, 10, 20}
    assert bench.notes() == [], "times that go on behind a gap have not jumped"


def test_what_had_come_before_a_stop_is_recorded_before_it() -> None:
    at = now(40)
    source = Published(*at[:5])
    bench = Bench(source).start()
    bench.wait_for(items.Segment)
    source.found += [*at[10:20], missing(3, at[30].t_ns), *at[30:35]]
    bench.reader.request(Stop(reason=EndReason.STOPPED))
    assert bench.end().reason is EndReason.STOPPED
    assert sum(len(piece.times.times) for piece in bench.pieces()) == 20
    assert [gap.span.unit_count for gap in bench.gaps()] == [3]
    assert source.closed


def test_a_source_that_can_be_held_is_not_closed_in_a_pause_and_told_what_was_missed() -> None:
    at = now(40)
    source = Published(*at[:5])
    bench = Bench(source).start()
    bench.wait_for(items.Segment)
    bench.reader.request(Pause())
    bench.wait_for(items.Paused)
    assert (source.held, source.closed) == (True, False)
    bench.reader.request(Resume())
    bench.wait_for(items.Resumed)
    source.found += now(10)
    bench.wait_for(items.Segment)
    bench.reader.request(Hold(detail="2000 messages wait"))
    bench.wait_for(items.Gap)
    assert (source.held, source.closed) == (True, False)
    bench.reader.request(GoOn())
    bench.wait_for(items.Gap)
    source.found += now(10)
    bench.wait_for(items.Segment)
    bench.reader.request(Stop(reason=EndReason.STOPPED))
    bench.end()
    assert source.went_on == [GapReason.PAUSE, GapReason.BACK_PRESSURE]
    reasons = [gap.reason for gap in bench.gaps()]
    assert reasons == [GapReason.PAUSE, GapReason.BACK_PRESSURE, GapReason.BACK_PRESSURE]


def test_a_packet_of_before_what_is_durable_counts_from_there() -> None:
    """Its publisher says when it was made, and it was on its way while a segment was closed."""
    at = now(30)
    source = Published(*at[:5])
    bench = Bench(source).start()
    while bench.runs() != [(0, 5)]:
        segment = bench.wait_for(items.Segment)
    assert isinstance(segment, items.Segment)
    before = len(bench.pieces())
    source.found += at[5:10]  # of the same time, long ago
    while bench.runs() != [(0, 10)]:
        bench.wait_for(items.Segment)
    bench.reader.request(Stop(reason=EndReason.STOPPED))
    bench.end()
    late = [t_ns for piece in bench.pieces()[before:] for t_ns, _ in piece.times.times]
    assert late == [segment.span.t1_ns + nth for nth in range(5)]


class Late(Material):
    """Gives its second unit only when its reader has closed what it had, as if it were on its way.

    A link holds a packet back until the next one shows that it is whole.
    """

    def __init__(self, packets: Sequence[Packet], closed: threading.Event) -> None:
        super().__init__(packets, SourceClock.LIVE, ends=False)
        self._first = True
        self._closed_once = closed

    def read(self, wait_s: float) -> tuple[Packet, ...] | None:
        if self._first:
            self._first = False
            return (self._packets.pop(0),)
        if not self._closed_once.is_set():
            threading.Event().wait(min(wait_s, 0.02))
            return ()
        return super().read(wait_s)


def test_a_unit_that_came_before_the_close_and_was_read_behind_it_is_not_before_its_segment() -> (
    None
):
    at, closed = SystemClock().monotonic_ns(), threading.Event()
    packets = [video(unit, group=1, t_ns=at + unit) for unit in range(3)]
    bench = Bench(Late(packets, closed)).start()
    bench.wait_for(items.Segment)
    closed.set()
    bench.wait_for(items.Segment)
    bench.reader.request(Stop(reason=EndReason.STOPPED))
    bench.end()
    segments = [item for item in bench.items if isinstance(item, items.Segment)]
    for segment, piece in zip(segments, bench.pieces(), strict=True):
        times = [t_ns for t_ns, _ in piece.times.times]
        assert segment.span.t0_ns <= times[0] <= times[-1] < segment.span.t1_ns
    assert sum(segment.span.unit_count for segment in segments) == 3


def test_what_had_come_before_a_stop_is_recorded() -> None:
    bench = Bench(Material(now(30), SourceClock.LIVE, ends=False))
    bench.reader.request(Stop(reason=EndReason.STOPPED))  # it is heard before anything is read
    bench.start()
    bench.end()
    assert sum(len(piece.times.times) for piece in bench.pieces()) == 30
    assert bench.gaps() == []


def test_a_stop_leaves_no_time_out_in_which_a_server_was_away() -> None:
    tried = threading.Event()

    def reopen(_unit: int) -> PacketSource:
        tried.set()
        raise SourceError("it does not come back")

    first = Material(now(7), SourceClock.LIVE, then=SourceLostError("it hung up"))
    bench = Bench(first, reopen=reopen, retry_s=60).start()
    assert tried.wait(DEADLINE_S)
    threading.Event().wait(0.3)  # to be away is what is tested
    bench.reader.request(Stop(reason=EndReason.STOPPED))
    ended = bench.end()
    gap = bench.gaps()[-1]
    assert (gap.reason, gap.detail) == (GapReason.SOURCE_LOST, "it hung up")
    assert gap.span.duration_ns >= 0.2 * SECOND
    assert gap.span.t1_ns == ended.cursor.t_ns
    assert ended.reason is EndReason.STOPPED


def test_no_number_of_pauses_while_a_server_is_away_ends_its_session(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(packet_reader, "LOOK_S", 0.001)
    first = Material(now(7), SourceClock.LIVE, then=SourceLostError("it hung up"))
    bench = Bench(first, retry_s=60).start()
    bench.wait_for(items.Segment)
    for _ in range(400):
        bench.reader.request(Pause())
        bench.reader.request(Resume())
    bench.reader.request(Stop(reason=EndReason.STOPPED))
    assert bench.end().reason is EndReason.STOPPED


def test_a_server_that_is_found_only_to_be_lost_again_is_no_flood_of_gaps() -> None:
    opened: list[int] = []
    enough = threading.Event()

    def reopen(_unit: int) -> PacketSource:
        opened.append(SystemClock().monotonic_ns())
        if len(opened) == 3:
            enough.set()
        return Material(now(1), SourceClock.LIVE, then=SourceLostError("it hung up"))

    first = Material(now(1), SourceClock.LIVE, then=SourceLostError("it hung up"))
    bench = Bench(first, reopen=reopen, retry_s=60)
    bench.start()
    assert enough.wait(DEADLINE_S)
    bench.reader.request(Stop(reason=EndReason.STOPPED))
    bench.end()
    assert (opened[1] - opened[0]) // 1_000_000 >= 500
    assert (opened[2] - opened[1]) // 1_000_000 >= 1000
