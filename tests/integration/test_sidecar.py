from __future__ import annotations

import socket
from collections.abc import AsyncIterator

import aiohttp
import pytest
import pytest_asyncio
from ports import free_port

from recorder_worker.core.errors import SettingsError
from recorder_worker.service.observing.health import Check, Health
from recorder_worker.service.observing.metrics import Metrics
from recorder_worker.service.settings.tree import SidecarSettings
from recorder_worker.service.sidecar.server import About, Sidecar


class Parts:
    def __init__(self, port: int = 0) -> None:
        self.health = Health()
        self.scrapes = 0
        self.sidecar = Sidecar(
            SidecarSettings(port=port),
            about=About("1.2.3", "n1", ("capture", "chunk")),
            health=self.health,
            metrics=Metrics(version="1.2.3", node="n1"),
            sessions_active=lambda: 3,
            before_scrape=self.scraped,
        )

    async def scraped(self) -> None:
        self.scrapes += 1


@pytest_asyncio.fixture
async def parts() -> AsyncIterator[Parts]:
    made = Parts()
    await made.sidecar.start()
    yield made
    await made.sidecar.stop()


@pytest_asyncio.fixture
async def client(parts: Parts) -> AsyncIterator[aiohttp.ClientSession]:
    base = f"http://127.0.0.1:{parts.sidecar.port}"
    async with aiohttp.ClientSession(base) as session:
        yield session


async def test_a_well_process_is_alive_and_ready(client: aiohttp.ClientSession) -> None:
    for path in ("/livez", "/readyz", "/health"):
        async with client.get(path) as answer:
            assert answer.status == 200
            assert answer.content_type == "application/json"
            assert (await answer.json())["ok"] is True


async def test_readiness_names_what_fails_and_liveness_does_not_care(
    parts: Parts, client: aiohttp.ClientSession
) -> None:
    parts.health.add("bus", lambda: Check("bus", ok=False, detail="not connected"))
    async with client.get("/readyz") as answer:
        assert answer.status == 503
        body = await answer.json()
    assert body["failing"] == ["bus"]
    assert {"name": "bus", "ok": False, "detail": "not connected"} in body["checks"]
    async with client.get("/livez") as answer:
        assert answer.status == 200


async def test_a_fatal_failure_ends_liveness(parts: Parts, client: aiohttp.ClientSession) -> None:
    parts.health.fail("incident")
    async with client.get("/livez") as answer:
        assert answer.status == 503
        assert "incident" in await answer.text()


async def test_health_is_the_whole_story(parts: Parts, client: aiohttp.ClientSession) -> None:
    parts.health.add("disk", lambda: Check("disk", ok=False, detail="full"))
    async with client.get("/health") as answer:
        assert answer.status == 200, "it is for reading; /readyz judges"
        body = await answer.json()
    assert body["version"] == "1.2.3"
    assert body["node"] == "n1"
    assert body["stages"] == ["capture", "chunk"]
    assert body["sessions_active"] == 3
    assert body["failing"] == ["disk"]
    assert [check["name"] for check in body["checks"]] == ["alive", "disk"]


async def test_metrics_are_in_prometheus_form_and_fresh(
    parts: Parts, client: aiohttp.ClientSession
) -> None:
    async with client.get("/metrics") as answer:
        assert answer.status == 200
        assert answer.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
        text = await answer.text()
    assert "recorder_sessions_active 3.0" in text
    assert 'recorder_build_info{node="n1",version="1.2.3"} 1.0' in text
    assert parts.scrapes == 1


async def test_there_is_nothing_else(client: aiohttp.ClientSession) -> None:
    async with client.get("/") as answer:
        assert answer.status == 404
    async with client.post("/readyz") as answer:
        assert answer.status == 405


async def test_a_busy_port_is_named_with_what_to_do() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        sidecar = Parts(port).sidecar
        with pytest.raises(SettingsError, match=f"127.0.0.1:{port}, found that another program"):
            await sidecar.start()
        assert sidecar.port == -1
        await sidecar.stop()


async def test_it_can_be_off_and_stop_may_be_repeated() -> None:
    sidecar = Parts(-1).sidecar
    await sidecar.start()
    assert sidecar.port == -1
    await sidecar.stop()
    await sidecar.stop()


async def test_its_port_is_free_again_after_stop() -> None:
    port = free_port()
    for _ in range(2):
        sidecar = Parts(port).sidecar
        await sidecar.start()
        assert sidecar.port == port
        await sidecar.stop()
