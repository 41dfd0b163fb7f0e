"""What a worker writes behind the seal that stood still until then, and was killed there."""

from __future__ import annotations

from pathlib import Path

import pytest
import structlog
from recordings import RECORDER
from retention_bench import Bench
from two_clocks import TwoClocks

from recorder_worker.adapters.system_clock import SystemClock
from recorder_worker.bus.connection.broker import RecorderBroker
from recorder_worker.core import keys
from recorder_worker.core.retention.sayings import Hold, Release, Saying
from recorder_worker.core.verify import Verdict
from recorder_worker.stages.retention.book import RetentionBook
from recorder_worker.stages.session_log.log_writer import LogWriter

LATE = ("segments/000000000145-cc831ec52967fe7a.seg", keys.leaf(3), keys.note(4))
FOR_EVER = 0
REMOVED = "LateFilesRemoved"


def put_late_files(bench: Bench) -> None:
    for name in LATE:
        bench.store.put(keys.blob_key(bench.session_id, name), b"of a worker that stood still")


def late_files(bench: Bench) -> list[str]:
    found = (keys.blob_key(bench.session_id, name) for name in LATE)
    return [key for key in found if bench.store.size(key) is not None]


async def test_what_is_written_behind_a_seal_goes_and_the_session_stays(
    broker: RecorderBroker, tmp_path: Path
) -> None:
    bench = Bench(broker, tmp_path)
    await bench.record()
    clock = TwoClocks(wall_ns=SystemClock().wall_ns())
    keeper = bench.keeper(clock=clock, max_age_s=FOR_EVER)
    await bench.tend(keeper)
    for wait_s in (600, 1200, 2400):
        put_late_files(bench)
        clock.pass_s(wait_s - 1)
        await bench.tend(keeper)
        assert len(late_files(bench)) == len(LATE)
        clock.pass_s(1)
        with structlog.testing.capture_logs() as logs:
            await bench.tend(keeper)
        assert late_files(bench) == []
        assert [line["files"] for line in logs if line["event"] == REMOVED] == [len(LATE)]
        assert bench.verdict() is Verdict.COMPLETE


async def test_a_new_worker_looks_at_once(broker: RecorderBroker, tmp_path: Path) -> None:
    bench = Bench(broker, tmp_path)
    await bench.record()
    put_late_files(bench)
    await bench.tend(bench.keeper(max_age_s=FOR_EVER))
    assert late_files(bench) == []
    assert bench.verdict() is Verdict.COMPLETE


async def test_of_a_session_under_hold_nothing_goes_until_it_is_released(
    broker: RecorderBroker, tmp_path: Path
) -> None:
    bench = Bench(broker, tmp_path)
    await bench.record()
    put_late_files(bench)
    await say(bench, Hold(name="court", by="kim", reason="asked", command_id="1", wall_ns=1))
    keeper = bench.keeper(max_age_s=FOR_EVER)
    await bench.tend(keeper)
    assert len(late_files(bench)) == len(LATE)
    await say(bench, Release(name="court", by="kim", reason="over", command_id="2", wall_ns=2))
    await bench.tend(keeper)
    assert late_files(bench) == []


async def say(bench: Bench, saying: Saying) -> None:
    writer = LogWriter(log=bench.log, store=bench.store, signer=bench.signer, recorder=RECORDER)
    book = RetentionBook(log=bench.log, store=bench.store, signer=bench.signer, writer=writer)
    await book.settle()
    await book.say(bench.session_id, lambda _: saying)


@pytest.mark.parametrize("changed", [keys.SEAL, keys.RECORDS])
async def test_beside_another_seal_or_damaged_records_nothing_goes(
    broker: RecorderBroker, tmp_path: Path, changed: str
) -> None:
    """The single records may be the only good ones, and the spool all that is left."""
    bench = Bench(broker, tmp_path)
    await bench.record()
    clock = TwoClocks(wall_ns=SystemClock().wall_ns())
    keeper = bench.keeper(clock=clock, max_age_s=FOR_EVER)
    await bench.tend(keeper)
    put_late_files(bench)
    key = keys.blob_key(bench.session_id, changed)
    data = bench.store.get(key)
    bench.store.replace(key, data[:-1] + bytes([data[-1] ^ 1]))
    clock.pass_s(600)
    found = await keeper.tend()
    assert len(late_files(bench)) == len(LATE)
    (problem,) = found.problems
    assert "nothing of it is removed" in problem
    bench.store.replace(key, data)
    await bench.tend(keeper)
    assert late_files(bench) == []
