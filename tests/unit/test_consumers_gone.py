"""A consumer that stays away is told of once, and again when it goes once more."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest
import structlog

from recorder_worker.adapters.system_clock import SystemClock
from recorder_worker.bus.bus import Backlog, Bus, StreamFill
from recorder_worker.core.errors import TopologyError
from recorder_worker.service import consumer_keeper
from recorder_worker.service.consumer_keeper import ConsumerKeeper
from recorder_worker.service.observing import watch
from recorder_worker.service.observing.health import Health
from recorder_worker.service.observing.metrics import Metrics
from recorder_worker.service.observing.watch import BacklogWatch

STAGE = "chunk"


class ForgetfulServer:
    """What a bus says of a server where the consumer comes and goes; it may not be made again."""

    def __init__(self) -> None:
        self.there = True
        self._looked = asyncio.Event()

    async def backlog(self, _stage: str) -> Backlog:
        self._looked.set()
        if not self.there:
            raise LookupError("consumer is not there")
        return Backlog(0, 0)

    async def fill(self, _stream: str) -> StreamFill:
        return StreamFill(0, 1)

    async def restore(self, _stage: str) -> None:
        raise TopologyError("expected a consumer, found none")

    async def looks(self, times: int) -> None:
        for _ in range(times):
            self._looked.clear()
            await self._looked.wait()

    async def goes(self) -> None:
        """Away for some looks, and back for some."""
        self.there = False
        await self.looks(4)
        self.there = True
        await self.looks(2)


@pytest.fixture(params=["watch", "keeper"])
def looks_after(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Any:  # noqa: ANN401  (either of two)
    monkeypatch.setattr(watch, "LOOK_S", 0.001)
    monkeypatch.setattr(consumer_keeper, "LOOK_S", 0.001)

    def made(server: ForgetfulServer) -> BacklogWatch | ConsumerKeeper:
        bus = cast("Bus", server)
        if request.param == "keeper":
            return ConsumerKeeper(bus, [STAGE])
        watched = BacklogWatch(bus, Health(), Metrics(version="0", node="here"), SystemClock())
        watched.add(STAGE)
        return watched

    return made


async def test_it_is_told_once_each_time_it_goes(looks_after: Any) -> None:  # noqa: ANN401  (either of two)
    server = ForgetfulServer()
    looking = looks_after(server)
    with structlog.testing.capture_logs() as lines:
        looking.start()
        for times in (1, 2):
            await server.goes()
            gone = [line for line in lines if line["event"] == "ConsumerGone"]
            assert [line["stage"] for line in gone] == [STAGE] * times
        await looking.stop()
