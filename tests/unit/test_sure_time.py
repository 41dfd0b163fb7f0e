"""How far a wall clock is believed: it goes evenly, it does not leap, and what keeps it."""

from __future__ import annotations

import pytest
from memory_store import MemoryStore
from two_clocks import BEGIN_NS, TwoClocks

from recorder_worker.core import keys
from recorder_worker.core.errors import StoreFullError
from recorder_worker.core.model import ClockState
from recorder_worker.stages.sure_time import (
    JUMP_NS,
    LEAP_NS,
    NOTED_AGAIN_NS,
    SECOND_NS,
    STEADY_S,
    UNKEPT_TIMES,
    TimeWitness,
)

DAY_S = 86_400
YEAR_S = 365 * DAY_S
ALL_S = 100 * YEAR_S


@pytest.mark.parametrize("state", [ClockState.UNKNOWN, ClockState.SYNCHRONISED])
def test_a_clock_is_believed_once_it_has_gone_evenly_for_a_while(state: ClockState) -> None:
    clock = TwoClocks(state)
    witness = TimeWitness(clock, MemoryStore())
    assert not witness.look().is_sure(ALL_S)
    clock.pass_s(STEADY_S - 1)
    assert not witness.look().is_sure(ALL_S)
    clock.pass_s(1)
    assert witness.look().is_sure(ALL_S)
    assert witness.look().doubt == ""


def test_what_is_kept_for_a_moment_waits_no_longer_than_that() -> None:
    clock = TwoClocks()
    witness = TimeWitness(clock, MemoryStore())
    witness.look()
    clock.pass_s(2)
    time = witness.look()
    assert (time.is_sure(2), time.is_sure(3)) == (True, False)


@pytest.mark.parametrize("by_s", [YEAR_S, -YEAR_S, 61, -61])
def test_a_jump_has_it_wait_anew_and_is_said(by_s: int) -> None:
    clock = TwoClocks(ClockState.SYNCHRONISED)
    witness = TimeWitness(clock, MemoryStore())
    witness.look()
    clock.pass_s(STEADY_S)
    assert witness.look().is_sure(ALL_S)
    clock.set_ns += by_s * SECOND_NS
    found = witness.look()
    assert (found.is_sure(ALL_S), f"jumped by {by_s} s" in found.doubt) == (False, True)
    clock.pass_s(STEADY_S)
    found = witness.look()
    assert (found.is_sure(ALL_S), found.doubt) == (True, "")


def test_a_clock_that_is_slewed_goes_evenly() -> None:
    clock = TwoClocks()
    witness = TimeWitness(clock, MemoryStore())
    witness.look()
    for _ in range(10):
        clock.set_ns += JUMP_NS
        clock.pass_s(STEADY_S / 10)
        found = witness.look()
    assert found.is_sure(ALL_S)


def test_a_clock_that_nothing_keeps_is_believed_after_a_day_and_it_is_said() -> None:
    clock = TwoClocks(ClockState.UNSYNCHRONISED)
    witness = TimeWitness(clock, MemoryStore())
    witness.look()
    clock.pass_s(UNKEPT_TIMES * STEADY_S - 1)
    found = witness.look()
    assert (found.is_sure(ALL_S), "nothing keeps the clock" in found.doubt) == (False, True)
    clock.pass_s(1)
    assert witness.look().is_sure(ALL_S)
    assert UNKEPT_TIMES * STEADY_S == DAY_S


def believed(store: MemoryStore, clock: TwoClocks, newest_ns: int = 0) -> str:
    """By a new process, a day on; else why not."""
    witness = TimeWitness(clock, store)
    witness.look(newest_ns)
    clock.pass_s(DAY_S)
    found = witness.look(newest_ns)
    assert found.is_sure(ALL_S) is not found.leaps
    return found.doubt


