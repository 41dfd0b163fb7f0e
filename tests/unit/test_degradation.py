"""What a session gives up under load: asked of its reader once for each change, and told aloud."""

from __future__ import annotations

from typing import Any, cast

import pytest
from hand_clock import HandClock
from structlog.testing import capture_logs

from recorder_worker.core.commands import StartSession
from recorder_worker.core.load.back_pressure import BackPressureLimits, Lag
from recorder_worker.core.load.disk_ladder import DiskLimits
from recorder_worker.core.load.disk_ladder import Room as DiskRoom
from recorder_worker.core.load.hysteresis import Marks
from recorder_worker.core.load.rate_ladder import LadderLimits
from recorder_worker.core.model import EndReason, GapReason, Slowed, SourceClock, SourceFacts
from recorder_worker.core.notes import RateChanged, note_text
from recorder_worker.core.sources.kinds import NatsSource, PatternSource, Source
from recorder_worker.service.observing.metrics import Metrics
from recorder_worker.stages.capture.governor import Governor, LoadLimits
from recorder_worker.stages.capture.reading.reader import Reader
from recorder_worker.stages.capture.reading.requests import GoOn, Hold, Request, SetRate, Stop
from recorder_worker.stages.capture.session.degradation import Degradation

SECOND = 1_000_000_000
LIMITS = LoadLimits(
    ladder=LadderLimits(
        window_ns=SECOND, late_high=0.2, late_low=0.02, calm_windows=1, lowest_fps=1.0
    ),
    pressure=BackPressureLimits(
        messages=Marks(high=100, low=20), spool_bytes=Marks(high=1000, low=500), step_ns=SECOND
    ),
    disk=DiskLimits(
        floor_bytes=100, pause_bytes=200, refuse_bytes=300, warn_bytes=400, back_bytes=50
    ),
)
BEHIND, CAUGHT_UP = Lag(messages=100, spool_bytes=0), Lag(messages=0, spool_bytes=0)


class AskedReader:
    """Keeps what it is asked for."""

    def __init__(self) -> None:
        self.asked: list[Request] = []
        self.ticks = (0, 0)

    def request(self, request: Request) -> None:
        self.asked.append(request)


class Room:
    """A worker with sessions under one governor."""

    def __init__(self) -> None:
        self.clock = HandClock()
        self.metrics = Metrics(version="", node="")
        self.governor = Governor(LIMITS, self.clock, self.metrics)

    def session(
        self,
        name: str,
        kind: SourceClock = SourceClock.LIVE,
        source: Source | None = None,
        slowed: Slowed | None = None,
        **wishes: Any,  # noqa: ANN401  (fields of session.start)
    ) -> tuple[Degradation, AskedReader]:
        reader = AskedReader()
        command = StartSession(source=source or PatternSource(), **wishes)
        facts = SourceFacts(
            kind="x11", uri=":1", description="", width=8, height=8, clock=kind, frame_rate=0
        )
        degradation = Degradation(
            session_id=name,
            command=command,
            facts=facts,
            fps=10,
            governor=self.governor,
            reader=cast("Reader", reader),
            clock=self.clock,
            metrics=self.metrics,
            slowed=slowed,
        )
        degradation.look(armed=False)
        assert reader.asked == []
        return degradation, reader

    def changes(self, reason: str, direction: str) -> float | None:
        labels = {"reason": reason, "direction": direction}
        return self.metrics.registry.get_sample_value("recorder_rate_changes_total", labels)


def test_the_lowest_priority_is_slowed_down_first_and_both_are_told() -> None:
    room = Room()
    low, low_reader = room.session("low", priority=1)
    high, high_reader = room.session("high", priority=9)
    with capture_logs() as logs:
        for _ in range(4):
            room.clock.now_ns += SECOND
            for session, reader in ((low, low_reader), (high, high_reader)):
                reads, late = reader.ticks
                reader.ticks = (reads + 10, late + 5)
                session.look(armed=False)
        assert [cast("SetRate", one).fps for one in low_reader.asked] == [5, 2.5, 1.25, 1]
        assert high_reader.asked == []
        room.clock.now_ns += SECOND
        high_reader.ticks = (high_reader.ticks[0] + 1000, high_reader.ticks[1])
        high.look(armed=False)
        low.look(armed=False)
    assert cast("SetRate", low_reader.asked[-1]).fps == 1.25
    assert {line["event"] for line in logs} == {"FrameRateChanged"}
    assert [line["log_level"] for line in logs] == ["warning"] * 4 + ["info"]
    assert (room.changes("overload", "down"), room.changes("overload", "up")) == (4, 1)


