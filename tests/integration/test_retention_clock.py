"""What is too old goes by more than one reading of one clock, on a real nats-server."""

from __future__ import annotations

from pathlib import Path

import pytest
import pytest_asyncio
from retention_bench import Bench
from structlog.testing import capture_logs
from two_clocks import SECOND_NS, TwoClocks

from recorder_worker.bus.connection.broker import RecorderBroker
from recorder_worker.core import keys
from recorder_worker.core.model import ClockState
from recorder_worker.core.records.codec import decode_record
from recorder_worker.core.records.leaves import SealRecord
from recorder_worker.core.verify import Verdict
from recorder_worker.stages.sealed_records import sealed_records
from recorder_worker.stages.sure_time import STEADY_S

YEAR_S = 365 * 86_400


@pytest_asyncio.fixture
async def bench(broker: RecorderBroker, tmp_path: Path) -> Bench:
    made = Bench(broker, tmp_path)
    await made.record()
    made.store.delete(keys.RETENTION_CLOCK)
    return made


def a_minute_behind_the_seal(bench: Bench) -> TwoClocks:
    *_, last = sealed_records(bench.store, bench.session_id)
    sealed = decode_record(last)
    assert isinstance(sealed, SealRecord)
    return TwoClocks(wall_ns=sealed.wall_ns + 60 * SECOND_NS)


@pytest.mark.parametrize("state", list(ClockState))
async def test_a_clock_that_is_wrong_for_some_rounds_removes_nothing(
    bench: Bench, state: ClockState
) -> None:
    clock = a_minute_behind_the_seal(bench)
    clock.kept = state
    keeper = bench.keeper(clock=clock, steady_s=STEADY_S, max_age_s=YEAR_S)
    right_ns, wrong_ns = clock.set_ns, clock.set_ns + (YEAR_S + 3600) * SECOND_NS
    for set_ns in (wrong_ns, right_ns, wrong_ns, right_ns):
        clock.set_ns = set_ns
        for _ in range(4):
            assert (await keeper.tend()).removed == 0
            clock.pass_s(STEADY_S / 5)
    assert bench.verdict() is Verdict.COMPLETE
    assert len(bench.chunks()) == 8


@pytest.mark.parametrize("state", [ClockState.UNKNOWN, ClockState.UNSYNCHRONISED])
async def test_a_machine_that_boots_years_ahead_removes_nothing_however_long_it_stays_so(
    bench: Bench, state: ClockState
) -> None:
    clock = a_minute_behind_the_seal(bench)
    clock.kept = state
    clock.set_ns = 2**31 * SECOND_NS
    keeper = bench.keeper(clock=clock, steady_s=STEADY_S, max_age_s=YEAR_S)
    with capture_logs() as logs:
        for _ in range(4):
            found = await keeper.tend()
            clock.pass_s(86_400)
    assert (found.removed, bench.verdict()) == (0, Verdict.COMPLETE)
    assert "1 would be too old, but the clock is" in found.doubts
    said = [entry for entry in logs if entry["event"] == "ClockDoubted"]
    assert [entry["sessions"] for entry in said] == [1] * 4  # once for each day
    # A time daemon sets it right.
    clock.set_ns = a_minute_behind_the_seal(bench).set_ns
    clock.kept = ClockState.SYNCHRONISED
    for _ in range(2):
        found = await keeper.tend()
        clock.pass_s(STEADY_S)
    assert (found.removed, found.doubts) == (0, "")


@pytest.mark.parametrize("state", list(ClockState))
async def test_by_a_clock_that_goes_evenly_what_is_too_old_goes(
    bench: Bench, state: ClockState
) -> None:
    clock = a_minute_behind_the_seal(bench)
    clock.kept = state
    keeper = bench.keeper(clock=clock, steady_s=STEADY_S, max_age_s=5 * 86_400)
    assert (await keeper.tend()).removed == 0
    clock.pass_s(5 * 86_400 - 61)
    assert (await keeper.tend()).removed == 0
    clock.pass_s(1)
    assert (await keeper.tend()).removed == 1
    assert bench.verdict() is Verdict.REDACTED
    # The next process has a witness, and waits all the same.
    assert bench.store.size(keys.RETENTION_CLOCK) is not None