@pytest.mark.parametrize("state", [ClockState.UNKNOWN, ClockState.UNSYNCHRONISED])
def test_a_clock_far_ahead_of_what_was_believed_is_not_however_long_it_goes(
    state: ClockState,
) -> None:
    store = MemoryStore()
    assert believed(store, TwoClocks()) == ""
    late = BEGIN_NS + LEAP_NS + 2 * DAY_S * SECOND_NS
    why = believed(store, TwoClocks(state, late))
    assert "days ahead" in why
    assert f"date +%s > {store.location(keys.RETENTION_CLOCK)}" in why
    # What is sealed meanwhile is of the same clock, and bears witness of nothing.
    assert "days ahead" in believed(store, TwoClocks(state, late), late)
    # A person may say that it is right, or a time daemon.
    assert believed(store, TwoClocks(ClockState.SYNCHRONISED, late)) == ""
    assert believed(store, TwoClocks(state, late)) == ""


def test_a_person_says_that_a_clock_is_right() -> None:
    store = MemoryStore()
    late = BEGIN_NS + 10 * LEAP_NS
    assert believed(store, TwoClocks()) == ""
    clock = TwoClocks(wall_ns=late)
    witness = TimeWitness(clock, store)
    clock.pass_s(1)
    assert witness.look().leaps
    store.replace(keys.RETENTION_CLOCK, b"%d\n" % (clock.wall_ns() // SECOND_NS))
    assert not witness.look().leaps


def test_where_nothing_was_noted_the_newest_seal_of_the_first_look_stands_in() -> None:
    clock = TwoClocks(wall_ns=BEGIN_NS + 10 * LEAP_NS)
    witness = TimeWitness(clock, MemoryStore())
    assert witness.look(BEGIN_NS).leaps
    clock.pass_s(DAY_S)
    assert witness.look(clock.wall_ns()).leaps
    assert not TimeWitness(TwoClocks(), MemoryStore()).look(BEGIN_NS - LEAP_NS + SECOND_NS).leaps


def test_a_recorder_that_was_off_for_a_holiday_goes_on() -> None:
    store = MemoryStore()
    assert believed(store, TwoClocks()) == ""
    assert believed(store, TwoClocks(wall_ns=BEGIN_NS + 30 * DAY_S * SECOND_NS)) == ""


def noted_s(store: MemoryStore) -> int:
    return int(store.get(keys.RETENTION_CLOCK))


def test_what_is_believed_is_noted_now_and_then_and_moves_back_where_a_daemon_keeps_the_clock() -> (
    None
):
    store = MemoryStore()
    clock = TwoClocks()
    witness = TimeWitness(clock, store, steady_s=0)
    witness.look()
    first_s = noted_s(store)
    assert first_s == clock.wall_ns() // SECOND_NS
    clock.pass_s(NOTED_AGAIN_NS / SECOND_NS / 2)
    witness.look()
    assert noted_s(store) == first_s
    clock.pass_s(NOTED_AGAIN_NS / SECOND_NS)
    witness.look()
    assert noted_s(store) == clock.wall_ns() // SECOND_NS
    ahead_s = noted_s(store)
    early = TwoClocks(wall_ns=BEGIN_NS - LEAP_NS)
    assert believed(store, early) == ""
    assert noted_s(store) == ahead_s
    early.kept = ClockState.SYNCHRONISED
    assert believed(store, early) == ""
    assert noted_s(store) == early.wall_ns() // SECOND_NS


class FullStore(MemoryStore):
    def replace(self, key: str, data: bytes) -> None:
        raise StoreFullError(f"{key}: no room for {len(data)} bytes")


def test_a_full_disk_does_not_keep_from_making_room() -> None:
    assert believed(FullStore(), TwoClocks()) == ""


def test_a_note_that_is_none_counts_as_none() -> None:
    store = MemoryStore()
    store.replace(keys.RETENTION_CLOCK, b"soon\n")
    assert believed(store, TwoClocks()) == ""
    assert noted_s(store) > 0
