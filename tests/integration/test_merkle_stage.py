"""Sessions that the merkle stage cannot go on with: said aloud, and nobody else waits for them."""

from __future__ import annotations

import asyncio
import json
import urllib.error
import urllib.request
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from nats_process import NatsProcess
from running_recorder import RunningRecorder, settings_in, until
from worker_process import WorkerProcess

from recorder_worker import __version__
from recorder_worker.adapters.device_key import FileSigner
from recorder_worker.adapters.device_key.cipher_keys import CipherKeyFiles
from recorder_worker.adapters.directory_store import DirectoryStore
from recorder_worker.adapters.system_clock import SystemClock
from recorder_worker.bus.bus import StreamFill
from recorder_worker.core import keys
from recorder_worker.core.errors import FormatError, OutOfOrderError, PermanentError, StoreError
from recorder_worker.core.events import (
    CompressedEvent,
    EndLeaf,
    Event,
    MarkLeaf,
    SessionIncident,
)
from recorder_worker.core.records.ledger import apply
from recorder_worker.core.subjects import Fact
from recorder_worker.core.verify.verdicts import Verdict
from recorder_worker.ports import Logged
from recorder_worker.service.observing.metrics import Metrics
from recorder_worker.service.observing.watch import stream_check
from recorder_worker.service.settings.tree import ChunkSettings, NatsSettings, RetrySettings
from recorder_worker.stages.merkle.archive import Archive
from recorder_worker.stages.merkle.stage import MerkleStage

PATTERN = {"kind": "pattern", "width": 64, "height": 48, "seed": 3}
RETRY = RetrySettings(backoff_s=(0.05,), max_deliver=3)
CHUNK = ChunkSettings(duration_s=1)


async def test_an_unreadable_segment_becomes_a_gap_and_others_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    session_id, bad = str(uuid.uuid4()), list[str]()
    stream = DirectoryStore.stream

    def broken(self: DirectoryStore, key: str) -> Iterator[bytes]:
        if key.startswith(keys.blob_key(session_id, keys.SEGMENTS)):
            bad.append(key)  # the first one that is read is bad
        if key in bad[:1]:
            raise StoreError(f"cannot read {key}: Input/output error")
        yield from stream(self, key)

    monkeypatch.setattr(DirectoryStore, "stream", broken)
    async with RunningRecorder(settings_in(tmp_path, retry=RETRY, chunk=CHUNK)) as recorder:
        async with recorder.bystander():
            await recorder.client.start(PATTERN, fps=20, session_id=session_id)
            await recorder.captured(session_id, 1_500_000_000)
            await recorder.client.stop(session_id)
            await recorder.sealed(session_id)
        await recorder.nothing_is_left()
        report = recorder.report(session_id)
    assert report.verdict is Verdict.COMPLETE_WITH_GAPS
    (gap,) = report.gaps
    assert gap.reason == "dead_letter"
    assert "Input/output error" in gap.detail


async def test_a_leaf_that_does_not_fit_the_tree_is_an_incident_and_nothing_waits_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:

    def refusing(context: Any, state: Any, leaf: CompressedEvent) -> Any:  # noqa: ANN401  (passed on)
        if isinstance(leaf, MarkLeaf) and "poison" in leaf.body:
            raise FormatError("does not fit a record")
        return apply(context, state, leaf)

    monkeypatch.setattr("recorder_worker.stages.merkle.stage.apply", refusing)
    async with RunningRecorder(settings_in(tmp_path, retry=RETRY, chunk=CHUNK)) as recorder:
        async with recorder.bystander():
            started = await recorder.client.start(PATTERN, fps=20)
            session_id = started.session_id
            await recorder.captured(session_id)
            await recorder.client.mark(session_id, "poison")
            await recorder.captured(session_id, 1_500_000_000)
            await recorder.client.stop(session_id)
        await recorder.nothing_is_left()
        (incident,) = await recorder.facts(Fact.INCIDENT, session_id)
        assert isinstance(incident, SessionIncident)
        assert "does not fit a record" in incident.detail
        assert await recorder.client.last(Fact.SEALED, session_id) is None
        assert await recorder.dead_letter_count() >= 2


