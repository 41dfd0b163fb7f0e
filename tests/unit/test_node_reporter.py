from __future__ import annotations

import asyncio
from typing import Any

import pytest

from recorder_worker.adapters.system_clock import SystemClock
from recorder_worker.core.errors import BusUnavailableError
from recorder_worker.core.events import Event, NodeDraining, NodeHeartbeat, NodeLoad
from recorder_worker.core.subjects import Fact
from recorder_worker.integrations.node_reporter import NodeAbout, NodeReporter, Throughput

LOAD = NodeLoad(
    cpu_count=2,
    cpu_percent=0,
    load_1m=0,
    memory_total_bytes=1,
    memory_available_bytes=1,
    process_memory_bytes=1,
    process_cpu_percent=0,
    disk_total_bytes=1,
    disk_free_bytes=1,
)
ABOUT = NodeAbout(
    worker="n_1_ab", node="n", stages=("chunk",), software="s", capacity=0, heartbeat_s=0.005
)


class BrokenBus:
    """An event log that refuses the first facts; then it takes them."""

    def __init__(self, *errors: Exception) -> None:
        self._errors = list(errors)
        self.taken: list[Event] = []
        self.news = asyncio.Event()

    async def emit(self, fact: Fact, worker: str, event: Event, *, key: str) -> None:
        assert worker == "n_1_ab"
        assert key.startswith(f"{fact.value}:n_1_ab")
        if self._errors:
            raise self._errors.pop(0)
        self.taken.append(event)
        self.news.set()

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401  (nothing else may be called)
        raise AssertionError(name)


@pytest.mark.parametrize(
    "error", [BusUnavailableError("away"), RuntimeError("a defect"), OSError("no disk")], ids=repr
)
async def test_heartbeats_go_on_behind_any_failure_and_lose_no_count(error: Exception) -> None:
    counts = iter(range(0, 10_000, 10))
    bus = BrokenBus(error, error, error)
    reporter = NodeReporter(
        bus,
        SystemClock(),
        ABOUT,
        sessions=lambda: (),
        load=lambda: LOAD,
        throughput=lambda: Throughput(frames=next(counts)),
    )
    reporter.start()
    async with asyncio.timeout(30):
        await bus.news.wait()
    await reporter.draining()
    beats = [event for event in bus.taken if isinstance(event, NodeHeartbeat)]
    # The registration and two heartbeats were refused; the third has what all three have seen.
    assert (beats[0].beat, beats[0].frames) == (3, 30)
    assert all(beat.frames == 10 for beat in beats[1:])
    assert isinstance(bus.taken[-1], NodeDraining)
    assert not reporter._background.running, "behind the last word there is none"


async def test_a_machine_that_cannot_be_measured_stops_nothing() -> None:
    bus = BrokenBus()
    measured = iter([OSError("gone"), OSError("gone")])

    def load() -> NodeLoad:
        for error in measured:
            raise error
        return LOAD

    reporter = NodeReporter(
        bus, SystemClock(), ABOUT, sessions=lambda: (), load=load, throughput=Throughput
    )
    reporter.start()
    async with asyncio.timeout(30):
        await bus.news.wait()
    await reporter.stop()
    assert isinstance(bus.taken[0], NodeHeartbeat)
