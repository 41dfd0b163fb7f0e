"""A server that forgot its newest messages: what was sealed stays as it was signed."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from merkle_bench import MerkleBench
from recordings import Recording

from recorder_worker.core import keys
from recorder_worker.core.errors import IncidentError
from recorder_worker.core.events import Checkpoint, Event, Head
from recorder_worker.core.records.codec import frame_record
from recorder_worker.core.subjects import Fact
from recorder_worker.core.verify import Verdict
from recorder_worker.ports import Logged


class ForgetfulLog:
    """An event log in memory that can lose its newest messages, as a power cut does."""

    def __init__(self) -> None:
        self.told: list[tuple[Fact, Event, str]] = []

    async def last(self, fact: Fact, session_id: str) -> Logged | None:
        found = [logged async for logged in self.read(fact, session_id)]
        return found[-1] if found else None

    async def read(self, fact: Fact, session_id: str, after: int = 0) -> AsyncIterator[Logged]:
        del session_id
        for number, (told, event, key) in enumerate(self.told, start=1):
            if told is fact and number > after:
                yield Logged(event, number, key)

    async def append(
        self, fact: Fact, session_id: str, event: Event, *, key: str, after: int
    ) -> int:
        del session_id, after
        self.told.append((fact, event, key))
        return len(self.told)

    async def emit(self, fact: Fact, session_id: str, event: Event, *, key: str) -> None:
        await self.append(fact, session_id, event, key=key, after=0)

    async def last_of_all(self, fact: Fact) -> Logged | None:
        return await self.last(fact, "")

    async def append_to_all(
        self, fact: Fact, session_id: str, event: Event, *, key: str, after: int
    ) -> int:
        return await self.append(fact, session_id, event, key=key, after=after)

    def forget_from(self, size: int) -> None:
        """Lose every head and checkpoint of more than `size` leaves, and the seal."""
        self.told = [
            told
            for told in self.told
            if isinstance(told[1], Head | Checkpoint) and told[1].tree_size <= size
        ]


class Bench(MerkleBench):
    """With a log that forgets."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.log = ForgetfulLog()

    async def deliver(self, count: int | None = None) -> None:
        stage = self.stage(self.log)
        for leaf in self.recording.events[:count]:
            await stage.handle(leaf)


@pytest.mark.parametrize("size", range(7))
async def test_heads_that_are_lost_behind_the_seal_change_nothing(
    tmp_path: Path, size: int
) -> None:
    bench = Bench(tmp_path)
    await bench.deliver()
    sealed = bench.files()
    assert bench.verdict() is Verdict.COMPLETE
    bench.log.forget_from(size)
    await bench.deliver()
    assert bench.files() == sealed
    assert bench.private_keys() == []
    seal = await bench.log.last(Fact.SEALED, bench.recording.session_id)
    assert seal is not None


@pytest.mark.parametrize("count", [0, 1, 2, 3])
async def test_records_that_are_planted_in_a_running_session_are_not_signed(
    tmp_path: Path, count: int
) -> None:
    """An attacker who can write to the store, and would have keys of their own in the tree."""
    bench = Bench(tmp_path)
    await bench.deliver(count)
    theirs = Recording(recorder=bench.signer.recorder).open().chunk()
    theirs.epoch().chunk(2).beat().epoch().seal()
    planted = b"".join(map(frame_record, theirs.records))
    bench.store.put(keys.blob_key(bench.recording.session_id, keys.RECORDS), planted)
    before = bench.files()
    with pytest.raises(IncidentError):
        await bench.deliver()
    assert bench.files() == before