async def test_a_foreign_seal_stops_the_session_and_nothing_is_removed(tmp_path: Path) -> None:
    async with RunningRecorder(settings_in(tmp_path, retry=RETRY)) as recorder:
        started = await recorder.client.start(PATTERN, fps=20)
        session_id = started.session_id
        await recorder.captured(session_id)
        (recorder.folder(session_id) / "seal").write_bytes(b"of another session\n")
        await recorder.client.stop(session_id)
        await recorder.nothing_is_left()
        (incident,) = await recorder.facts(Fact.INCIDENT, session_id)
        assert isinstance(incident, SessionIncident)
        assert "found another one" in incident.detail
        compressed = await recorder.facts(Fact.COMPRESSED, session_id)
    leaves = list((recorder.folder(session_id) / "journal" / "leaves").iterdir())
    assert len(leaves) == len(compressed)


async def test_a_log_of_sessions_that_cannot_go_on_stops_no_recording(tmp_path: Path) -> None:
    async with RunningRecorder(settings_in(tmp_path, retry=RETRY)) as recorder:
        await recorder.record(PATTERN | {"frames": 3, "pace": "fast"})
        await recorder.nothing_is_left()
        (tmp_path / "log").rename(tmp_path / "log taken away")
        for _ in range(3):
            source = PATTERN | {"frames": 20, "pace": "fast"}
            session_id, report = await recorder.record(source, fps=5)
            assert report.verdict is Verdict.COMPLETE
        await recorder.nothing_is_left()
        incidents = await recorder.facts(Fact.INCIDENT, session_id)
        assert {type(found) for found in incidents} == {SessionIncident}
        assert {getattr(found, "stage", "") for found in incidents} == {"log"}


# --- the stage alone ------------------------------------------------------------------------------


class FrozenLog:
    """An event log with what the test puts there."""

    def __init__(self, **last: Event) -> None:
        self.held = last

    async def last(self, fact: Fact, session_id: str) -> Logged | None:
        del session_id
        event = self.held.get(fact.name)
        return Logged(event, 1, "key") if event else None

    async def read(self, fact: Fact, session_id: str, after: int = 0) -> AsyncIterator[Logged]:
        del after
        held = await self.last(fact, session_id)
        if held is not None:
            yield held

    async def append(
        self, fact: Fact, session_id: str, event: Event, *, key: str, after: int
    ) -> int:
        raise NotImplementedError

    async def last_of_all(self, fact: Fact) -> Logged | None:
        return await self.last(fact, "")

    async def append_to_all(
        self, fact: Fact, session_id: str, event: Event, *, key: str, after: int
    ) -> int:
        raise NotImplementedError

    async def emit(self, fact: Fact, session_id: str, event: Event, *, key: str) -> None:
        del session_id, key
        self.held[fact.name] = event


