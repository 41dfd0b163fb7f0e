"""Beats and epochs come by the lease holder's clock, as captured events."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from captured_events import LogBuilder
from hand_clock import HandClock

from recorder_worker.core.errors import LeaseLostError
from recorder_worker.core.events import BeatCaptured, Captured, EpochCaptured
from recorder_worker.core.model import ClockState, RecordingPolicy
from recorder_worker.stages.capture.session.journal import CapturedJournal
from recorder_worker.stages.capture.session.pulse import Pulse

SECOND = 1_000_000_000
POLICY = RecordingPolicy(
    chunk_duration_ns=SECOND,
    chunk_max_stored_size=1,
    chunk_max_plain_size=1,
    zstd_level=1,
    zstd_window_log=10,
    checkpoint_interval_ns=4 * SECOND,
    epoch_length_ns=10 * SECOND,
)


class ListLog:
    """An event log that keeps what is appended; `taken` is when another worker has the lease."""

    def __init__(self) -> None:
        self.events: list[Captured] = []
        self.taken = False

    async def append(self, _fact: Any, _session_id: str, event: Captured, **_: Any) -> int:  # noqa: ANN401  (as the port)
        if self.taken:
            raise LeaseLostError("another worker has it")
        self.events.append(event)
        return len(self.events)


def pulse(*, takeover: bool = False) -> tuple[Pulse, HandClock, ListLog]:
    log = ListLog()
    clock = HandClock(1000 * SECOND, wall_ahead_ns=7 * SECOND, state=ClockState.SYNCHRONISED)
    (opened, *_) = LogBuilder().end()
    journal = CapturedJournal(log, clock, opened.session_id, "lease", "boot", None)  # type: ignore[arg-type]
    return Pulse(journal, clock, POLICY, takeover=takeover), clock, log


async def seconds(pulse_: Pulse, clock: HandClock, count: int) -> None:
    for _ in range(count):
        clock.now_ns += SECOND
        await pulse_.give()


async def test_an_idle_session_beats_within_the_promised_interval_and_turns_its_epochs() -> None:
    given, clock, log = pulse()
    await seconds(given, clock, 31)
    times = [event.wall_ns for event in log.events]
    steps = [after - before for before, after in itertools.pairwise(times)]
    assert max(steps) <= POLICY.checkpoint_interval_ns
    epochs = [event for event in log.events if isinstance(event, EpochCaptured)]
    assert [event.epoch for event in epochs] == [1, 2, 3]
    beats = [event for event in log.events if isinstance(event, BeatCaptured)]
    assert {beat.epoch for beat in beats} == {0, 1, 2}
    assert {event.clock for event in log.events} == {ClockState.SYNCHRONISED}
    assert [event.ordinal for event in log.events] == list(range(len(log.events)))


async def test_nothing_is_given_before_it_is_due() -> None:
    given, clock, log = pulse()
    assert given.wait_s() == pytest.approx(3)
    await given.give()
    clock.now_ns += 2 * SECOND
    await given.give()
    assert log.events == []
    assert given.wait_s() == pytest.approx(1)
    clock.now_ns += 5 * SECOND
    assert given.wait_s() == 0


async def test_another_worker_begins_with_other_keys() -> None:
    given, _, log = pulse(takeover=True)
    await given.give()
    assert [(type(event), event.epoch) for event in log.events] == [(EpochCaptured, 1)]
    await given.give()
    assert len(log.events) == 1


async def test_a_lost_lease_is_said() -> None:
    given, clock, log = pulse()
    log.taken = True
    clock.now_ns += 60 * SECOND
    with pytest.raises(LeaseLostError):
        await given.give()
