"""Storage and node reports on a running recorder, and that nothing waits for an integration."""

from __future__ import annotations

import asyncio
import json
import urllib.request
from collections.abc import AsyncIterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import msgspec
import pytest
import pytest_asyncio
from nats.errors import NoRespondersError
from nats.js.api import StreamConfig
from nats.js.errors import NotFoundError
from nats_process import NatsProcess
from running_recorder import DEADLINE_S, POLL_S, RunningRecorder, settings_in

from recorder_worker.bus import codec
from recorder_worker.bus.micro_service import MicroService
from recorder_worker.bus.streams import topology
from recorder_worker.bus.streams.topology import INTEGRATION_STREAM, NODES_STREAM, SESSIONS_STREAM
from recorder_worker.core.events import (
    Event,
    IntegrityFailed,
    LeaseReleased,
    NodeDraining,
    NodeHeartbeat,
    NodeRegistered,
    SessionStored,
)
from recorder_worker.core.subjects import SESSIONS_BUCKET, Endpoint, Fact
from recorder_worker.core.verify.verdicts import Verdict
from recorder_worker.integrations import session_entries, storage
from recorder_worker.service.settings.tree import CaptureSettings, NatsSettings, NodeSettings

SMALL = {"kind": "pattern", "width": 16, "height": 16, "pace": "fast", "frames": 3}
LIVE = {"kind": "pattern", "width": 16, "height": 16}
BUCKET_STREAM = f"KV_{SESSIONS_BUCKET}"

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def recorder(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningRecorder]:
    settings = settings_in(
        tmp_path_factory.mktemp("recorder"),
        capture=CaptureSettings(segment_s=0.25, retry_s=1.0, checkpoint_s=1.0),
        nodes=NodeSettings(heartbeat_s=0.2),
    )
    async with RunningRecorder(settings) as running:
        yield running


async def told(recorder: RunningRecorder, fact: Fact, session_id: str) -> Event:
    """A fact about a session, on a subject that is one for all."""
    subscription = await recorder.jetstream.subscribe(
        fact.wildcard, stream=topology.STREAM_OF[fact], ordered_consumer=True
    )
    try:
        async with asyncio.timeout(DEADLINE_S):
            while True:
                message = await subscription.next_msg(timeout=DEADLINE_S)
                if json.loads(message.data)["session_id"] == session_id:
                    return codec.decode(fact, message.data)
    finally:
        await subscription.unsubscribe()


async def deliver_again(recorder: RunningRecorder, consumer: str) -> None:
    """Let a consumer have everything again, as behind the loss of all its acknowledgements."""
    await recorder.jetstream.delete_consumer(SESSIONS_STREAM, consumer)


# --- session storage ------------------------------------------------------------------------------


async def test_a_sealed_session_is_told_as_stored_with_what_its_folder_has(
    recorder: RunningRecorder,
) -> None:
    session_id, report = await recorder.record(SMALL)
    stored = await told(recorder, Fact.STORED, session_id)
    assert isinstance(stored, SessionStored)
    folder = recorder.folder(session_id)
    assert Path(stored.location) == folder
    seal = (folder / "seal").read_bytes()
    assert (stored.seal_sha256, stored.seal_size) == (sha256(seal).hexdigest(), len(seal))
    assert stored.records_size == (folder / "records").stat().st_size
    assert stored.checkpoints_size == (folder / "checkpoints").stat().st_size
    chunks = [path.stat().st_size for path in (folder / "chunks").iterdir()]
    assert (stored.chunk_count, stored.chunk_bytes) == (len(chunks), sum(chunks))
    assert stored.root_hash == report.root_hash


async def test_a_sealed_folder_that_is_not_all_there_is_told_as_such(
    recorder: RunningRecorder,
) -> None:
    session_id, _ = await recorder.record(SMALL)
    await told(recorder, Fact.STORED, session_id)
    chunk = next((recorder.folder(session_id) / "chunks").iterdir())
    chunk.unlink()
    await deliver_again(recorder, "storage")
    failed = await told(recorder, Fact.INTEGRITY_FAILED, session_id)
    assert isinstance(failed, IntegrityFailed)
    assert (failed.stage, failed.problem) == ("storage", "incomplete")
    assert "expected 1 files" in failed.detail
    assert "found 0 of 0" in failed.detail


async def test_a_sealed_folder_without_its_seal_is_told_as_missing(
    recorder: RunningRecorder,
) -> None:
    session_id, _ = await recorder.record(SMALL)
    await told(recorder, Fact.STORED, session_id)
    (recorder.folder(session_id) / "seal").unlink()
    await deliver_again(recorder, "storage")
    failed = await told(recorder, Fact.INTEGRITY_FAILED, session_id)
    assert isinstance(failed, IntegrityFailed)
    assert failed.problem == "missing"


