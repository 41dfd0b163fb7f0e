"""The servers of config/nats-*.conf, as they stand: a cluster that loses a node, edge and hub."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, suppress
from pathlib import Path

import msgspec
import nats
import pytest
from nats.aio.client import Client
from nats.js import JetStreamContext
from nats.js.errors import APIError
from ports import free_port
from running_recorder import DEADLINE_S, RunningRecorder, settings_in, until
from secured_nats import ServerProcess
from worker_process import run_recorder

from recorder_worker.adapters.folder import FolderRecording
from recorder_worker.bus.client import RecorderClient
from recorder_worker.bus.connection.broker import Login
from recorder_worker.bus.objects.store import ObjectStore
from recorder_worker.bus.streams.mirrors import MIRRORED, mirror_name
from recorder_worker.core.errors import BusUnavailableError
from recorder_worker.core.events import Captured
from recorder_worker.core.subjects import Fact
from recorder_worker.core.verify.verdicts import Verdict
from recorder_worker.core.verify.verifier import verify
from recorder_worker.service.fetching import fetch_session
from recorder_worker.service.settings.storage import StorageSettings
from recorder_worker.service.settings.tree import CaptureSettings

CONFIG = Path(__file__).parents[2] / "config"
LINK_S = 150.0
"""The server looks for a link that was away, and for what it missed, when it sees fit."""

PATIENT = CaptureSettings(segment_s=0.25, retry_s=1.0, lease_s=60.0)
"""A lease cannot be renewed while its stream has no leader, which takes as long as it takes."""

LONG = {"kind": "pattern", "width": 64, "height": 48}


def server(name: str, folder: Path, port: int, **variables: str) -> ServerProcess:
    """A server on a copy of one of the files, with the variables that it asks for."""
    folder.mkdir()
    conf = folder / name
    conf.write_text((CONFIG / name).read_text(encoding="utf-8"), encoding="utf-8")
    env = {
        "NATS_LISTEN": f'"127.0.0.1:{port}"',
        "NATS_STORE": f'"{folder}/store"',
        "NATS_NAME": folder.name,
    }
    return ServerProcess(conf, port, env=dict(os.environ) | env | variables)


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[list[ServerProcess]]:
    ports, routes = [free_port() for _ in range(3)], [free_port() for _ in range(3)]
    all_routes = ", ".join(f"nats://127.0.0.1:{port}" for port in routes)
    with ExitStack() as stack:
        yield [
            stack.enter_context(
                server(
                    "nats-cluster.conf",
                    tmp_path / f"nats-{n}",
                    ports[n],
                    NATS_ROUTE_LISTEN=f'"127.0.0.1:{routes[n]}"',
                    NATS_ROUTES=f"[{all_routes}]",
                )
            )
            for n in range(3)
        ]


async def jetstream_is_up(url: str) -> None:
    """Wait until a cluster has a leader for what it stores."""
    bus = await nats.connect(url)
    try:
        async with asyncio.timeout(DEADLINE_S):
            while True:
                try:
                    await bus.jetstream(timeout=1).account_info()
                except (APIError, nats.errors.Error):
                    await asyncio.sleep(0.05)
                else:
                    return
    finally:
        await bus.close()


async def test_a_session_goes_on_while_a_node_of_the_cluster_is_killed(
    cluster: list[ServerProcess], tmp_path: Path
) -> None:
    urls = ",".join(f"nats://127.0.0.1:{node.port}" for node in cluster)
    await jetstream_is_up(urls.split(",", maxsplit=1)[0])
    settings = settings_in(tmp_path / "recorder", capture=PATIENT)
    three = msgspec.structs.replace(settings.nats, url=urls, replicas=3)
    async with RunningRecorder(msgspec.structs.replace(settings, nats=three)) as recorder:
        started = await recorder.client.start(LONG, fps=20, timeout_s=DEADLINE_S)
        first = await recorder.captured(started.session_id)
        name = await leader_of_three(recorder, "SESSIONS")
        leader = next(node for node in cluster if node.conf.parent.name == name)
        async with RecorderClient.connect(Login(servers=tuple(urls.split(",")))) as client:
            leader.kill()
            await captured_behind(client, started.session_id, first.cursor.t_ns)
            await stopped(client, started.session_id)
            await client.wait_sealed(started.session_id, DEADLINE_S)
        report = recorder.report(started.session_id)
    assert report.verdict is Verdict.COMPLETE


async def test_copies_in_a_bucket_of_the_cluster_are_whole_when_a_node_is_killed(
    cluster: list[ServerProcess], tmp_path: Path
) -> None:
    urls = ",".join(f"nats://127.0.0.1:{node.port}" for node in cluster)
    await jetstream_is_up(urls.split(",", maxsplit=1)[0])
    storage = StorageSettings(kind="nats", bucket="copies", backoff_s=(0.2, 1.0), sweep_s=0.5)
    settings = settings_in(tmp_path / "recorder", storage=storage, capture=PATIENT)
    three = msgspec.structs.replace(settings.nats, url=urls, replicas=3)
    async with RunningRecorder(msgspec.structs.replace(settings, nats=three)) as recorder:
        started = await recorder.client.start(LONG, fps=20, timeout_s=DEADLINE_S)
        first = await recorder.captured(started.session_id)
        name = await leader_of_three(recorder, "OBJ_copies")
        leader = next(node for node in cluster if node.conf.parent.name == name)
        login = Login(servers=tuple(urls.split(",")))
        async with RecorderClient.connect(login) as client:
            leader.kill()
            await captured_behind(client, started.session_id, first.cursor.t_ns)
            await stopped(client, started.session_id)
            await client.wait_sealed(started.session_id, DEADLINE_S)
        await until((recorder.settings.data_path / "copies" / started.session_id).exists)
        store = ObjectStore(login, "copies")
        copied = await asyncio.to_thread(
            fetch_session, store, started.session_id, tmp_path / "back", lambda _name, _size: None
        )
        await asyncio.to_thread(store.close)
    assert verify(FolderRecording(copied.folder)).verdict is Verdict.COMPLETE


async def leader_of_three(recorder: RunningRecorder, stream: str) -> str:
    """The name of the server that leads a stream; for moments there may be none."""
    async with asyncio.timeout(DEADLINE_S):
        while True:
            info = await recorder.jetstream.stream_info(stream)
            assert info.config.num_replicas == 3
            if info.cluster is not None and info.cluster.leader:
                return info.cluster.leader
            await asyncio.sleep(0.1)


async def stopped(client: RecorderClient, session_id: str) -> None:
    """Ask for the end; each stream of the cluster has another leader in its own time."""
    async with asyncio.timeout(DEADLINE_S):
        while True:
            with suppress(BusUnavailableError):
                await client.stop(session_id)
                return
            await asyncio.sleep(0.1)


async def captured_behind(client: RecorderClient, session_id: str, t_ns: int) -> None:
    """Wait until more is captured; the cluster needs some seconds for another leader."""
    async with asyncio.timeout(DEADLINE_S):
        while True:
            with suppress(BusUnavailableError):
                last = await client.last(Fact.CAPTURED, session_id)
                if isinstance(last, Captured) and last.cursor.t_ns > t_ns:
                    return
            await asyncio.sleep(0.1)


async def stored(jetstream: JetStreamContext, stream: str) -> list[tuple[str, bytes]]:
    """All that a stream holds: subject and data, by sequence."""
    info = await jetstream.stream_info(stream)
    found = []
    for sequence in range(1, info.state.last_seq + 1):
        message = await jetstream.get_msg(stream, sequence)
        found.append((message.subject or "", message.data or b""))
    return found


async def until_same(hub: JetStreamContext, edge: JetStreamContext) -> dict[str, list[str]]:
    """Wait until the hub has every fact of the edge; the subjects in each stream."""
    found = {}
    for stream in MIRRORED:
        async with asyncio.timeout(LINK_S):
            # The edge may still write, behind a seal for example.
            while (held := await stored(hub, mirror_name("edge-7", stream))) != await stored(
                edge, stream
            ):
                await asyncio.sleep(0.1)
        found[stream] = [subject for subject, _ in held]
    return found


def sealed_in(facts: dict[str, list[str]]) -> int:
    return sum(subject.startswith("session.sealed.") for subject in facts["SESSIONS"])


@pytest.mark.timeout(300)
async def test_an_edge_records_while_the_hub_is_away_and_the_hub_gets_every_fact(
    tmp_path: Path,
) -> None:
    hub_port, leaf_port, edge_port = free_port(), free_port(), free_port()
    hub = server(
        "nats-hub.conf",
        tmp_path / "hub",
        hub_port,
        NATS_LEAF_LISTEN=f'"127.0.0.1:{leaf_port}"',
        NATS_LEAF_PASSWORD="between-us",
    )
    edge = server(
        "nats-leaf.conf",
        tmp_path / "edge",
        edge_port,
        NATS_DOMAIN="edge-7",
        NATS_HUB=f'"nats-leaf://edge:between-us@127.0.0.1:{leaf_port}"',
    )
    edge_url, hub_url = f"nats://127.0.0.1:{edge_port}", f"nats://127.0.0.1:{hub_port}"
    settings = settings_in(tmp_path / "recorder")
    beside = msgspec.structs.replace(settings.nats, url=edge_url)
    short = {**LONG, "frames": 30, "pace": "fast"}
    with edge:
        async with RunningRecorder(msgspec.structs.replace(settings, nats=beside)) as recorder:
            with hub:
                made = run_recorder(
                    "streams", "mirror", "edge-7", "--nats", hub_url, folder=tmp_path
                )
                assert made.returncode == 0, made.stderr
                assert "stream EDGE-7_SESSIONS is not there: made" in made.stdout
                again = run_recorder(
                    *("streams", "mirror", "edge-7", "--check", "--nats", hub_url),
                    folder=tmp_path,
                )
                assert (again.returncode, again.stdout) == (0, "everything is as declared\n")
                async with connected(hub_url) as bus:
                    heard = await bus.subscribe("session.>")
                    await recorder.record(short)
                    first = await until_same(bus.jetstream(), recorder.jetstream)
                    # What happens at the edge is no event of the hub's own, and the hub's commands
                    # are none of the edge's.
                    await bus.publish("session.start", b'{"source":{"kind":"pattern"}}')
                    await bus.flush()
                    assert (await heard.next_msg(DEADLINE_S)).subject == "session.start"
                    assert heard.pending_msgs == 0
            # Nobody there to tell: it records all the same.
            for _ in range(2):
                _, report = await recorder.record(short)
                assert report.verdict is Verdict.COMPLETE
            with hub:
                async with connected(hub_url) as bus:
                    second = await until_same(bus.jetstream(), recorder.jetstream)
            assert len(await recorder.client.sessions()) == 3
    assert (sealed_in(first), sealed_in(second)) == (1, 3)
    assert [len(second[stream]) > len(first[stream]) for stream in ("REGISTER", "INTEGRATION")] == [
        True,
        True,
    ]


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[Client]:
    bus = await nats.connect(url)
    try:
        yield bus
    finally:
        await bus.close()
