"""What a sample does when the server answers some questions and not others."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any, cast

import pytest
from memory_store import MemoryStore

from recorder_worker.adapters.system_clock import SystemClock
from recorder_worker.bus.bus import Backlog, Bus, StreamFill
from recorder_worker.bus.rights import stage_rights
from recorder_worker.bus.sessions.roster import LogSeen, SessionSeen, SessionState
from recorder_worker.core.keys import blob_key, segment
from recorder_worker.service.observing import sampling
from recorder_worker.service.observing.health import Health
from recorder_worker.service.observing.metrics import Metrics
from recorder_worker.service.observing.sampling import Sampler, spool_size

OPEN = SessionSeen(session_id="a", number=1, state=SessionState.RECORDING)


class PartlyDeaf:
    """A bus that gives no answer about some things, and counts what it was asked."""

    def __init__(self, *deaf: str) -> None:
        self.deaf = set(deaf)
        self.asked: Counter[str] = Counter()
        self.connected = True
        self.reconnects = 0
        self.roster = self
        self.dead_letters = self

    def _answer(self, what: str) -> None:
        self.asked[what] += 1
        if what in self.deaf:
            raise TimeoutError(f"no answer about {what}")

    async def look(self, *, closely: bool) -> tuple[SessionSeen, ...]:
        del closely
        self._answer("sessions")
        return (OPEN,)

    async def log_head(self) -> LogSeen | None:
        self._answer("log_head")
        return LogSeen(3, "ab", 1)

    async def fill(self, stream: str) -> StreamFill:
        self._answer(stream)
        return StreamFill(1, 2, 3)

    async def waiting(self) -> dict[str, int]:
        self._answer("dead_letters")
        return {"chunk": 2}

    async def backlog(self, stage: str) -> Backlog:
        self._answer(stage)
        return Backlog(4, 0)


def sampler(bus: PartlyDeaf, *, always: bool = True) -> Sampler:
    metrics = Metrics(version="1", node="n")
    return Sampler(
        cast("Bus", bus), MemoryStore(None), SystemClock(), metrics, Health(), always=always
    )


async def test_one_question_without_an_answer_is_named_and_holds_up_no_other() -> None:
    bus = PartlyDeaf("AUDIT", "compress")
    taken = sampler(bus)
    await taken._look()
    assert taken.sample.missing == ("AUDIT", "compress")
    assert taken.sample.sessions == (OPEN,)
    assert taken.sample.dead_letters == {"chunk": 2}
    assert set(taken.sample.backlogs) == set(stage_rights.WATCHED_STAGES) - {"compress"}
    for _ in range(5):
        await taken._look()
    assert (bus.asked["AUDIT"], bus.asked["SESSIONS"]) == (1, 6), "it would wait each time"
    assert taken.sample.missing == ("AUDIT", "compress"), "and is named all the while"
    bus.deaf.clear()
    bus.reconnects += 1
    await taken._look()
    assert not taken.sample.missing, "another server may answer what this one did not"


async def test_what_was_seen_last_is_kept_while_the_bus_is_away() -> None:
    bus = PartlyDeaf()
    taken = sampler(bus)
    await taken._look()
    asked = bus.asked.total()
    bus.connected = False
    await taken._look()
    assert (taken.sample.missing, taken.sample.sessions) == (("NATS",), (OPEN,))
    assert bus.asked.total() == asked, "nobody is asked who cannot answer"


async def test_nobody_is_asked_while_nobody_looks_and_a_look_is_answered_soon(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sampling, "SAMPLE_S", 3600.0)
    bus = PartlyDeaf()
    quiet = sampler(bus, always=False)
    quiet.start()
    try:
        await asyncio.sleep(0)
        assert bus.asked.total() == 0
        async with asyncio.timeout(30):
            sample = await quiet.fresh(9)
        assert sample.sessions == (OPEN,)
        asked = bus.asked["sessions"]
        await quiet.fresh(9)
        assert bus.asked["sessions"] == asked, "it is fresh"
    finally:
        await quiet.stop()


async def test_a_defect_does_not_end_the_looking(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sampling, "SAMPLE_S", 0.01)
    bus = PartlyDeaf()
    broken: Any = bus

    def fail(*, closely: bool) -> None:
        bus.asked["broken"] += 1
        raise KeyError(closely)

    broken.look = fail
    taken = sampler(bus)
    taken.start()
    try:
        async with asyncio.timeout(30):
            while bus.asked["broken"] < 3:
                await asyncio.sleep(0.01)
    finally:
        await taken.stop()


def test_the_spool_is_measured_and_no_more_of_it_than_is_sane(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store = MemoryStore(None)
    for unit in range(5):
        store.put(blob_key("a", segment(unit, "ab" * 16)), b"1234")
        store.put(blob_key("b", segment(unit, "cd" * 16)), b"12")
    store.put(blob_key("a", "chunks/0000000001.zst"), b"not in the spool")
    assert spool_size(store, ["a"]) == (5, 20)
    assert spool_size(store, ["a", "b", "none"]) == (10, 30)
    monkeypatch.setattr(sampling, "SPOOL_SEGMENTS_MAX", 7)
    assert spool_size(store, ["a", "b"]) == (7, 24)