async def test_redelivery_tells_a_stored_session_once(recorder: RunningRecorder) -> None:
    session_id, _ = await recorder.record(SMALL)
    await told(recorder, Fact.STORED, session_id)
    await deliver_again(recorder, "storage")
    other, _ = await recorder.record(SMALL)
    # Behind the one of a later session, all before have been handled again.
    await told(recorder, Fact.STORED, other)
    facts = [event.session_id for event in await _stored(recorder)]
    assert facts.count(session_id) == 1


async def _stored(recorder: RunningRecorder) -> list[SessionStored]:
    found = await recorder.facts(Fact.STORED, "")
    return [event for event in found if isinstance(event, SessionStored)]


# --- nothing waits for an integration -------------------------------------------------------------


async def seals_and_is_ready(recorder: RunningRecorder) -> str:
    """A session goes its way as if nothing was, and the worker stays ready for more."""
    session_id, report = await recorder.record(SMALL)
    assert report.verdict is Verdict.COMPLETE
    url = f"http://127.0.0.1:{recorder.sidecar_port}/readyz"
    async with asyncio.timeout(DEADLINE_S):
        while not await asyncio.to_thread(_ready, url):
            await asyncio.sleep(POLL_S)
    return session_id


def _ready(url: str) -> bool:
    try:
        urllib.request.urlopen(url, timeout=5).close()
    except OSError:
        return False
    return True


async def test_handlers_that_raise_for_ever_hold_up_no_session(
    recorder: RunningRecorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise ValueError("a defect")

    monkeypatch.setattr(storage.StoredSessions, "_look", broken)
    monkeypatch.setattr(session_entries, "merged", broken)
    for _ in range(3):
        await seals_and_is_ready(recorder)
    for consumer in ("storage", "table"):
        await fails_and_waits(recorder, consumer)


async def fails_and_waits(recorder: RunningRecorder, consumer: str) -> None:
    """Nobody waits for an integration, so that its first message may come behind the seals."""
    async with asyncio.timeout(DEADLINE_S):
        while True:
            info = await recorder.jetstream.consumer_info(SESSIONS_STREAM, consumer)
            if info.num_redelivered or info.num_ack_pending:
                return
            await asyncio.sleep(POLL_S)


async def test_a_bucket_that_is_gone_holds_up_no_session_and_is_filled_later(
    recorder: RunningRecorder,
) -> None:
    config = (await recorder.jetstream.stream_info(BUCKET_STREAM)).config
    await recorder.jetstream.delete_stream(BUCKET_STREAM)
    session_id = await seals_and_is_ready(recorder)
    await recorder.jetstream.add_stream(_plain(config))
    bucket = await recorder.jetstream.key_value(SESSIONS_BUCKET)
    async with asyncio.timeout(DEADLINE_S):
        while not await _has(bucket, session_id):
            await asyncio.sleep(POLL_S)


async def _has(bucket: Any, key: str) -> bool:  # noqa: ANN401  (nats-py's bucket)
    try:
        found: dict[str, Any] = json.loads((await bucket.get(key)).value)
    except NotFoundError:
        return False
    state: str = found["state"]
    return state == "sealed"


def _plain(config: StreamConfig) -> StreamConfig:
    return next(stream for stream in topology.streams(LIMITS) if stream.name == config.name)


LIMITS = topology.StreamLimits(
    replicas=1, max_age_s=3600, max_bytes=100_000_000, duplicate_window_s=120
)


async def test_a_full_integration_stream_forgets_and_holds_up_no_session(
    recorder: RunningRecorder,
) -> None:
    """Nobody reads it: an engine that is away for good costs its own facts, and nothing else."""
    config = (await recorder.jetstream.stream_info(INTEGRATION_STREAM)).config
    limit = config.max_bytes
    config.max_bytes = 4_000
    await recorder.jetstream.update_stream(config)
    try:
        for _ in range(3):
            session_id = await seals_and_is_ready(recorder)
        await told(recorder, Fact.STORED, session_id)
        state = (await recorder.jetstream.stream_info(INTEGRATION_STREAM)).state
        assert state.bytes <= 4_000
    finally:
        config.max_bytes = limit
        await recorder.jetstream.update_stream(config)


async def test_node_reports_that_nobody_takes_hold_up_no_session(
    recorder: RunningRecorder,
) -> None:
    config = (await recorder.jetstream.stream_info(NODES_STREAM)).config
    await recorder.jetstream.delete_stream(NODES_STREAM)
    await seals_and_is_ready(recorder)
    await recorder.jetstream.add_stream(_plain(config))
    subscription = await recorder.jetstream.subscribe(
        Fact.NODE_HEARTBEAT.wildcard, stream=NODES_STREAM, ordered_consumer=True
    )
    beat = codec.decode(Fact.NODE_HEARTBEAT, (await subscription.next_msg(DEADLINE_S)).data)
    assert isinstance(beat, NodeHeartbeat)
    await subscription.unsubscribe()


async def test_a_gateway_whose_table_is_gone_says_so(recorder: RunningRecorder) -> None:
    config = (await recorder.jetstream.stream_info(BUCKET_STREAM)).config
    await recorder.jetstream.delete_stream(BUCKET_STREAM)
    try:
        message = await recorder.bus.request(Endpoint.LIST.value, b"", timeout=DEADLINE_S)
        assert (message.headers or {})["Nats-Service-Error-Code"] == "503"
    finally:
        await recorder.jetstream.add_stream(_plain(config))


async def test_an_integration_that_does_not_start_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_: object) -> None:
        raise RuntimeError("no services on this server")

    monkeypatch.setattr(MicroService, "start", broken)
    async with RunningRecorder(settings_in(tmp_path)) as without:
        session_id = await seals_and_is_ready(without)
        await told(without, Fact.STORED, session_id)
        with pytest.raises(NoRespondersError):
            await without.bus.request(Endpoint.LIST.value, b"", timeout=DEADLINE_S)