def test_what_arrives_at_a_pace_of_its_own_is_held_where_others_are_slowed_down() -> None:
    room = Room()
    source = NatsSource(uri="source.lab.frames")
    session, reader = room.session("one", source=source, when_behind="slow")
    room.governor.measured(BEHIND)
    session.look(armed=False)
    room.governor.measured(CAUGHT_UP)
    session.look(armed=False)
    assert [type(one) for one in reader.asked] == [Hold, GoOn]


def test_a_live_session_goes_slow_while_it_is_behind_and_back_to_its_own_rate() -> None:
    room = Room()
    session, reader = room.session("one", when_behind="slow")
    room.governor.measured(BEHIND)
    session.look(armed=False)
    session.look(armed=False)
    room.clock.now_ns += SECOND
    session.look(armed=False)
    room.governor.measured(CAUGHT_UP)
    session.look(armed=False)
    asked = [cast("SetRate", one) for one in reader.asked]
    assert [(one.fps, one.reason) for one in asked] == [
        (5, "behind"),
        (2.5, "behind"),
        (10, "behind"),
    ]
    assert "100 messages wait" in asked[0].detail


@pytest.mark.parametrize(
    ("kind", "policy"),
    [(SourceClock.LIVE, "gap"), (SourceClock.MEDIA, "gap"), (SourceClock.MEDIA, "slow")],
)
def test_what_is_held_is_held_once_and_let_go_once(kind: SourceClock, policy: str) -> None:
    room = Room()
    session, reader = room.session("one", kind, when_behind=policy)
    for lag in (BEHIND, Lag(messages=20, spool_bytes=0), CAUGHT_UP, CAUGHT_UP):
        room.governor.measured(lag)
        session.look(armed=False)
    assert [type(one) for one in reader.asked] == [Hold, GoOn]


def test_a_session_that_shall_stop_is_stopped_once_by_policy() -> None:
    room = Room()
    session, reader = room.session("one", when_behind="stop")
    room.governor.measured(BEHIND)
    session.look(armed=False)
    session.look(armed=False)
    [stop] = reader.asked
    assert isinstance(stop, Stop)
    assert stop.reason is EndReason.POLICY


@pytest.mark.parametrize("policy", ["slow", "gap", "stop"])
def test_a_session_that_is_armed_keeps_nobody_waiting_until_its_trigger(policy: str) -> None:
    room = Room()
    session, reader = room.session("one", when_behind=policy)
    room.governor.measured(BEHIND)
    session.look(armed=True)
    assert reader.asked == []
    session.look(armed=False)
    assert len(reader.asked) == 1


def test_that_capture_is_behind_is_told_once() -> None:
    room = Room()
    name = "recorder_capture_behind_state"
    with capture_logs() as logs:
        for lag in (CAUGHT_UP, BEHIND, BEHIND):
            room.governor.measured(lag)
        assert room.metrics.registry.get_sample_value(name) == 1
        room.governor.measured(CAUGHT_UP)
    assert [line["event"] for line in logs] == ["CaptureBehind", "CaptureCaughtUp"]
    assert room.metrics.registry.get_sample_value(name) == 0


def free(room: Room, count: int) -> None:
    disk = DiskRoom(name="/data", free_bytes=count, total_bytes=10_000)
    room.governor.disk.measured((disk,), room.clock.now_ns)


