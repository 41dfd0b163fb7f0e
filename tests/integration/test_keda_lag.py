"""What KEDA scales by is there: the manifests' streams and consumers, asked for as KEDA asks."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import nats
import pytest
import pytest_asyncio
import yaml  # type: ignore[import-untyped]
from nats.js import JetStreamContext
from nats_process import NatsProcess
from ports import free_port
from running_recorder import DEADLINE_S, POLL_S

from recorder_worker.bus.rights.permissions import HOME
from recorder_worker.bus.streams.apply import apply_topology
from recorder_worker.bus.streams.consumers import consumers
from recorder_worker.bus.streams.topology import streams
from recorder_worker.core.pipeline import STAGES
from recorder_worker.core.subjects import Fact
from recorder_worker.service import policies
from recorder_worker.service.settings.tree import Settings

ROOT = Path(__file__).parents[2]
SESSION = "0190a0b0-0000-7000-8000-000000000001"
FACTS = {"chunk": Fact.CAPTURED, "compress": Fact.CHUNKED, "merkle": Fact.COMPRESSED}


def scaled_objects() -> dict[str, dict[str, Any]]:
    """By name of the Deployment, the metadata of its one trigger."""
    path = ROOT / "deploy" / "kubernetes" / "keda" / "scaled-objects.yaml"
    found = {}
    for document in yaml.safe_load_all(path.read_text(encoding="utf-8")):
        if document:
            spec = document["spec"]
            (trigger,) = spec["triggers"]
            assert trigger["type"] == "nats-jetstream"
            assert spec["minReplicaCount"] >= 1, "a pod that has to start first delays every seal"
            found[spec["scaleTargetRef"]["name"]] = trigger["metadata"]
    return found


SCALED = scaled_objects()


class MonitoredNats(NatsProcess):
    """A nats-server with its monitoring port, as the manifests give it one."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.monitor = f"127.0.0.1:{free_port()}"
        with (folder / "server.conf").open("a") as config:
            anybody = "jetstream: enabled, users: [{user: u, password: p}]"
            config.write(f'http: "{self.monitor}"\nno_auth_user: u\n')
            config.write(f"accounts {{ {HOME}: {{ {anybody} }} }}\n")


@pytest_asyncio.fixture
async def server(tmp_path: Path) -> AsyncIterator[tuple[str, JetStreamContext]]:
    with MonitoredNats(tmp_path / "nats") as running:
        client = await nats.connect(running.url)
        bus = policies.bus_settings(Settings(), "node", ())
        limits = bus.streams
        await apply_topology(client.jetstream(), streams(limits), consumers(bus.consumers))
        yield running.monitor, client.jetstream()
        await client.close()


async def lag(monitor: str, trigger: dict[str, Any]) -> int:
    """As `pkg/scalers/nats_jetstream_scaler.go` of KEDA finds it.

    Of the account, the stream and the consumer by their names: what is pending, and what is not
    acknowledged.
    """
    query = {"acc": trigger["account"], "consumers": "true", "config": "true"}
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"http://{monitor}/jsz", params=query) as answer,
    ):
        body = await answer.json(content_type=None)
    (account,) = [a for a in body["account_details"] if a["name"] == trigger["account"]]
    (stream,) = [s for s in account["stream_detail"] if s["name"] == trigger["stream"]]
    (consumer,) = [c for c in stream["consumer_detail"] if c["name"] == trigger["consumer"]]
    return int(consumer["num_pending"]) + int(consumer["num_ack_pending"])


def test_every_stage_but_capture_is_scaled() -> None:
    assert set(SCALED) == {stage.name for stage in STAGES} - {"capture"}
    for name, trigger in SCALED.items():
        assert trigger["consumer"] == name
        assert int(trigger["lagThreshold"]) > 0
        assert trigger["natsServerMonitoringEndpoint"].endswith(":8222")


@pytest.mark.parametrize("stage", SCALED)
async def test_the_lag_of_a_stage_is_seen(server: tuple[str, JetStreamContext], stage: str) -> None:
    monitor, jetstream = server
    trigger = SCALED[stage]
    assert await lag(monitor, trigger) == 0
    for number in range(7):
        await jetstream.publish(FACTS[stage].of(SESSION), b"%d" % number)
    async with asyncio.timeout(DEADLINE_S):
        while await lag(monitor, trigger) != 7:
            await asyncio.sleep(POLL_S)
    for other in set(SCALED) - {stage}:
        assert await lag(monitor, SCALED[other]) == 0
