"""Who is slowed down when the machine is overloaded, and by how much: by a clock of numbers."""

from __future__ import annotations

import pytest

from recorder_worker.core.load.back_pressure import (
    MOST_STEPS,
    BackPressure,
    BackPressureLimits,
    Lag,
)
from recorder_worker.core.load.hysteresis import Marks
from recorder_worker.core.load.rate_ladder import LadderLimits, RateLadder, lowered

SECOND = 1_000_000_000
WINDOW = 5 * SECOND
LIMITS = LadderLimits(
    window_ns=WINDOW, late_high=0.2, late_low=0.02, calm_windows=3, lowest_fps=1.0
)


class Machine:
    """Sessions that are read, window by window."""

    def __init__(self, **priorities: int) -> None:
        self.ladder = RateLadder(LIMITS)
        self.now_ns = 0
        self.reads = dict.fromkeys(priorities, 0)
        self.late = dict.fromkeys(priorities, 0)
        for name, priority in priorities.items():
            self.ladder.join(name, priority=priority, fps=10)
        self.ladder.look(self.now_ns)

    def window(self, late: int, windows: int = 1) -> dict[str, int]:
        """So many of 100 reads of each session come late; the steps behind it."""
        for _ in range(windows):
            for name in self.reads:
                self.reads[name] += 100
                self.late[name] += late
                self.ladder.seen(name, reads=self.reads[name], late=self.late[name])
            self.now_ns += WINDOW
            self.ladder.look(self.now_ns)
        return {name: self.ladder.step(name) for name in self.reads}


def test_the_lowest_priority_goes_down_first_and_the_next_when_it_can_go_no_lower() -> None:
    machine = Machine(low=1, high=8, also_low=1)
    assert machine.window(19) == {"low": 0, "high": 0, "also_low": 0}
    assert machine.window(20) == {"low": 1, "high": 0, "also_low": 1}
    assert machine.window(90, 3) == {"low": 4, "high": 0, "also_low": 4}, "10, 5, 2.5, 1.25, 1"
    assert machine.window(90) == {"low": 4, "high": 1, "also_low": 4}
    assert machine.window(90, 99) == {"low": 4, "high": 4, "also_low": 4}, "there is a lowest"


def test_the_highest_priority_gets_back_first_and_only_after_calm_windows_in_a_row() -> None:
    machine = Machine(low=1, high=8)
    assert machine.window(90, 5) == {"low": 4, "high": 1}
    assert machine.window(0, 2) == {"low": 4, "high": 1}
    assert machine.window(10) == {"low": 4, "high": 1}, "neither late nor calm: begin to count anew"
    assert machine.window(1, 2) == {"low": 4, "high": 1}
    assert machine.window(1) == {"low": 4, "high": 0}
    assert machine.window(0, 3) == {"low": 3, "high": 0}
    assert machine.window(0, 99) == {"low": 0, "high": 0}


def test_within_a_window_nothing_changes_and_who_left_is_not_counted() -> None:
    machine = Machine(one=5, other=5)
    machine.ladder.seen("one", reads=10, late=10)
    machine.ladder.look(WINDOW - 1)
    assert machine.ladder.step("one") == 0
    machine.ladder.look(WINDOW)
    assert machine.ladder.step("one") == 1
    machine.ladder.leave("one")
    machine.ladder.leave("one")
    machine.ladder.seen("one", reads=1000, late=1000)
    machine.ladder.look(2 * WINDOW)
    assert machine.ladder.step("one") == 0
    assert machine.ladder.step("other") == 1, "no read, no lateness"


@pytest.mark.parametrize(
    ("fps", "step", "expected"),
    [(10, 0, 10), (10, 1, 5), (10, 3, 1.25), (10, 4, 1), (10, 2000, 1), (0.5, 3, 0.5)],
)
def test_a_step_halves_the_rate_down_to_the_lowest(fps: float, step: int, expected: float) -> None:
    assert lowered(fps, step, 1.0) == expected


# --- back-pressure -------------------------------------------------------------------------------


def pressure() -> BackPressure:
    return BackPressure(
        BackPressureLimits(
            messages=Marks(high=100, low=20), spool_bytes=Marks(high=1000, low=500), step_ns=SECOND
        )
    )


def test_behind_begins_at_either_high_mark_and_ends_below_both_low_ones() -> None:
    found = pressure()
    steps = [
        (99, 999, False),
        (100, 0, True),
        (20, 0, True),
        (20, 1000, True),
        (19, 500, True),
        (99, 499, False),
        (0, 1000, True),
        (0, 499, False),
    ]
    before = False
    for now, (messages, size, behind) in enumerate(steps):
        changed = found.measured(Lag(messages=messages, spool_bytes=size), now)
        assert (found.behind, changed) == (behind, behind is not before)
        before = behind
    assert "0 messages wait" in found.detail
    assert "499 bytes" in found.detail


def test_who_stays_behind_goes_down_step_by_step() -> None:
    found = pressure()
    assert found.step(0) == 0
    found.measured(Lag(messages=100, spool_bytes=0), 5 * SECOND)
    assert [found.step((5 + s) * SECOND) for s in (0, 1, 2)] == [1, 2, 3]
    found.measured(Lag(messages=500, spool_bytes=0), 7 * SECOND)
    assert found.step(7 * SECOND) == 3, "it counts since it began"
    assert found.step(10**9 * SECOND) == MOST_STEPS
    found.measured(Lag(messages=0, spool_bytes=0), 8 * SECOND)
    assert found.step(9 * SECOND) == 0
