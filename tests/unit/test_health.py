from __future__ import annotations

from recorder_worker.adapters.system_clock import SystemClock
from recorder_worker.core.model import ClockState
from recorder_worker.service.observing.health import (
    Check,
    Health,
    StageProgress,
    bus_check,
)


class Hands:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def monotonic_ns(self) -> int:
        return int(self.now_s * 1e9)

    def wall_ns(self) -> int:
        return self.monotonic_ns()

    def state(self) -> ClockState:
        return ClockState.UNKNOWN


def test_ready_is_all_checks_together() -> None:
    health = Health()
    assert health.ready()[0]
    health.add("a", lambda: Check("a", ok=True, detail=""))
    assert health.ready()[0]
    health.add("b", lambda: Check("b", ok=False, detail="no"))
    ok, found = health.ready()
    assert not ok
    assert [check.name for check in found if not check.ok] == ["b"]
    health.remove("b")
    health.remove("b")
    assert health.ready()[0]


def test_what_is_not_needed_is_named_and_costs_no_readiness() -> None:
    health = Health()
    health.add("storage", lambda: Check("storage", ok=False, detail="away", needed=False))
    ok, found = health.ready()
    assert ok
    assert [check.name for check in found if not check.ok] == ["storage"]
    health.add("bus", lambda: Check("bus", ok=False, detail="away"))
    assert not health.ready()[0]


def test_a_check_that_raises_has_failed_and_the_others_are_still_made() -> None:
    health = Health()
    health.add("broken", lambda: Check("broken", ok=bool(1 // 0), detail=""))
    health.add("fine", lambda: Check("fine", ok=True, detail=""))
    broken, fine = health.checks()
    assert not broken.ok
    assert "ZeroDivisionError" in broken.detail
    assert fine.ok


def test_only_a_fatal_failure_ends_liveness_and_the_first_reason_stays() -> None:
    health = Health()
    health.add("a", lambda: Check("a", ok=False, detail=""))
    assert health.live().ok
    health.fail("the record contradicts what was signed")
    health.fail("something later")
    assert health.live() == Check(
        "alive", ok=False, detail="the record contradicts what was signed"
    )
    assert not health.ready()[0]


def test_the_bus_check_says_where_it_looked() -> None:
    connected = True
    check = bus_check(lambda: connected, "nats://h:1")
    assert check().ok
    connected = False
    assert not check().ok
    assert "nats://h:1" in check().detail


def test_a_stage_is_stalled_only_while_messages_wait_and_none_is_handled() -> None:
    hands = Hands()
    progress = StageProgress("chunk", hands, stall_s=30)
    hands.now_s += 1000
    assert progress.check().ok, "idle is well"
    progress.waiting(3)
    assert progress.check().ok, "idle time before the first message does not count"
    hands.now_s += 31
    progress.waiting(3)
    assert not progress.check().ok
    assert "3 messages wait and none was handled for 31 s" in progress.check().detail
    progress.handled()
    assert progress.check().ok
    hands.now_s += 31
    assert not progress.check().ok
    progress.waiting(0)
    assert progress.check().ok


def test_the_system_clock_never_steps_back() -> None:
    clock = SystemClock()
    readings = [clock.monotonic_ns() for _ in range(1000)]
    assert readings == sorted(readings)
    assert clock.wall_ns() > 1_600_000_000_000_000_000