# --- node manager ---------------------------------------------------------------------------------


async def test_a_worker_registers_beats_and_drains_before_its_leases_go_back(
    tmp_path: Path,
) -> None:
    with NatsProcess(tmp_path / "nats") as nats:
        settings = settings_in(
            tmp_path / "data",
            nats=NatsSettings(url=nats.url),
            capture=CaptureSettings(segment_s=0.1, capacity=3),
            nodes=NodeSettings(heartbeat_s=0.2),
        )
        settings = msgspec.structs.replace(settings, node="lab.one")
        async with RunningRecorder(settings) as running:
            started = await running.client.start(LIVE, fps=20)
            session_id = started.session_id
            beat = await _beat_with(running, session_id)
            registered = codec.decode(
                Fact.NODE_REGISTERED, await _last(running, Fact.NODE_REGISTERED)
            )
            bus = await _stay_connected(nats.url)
        # The worker is gone; the server, which is not its own, has all that it said.
        draining = await bus.jetstream().get_last_msg(NODES_STREAM, Fact.NODE_DRAINING.wildcard)
        released = await bus.jetstream().get_last_msg(SESSIONS_STREAM, Fact.CAPTURED.of(session_id))
        await bus.close()
    assert isinstance(registered, NodeRegistered)
    assert (registered.node, registered.capacity, registered.sessions) == ("lab.one", 3, ())
    assert registered.stages == ("capture", "chunk", "compress", "merkle")
    assert registered.load.memory_total_bytes > registered.load.process_memory_bytes > 0
    assert registered.load.disk_total_bytes > registered.load.disk_free_bytes > 0
    assert beat.worker == registered.worker
    assert beat.worker.startswith("lab_one_")
    assert 0 < beat.since_s < DEADLINE_S
    last = codec.decode(Fact.NODE_DRAINING, draining.data or b"")
    assert isinstance(last, NodeDraining)
    assert (last.worker, last.sessions) == (beat.worker, (session_id,))
    assert isinstance(codec.decode(Fact.CAPTURED, released.data or b""), LeaseReleased)
    assert draining.time is not None
    assert released.time is not None
    assert draining.time < released.time


async def _beat_with(running: RunningRecorder, session_id: str) -> NodeHeartbeat:
    """A heartbeat of the worker that records a session, with frames of it."""
    subscription = await running.jetstream.subscribe(
        Fact.NODE_HEARTBEAT.wildcard, stream=NODES_STREAM, ordered_consumer=True
    )
    numbers = []
    async with asyncio.timeout(DEADLINE_S):
        while True:
            message = await subscription.next_msg(DEADLINE_S)
            beat = codec.decode(Fact.NODE_HEARTBEAT, message.data)
            assert isinstance(beat, NodeHeartbeat)
            numbers.append(beat.beat)
            if session_id in beat.sessions and beat.frames and beat.messages:
                assert numbers == list(range(1, len(numbers) + 1))
                return beat


async def _last(running: RunningRecorder, fact: Fact) -> bytes:
    message = await running.jetstream.get_last_msg(NODES_STREAM, fact.wildcard)
    return message.data or b""


async def _stay_connected(url: str) -> Any:  # noqa: ANN401  (nats-py's client)
    import nats  # noqa: PLC0415  (the name is a server above)

    return await nats.connect(url)