async def test_stored_records_are_read_once_and_an_incident_ends_the_waiting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = settings_in(tmp_path)
    async with RunningRecorder(settings) as recorder:
        session_id, _ = await recorder.record(PATTERN | {"frames": 20, "pace": "fast"})
        compressed = await recorder.facts(Fact.COMPRESSED, session_id)
        (end,) = [leaf for leaf in compressed if isinstance(leaf, EndLeaf)]
        log = FrozenLog(
            HEAD=(await recorder.facts(Fact.HEAD, session_id))[-1],
            CHECKPOINT=(await recorder.facts(Fact.CHECKPOINT, session_id))[-1],
            SEALED=(await recorder.facts(Fact.SEALED, session_id))[-1],
        )
    reads = []
    records = Archive.records

    def counted(self: Archive, size: int) -> list[bytes]:
        reads.append(size)
        return records(self, size)

    monkeypatch.setattr(Archive, "records", counted)
    signer = FileSigner(settings.device_key_path)
    stage = MerkleStage(
        log=log,
        store=DirectoryStore(settings.data_path),
        signer=signer,
        cipher_keys=CipherKeyFiles(settings.keys_path / "ciphers"),
        clock=SystemClock(),
        metrics=Metrics(version=__version__, node="test"),
        recorder=signer.recorder,
    )
    early = msgspec.structs.replace(end, index=end.index + 5)
    for _ in range(3):
        with pytest.raises(OutOfOrderError):
            await stage.handle(early)
    assert len(reads) == 1
    await stage.give_up(end, "it has been applied")
    assert "INCIDENT" not in log.held
    sealed = log.held.pop("SEALED")
    await stage.give_up(end, "a defect")
    log.held["SEALED"] = sealed
    with pytest.raises(PermanentError, match=r"signing has stopped: .*a defect"):
        await stage.handle(early)


# --- a full stream, and a stop without a server ---------------------------------------------------


@pytest.mark.parametrize(
    ("stored", "most", "ok"), [(94, 100, True), (95, 100, False), (9, 0, True), (9, -1, True)]
)
def test_a_stream_is_full_at_95_percent_of_its_limit(stored: int, most: int, ok: bool) -> None:
    check = stream_check("stream.SESSIONS", StreamFill(stored, most))
    assert check.ok is ok
    assert ok or "raise nats.max_bytes or lower nats.max_age_s" in check.detail


async def test_a_recorder_whose_events_stream_is_full_is_not_ready_and_says_what_to_do(
    tmp_path: Path,
) -> None:
    small = NatsSettings(port=-1, max_bytes=30_000)
    async with RunningRecorder(settings_in(tmp_path, nats=small)) as recorder:
        port = recorder._worker.sidecar.port
        assert await asyncio.to_thread(_failing, port) == {}
        await recorder.client.start(PATTERN, fps=20)
        found: dict[str, str] = {}

        async def look() -> None:
            while "stream.SESSIONS" not in found:
                found.update(await asyncio.to_thread(_failing, port))
                await asyncio.sleep(0.1)

        await asyncio.wait_for(look(), 60)
    assert "raise nats.max_bytes" in found["stream.SESSIONS"]


def _failing(port: int) -> dict[str, str]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=30):
            return {}
    except urllib.error.HTTPError as error:
        checks = json.loads(error.read())["checks"]
        return {check["name"]: check["detail"] for check in checks if not check["ok"]}


@pytest.mark.parametrize("recording", [False, True])
async def test_a_worker_whose_nats_is_away_ends_in_order_and_in_time(
    tmp_path: Path,
    recording: bool,
) -> None:
    with NatsProcess(tmp_path / "nats") as server:
        env = {"RECORDER_NATS__URL": server.url, "RECORDER_DISK__FLOOR_BYTES": "1"}
        with WorkerProcess(tmp_path, env=env) as worker:
            if recording:
                await _start(server.url)
                await asyncio.to_thread(worker.logged, "LeaseTaken")
            server.kill()
            await until(lambda: bool(_failing(worker.sidecar_port).get("bus")))
            loop = asyncio.get_running_loop()
            begin_s = loop.time()
            code = await asyncio.to_thread(worker.terminate)
            took_s = loop.time() - begin_s
            assert code == 0, worker.text
            assert took_s < 30, worker.text  # 8 s, where the machine has nothing else to do
            assert worker.logged("StopAbandoned", what="bus")
            assert "Traceback" not in worker.text


async def _start(url: str) -> None:
    from recorder_worker.client import RecorderClient  # noqa: PLC0415  (one test needs it)

    async with RecorderClient.connect(url) as client:
        await client.start(PATTERN, fps=10)