@pytest.mark.parametrize("kind", [SourceClock.LIVE, SourceClock.MEDIA])
def test_without_room_the_lowest_priority_is_held_first_and_goes_on_when_there_is(
    kind: SourceClock,
) -> None:
    room = Room()
    low, low_reader = room.session("low", kind, priority=1)
    high, high_reader = room.session("high", kind, priority=9)
    for count in (399, 299, 199, 249, 149, 199, 249, 250):
        free(room, count)
        low.look(armed=False)
        high.look(armed=False)
        if count == 199 and not high_reader.asked:
            assert [type(one) for one in low_reader.asked] == [Hold]
    for reader in (low_reader, high_reader):
        hold, go_on = reader.asked
        assert isinstance(hold, Hold)
        assert isinstance(go_on, GoOn)
        assert hold.reason is GapReason.DISK
        assert "bytes free on /data" in hold.detail
    assert "149" in cast("Hold", high_reader.asked[0]).detail


def test_at_the_floor_every_session_ends_once_whatever_it_does() -> None:
    room = Room()
    held, held_reader = room.session("held", priority=1)
    armed, armed_reader = room.session("armed", priority=9)
    free(room, 199)
    held.look(armed=False)
    free(room, 99)
    for _ in range(2):
        held.look(armed=False)
        armed.look(armed=True)
    stop = cast("Stop", armed_reader.asked[0])
    assert (stop.reason, len(armed_reader.asked)) == (EndReason.DISK_FULL, 1)
    assert "99 bytes free on /data: all sessions end" in stop.detail
    assert [type(one) for one in held_reader.asked] == [Hold, Stop]


def test_each_reason_to_be_held_has_a_gap_of_its_own() -> None:
    room = Room()
    session, reader = room.session("one", when_behind="gap")
    room.governor.measured(BEHIND)
    session.look(armed=False)
    free(room, 199)
    session.look(armed=False)
    room.governor.measured(CAUGHT_UP)
    session.look(armed=False)
    free(room, 500)
    session.look(armed=False)
    assert [type(one) for one in reader.asked] == [Hold, GoOn, Hold, GoOn]
    assert [one.reason for one in reader.asked if isinstance(one, Hold)] == [
        GapReason.BACK_PRESSURE,
        GapReason.DISK,
    ]


def test_a_session_that_has_left_counts_no_more() -> None:
    room = Room()
    low, _ = room.session("low", priority=1)
    high, high_reader = room.session("high", priority=9)
    free(room, 199)
    high.look(armed=False)
    assert high_reader.asked == []
    low.leave()
    high.look(armed=False)
    assert [type(one) for one in high_reader.asked] == [Hold]


def test_a_lower_rate_is_kept_at_a_takeover_until_this_worker_has_been_calm() -> None:
    room = Room()
    session, reader = room.session("a", slowed=Slowed(fps=2.5, reason="behind"))
    room.clock.now_ns += SECOND
    reader.ticks = (100, 0)
    session.look(armed=False)
    assert reader.asked == [SetRate(fps=5, reason="overload", detail="0% of reads came late")]
    room.clock.now_ns += SECOND
    session.look(armed=False)
    assert [cast("SetRate", one).fps for one in reader.asked] == [5, 10]


def test_a_lower_rate_is_kept_while_this_worker_is_overloaded_too() -> None:
    room = Room()
    session, reader = room.session("a", slowed=Slowed(fps=2.5, reason="behind"))
    room.clock.now_ns += SECOND
    reader.ticks = (100, 10)  # between the marks: neither up nor down
    session.look(armed=False)
    assert reader.asked == []
    room.clock.now_ns += SECOND
    reader.ticks = (200, 100)
    session.look(armed=False)
    assert [cast("SetRate", one).fps for one in reader.asked] == [1.25]


def test_a_note_of_a_rate_says_what_is_in_force() -> None:
    session, _ = Room().session("a")
    note = RateChanged(from_fps=10, to_fps=2.5, reason="overload", detail="")
    assert session.slowed_by(note_text(note)) == Slowed(fps=2.5, reason="overload")
    back = RateChanged(from_fps=2.5, to_fps=10, reason="overload", detail="")
    assert session.slowed_by(note_text(back)) is None
