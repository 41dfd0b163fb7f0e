"""The plan is a function of its seed, and the proxy does to bytes what it says."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from chaos.plan import Kind, Shape, plan_of, session_of
from chaos.proxy import Proxy

WORKERS = ("capture-1", "capture-2", "merkle-1")
DEADLINE_S = 30.0


def test_the_same_seed_gives_the_same_plan_and_another_seed_another() -> None:
    plans = [plan_of(seed, 200, WORKERS, ("nats-1",), clocks=True) for seed in (7, 7, 8)]
    assert plans[0] == plans[1]
    assert plans[0].faults != plans[2].faults
    assert session_of(7, 30) == session_of(7, 30) != session_of(8, 30)


def test_every_kind_of_fault_and_of_session_comes_early_and_on_every_actor() -> None:
    servers = ("nats-1", "nats-2", "nats-3")
    plan = plan_of(3, 1000, WORKERS, servers, clocks=True)
    assert {fault.kind for fault in plan.faults[: len(Kind)]} == set(Kind)
    assert {fault.target for fault in plan.faults} == {*WORKERS, *servers, "leader"}
    assert {session_of(3, n).shape for n in range(len(Shape))} == set(Shape)
    assert len({session_of(3, n).session_id for n in range(100)}) == 100
    without = plan_of(3, 200, WORKERS, servers, clocks=False)
    assert Kind.CLOCK not in {fault.kind for fault in without.faults}


@asynccontextmanager
async def echo() -> AsyncIterator[int]:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while piece := await reader.read(100):
            writer.write(piece)
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    yield server.sockets[0].getsockname()[1]
    server.close()


async def test_the_proxy_passes_on_holds_back_and_cuts() -> None:
    async with echo() as port, Proxy(port) as proxy, asyncio.timeout(DEADLINE_S):
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        writer.write(b"one")
        assert await reader.readexactly(3) == b"one"
        proxy.stall()
        writer.write(b"two")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await reader.readexactly(1)
        proxy.heal()
        assert await reader.readexactly(3) == b"two"
        proxy.cut()
        assert await reader.read() == b""
        again, _ = await asyncio.open_connection("127.0.0.1", proxy.port)
        assert await again.read() == b""
        proxy.heal()
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        for word in itertools.islice(itertools.cycle((b"a", b"b")), 6):
            writer.write(word)
            assert await reader.readexactly(1) == word
