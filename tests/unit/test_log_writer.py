"""The log of sessions goes on from where it was settled last; where that may be wrong, it looks."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest
from hand_clock import HandClock
from memory_jetstream import MemoryJetStream, MemoryServer

from recorder_worker.adapters.device_key import FileSigner
from recorder_worker.adapters.directory_store import DirectoryStore
from recorder_worker.bus.event_log import JetStreamEventLog
from recorder_worker.bus.headers import EventHeaders
from recorder_worker.bus.streams.topology import StreamLimits, streams
from recorder_worker.core.errors import FencedError
from recorder_worker.core.events import Checkpoint, SessionLogged, Totals
from recorder_worker.core.subjects import Fact
from recorder_worker.stages.session_log.completion import Completion
from recorder_worker.stages.session_log.stage import SessionLogStage

LIMITS = StreamLimits(replicas=1, max_age_s=86_400, max_bytes=100_000_000, duplicate_window_s=120)


class Bench:
    def __init__(self, folder: Path) -> None:
        self.server = MemoryServer(streams(LIMITS), {}, HandClock())
        jetstream: Any = MemoryJetStream(self.server)
        self.log = JetStreamEventLog(lambda: jetstream, EventHeaders("tests"))
        self.store = DirectoryStore(folder / "data")
        self.signer = FileSigner(folder / "keys" / "device.pem")
        self.connections = 0

    def worker(self) -> SessionLogStage:
        return SessionLogStage(
            log=self.log,
            store=self.store,
            signer=self.signer,
            clock=HandClock(),
            recorder=self.signer.recorder,
            connection=lambda: self.connections,
        )

    async def entries(self) -> list[tuple[str, int]]:
        """Session and size of each, in the order in which they stand in the stream."""
        subject = Fact.LOGGED.wildcard
        found = [each async for each in self.log._read(Fact.LOGGED, subject, 0)]
        events = [each.event for each in found if isinstance(each.event, SessionLogged)]
        return [(event.session_id, event.size) for event in events]


@pytest.fixture
def settled(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Counts, in its one number, how often the log was settled."""
    count, settle = [0], Completion.settle

    async def counted(completion: Completion, *args: Any) -> Any:  # noqa: ANN401  (as it comes)
        count[0] += 1
        return await settle(completion, *args)

    monkeypatch.setattr(Completion, "settle", counted)
    return count


def session(number: int) -> str:
    return f"00000000-0000-4000-8000-{number:012d}"


def opened(number: int) -> Checkpoint:
    return Checkpoint(
        session_id=session(number),
        session_counter=number,
        tree_size=1,
        root_hash=hashlib.sha256(str(number).encode()).hexdigest(),
        note=f"note {number}",
        totals=Totals(),
        sealed=False,
    )


async def deliver(stage: SessionLogStage, number: int) -> int:
    """As JetStream does, again until it is taken; how often it was fenced off."""
    for fenced in range(10):
        try:
            await stage.handle(opened(number))
        except FencedError:
            continue
        return fenced
    raise AssertionError("fenced off for ever")


async def test_each_entry_is_settled_once(tmp_path: Path, settled: list[int]) -> None:
    bench = Bench(tmp_path)
    stage = bench.worker()
    for number in range(1, 6):
        assert await deliver(stage, number) == 0
    assert settled == [1 + 5]
    assert await bench.entries() == [(session(number), number) for number in range(1, 6)]


async def test_who_appended_meanwhile_is_seen_at_the_fence(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    slow, fast = bench.worker(), bench.worker()
    await deliver(slow, 1)
    await deliver(fast, 2)
    await deliver(fast, 3)
    assert await deliver(slow, 3) == 1, "it stands there already"
    assert await deliver(slow, 4) == 0
    assert await deliver(fast, 5) == 1
    assert await bench.entries() == [(session(number), number) for number in range(1, 6)]


async def test_behind_a_lost_connection_the_log_is_settled_before_anything_is_appended(
    tmp_path: Path, settled: list[int]
) -> None:
    bench = Bench(tmp_path)
    stage = bench.worker()
    await deliver(stage, 1)
    before, bench.connections = settled[0], 1
    await deliver(stage, 2)
    assert settled[0] - before == 2
    assert await bench.entries() == [(session(1), 1), (session(2), 2)]
