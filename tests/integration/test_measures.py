"""What is measured of a real recorder, also of a stage that runs nowhere, and what it logs."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]
from nats_process import NatsProcess
from running_recorder import DEADLINE_S, POLL_S, RunningRecorder, settings_in, until
from worker_process import WorkerProcess, run_recorder

from recorder_worker.bus.rights import stage_rights
from recorder_worker.bus.sessions import roster
from recorder_worker.bus.sessions.roster import SessionRoster, SessionState
from recorder_worker.core.subjects import Fact
from recorder_worker.service.observing import sampling
from recorder_worker.service.settings.storage import StorageSettings
from recorder_worker.service.settings.tree import NatsSettings, Settings
from recorder_worker.service.worker import Worker

ROOT = Path(__file__).parents[2]
SMALL = {"kind": "pattern", "width": 64, "height": 48}


def value(worker: Worker, name: str, **labels: str) -> float:
    return worker.metrics.registry.get_sample_value(f"recorder_{name}", labels) or 0.0


@asynccontextmanager
async def running(settings: Settings) -> AsyncIterator[Worker]:
    worker = Worker(settings)
    await worker.start()
    try:
        yield worker
    finally:
        await worker.stop()


async def test_every_check_of_a_worker_is_in_the_table_of_what_to_do(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    table = page.partition("### What to do when /readyz says")[2].partition("\n## ")[0]
    told = {
        name
        for line in table.splitlines()
        if line.startswith("| `")
        for name in re.findall(r"`([a-z]+(?:\.[a-zA-Z]+)?)`", line.split("|")[1])
    }
    (tmp_path / "second").mkdir()
    storage = StorageSettings(kind="directory", directory=str(tmp_path / "second"))
    async with RunningRecorder(settings_in(tmp_path / "data", storage=storage)) as recorder:
        _, checks = recorder._worker._health.ready()
        assert {check.name for check in checks} == told


async def test_a_stage_that_runs_nowhere_is_seen_by_its_lag_and_all_is_well_when_it_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(roster, "SUSPICIOUS_NS", 1_000_000_000)
    monkeypatch.setattr(sampling, "SAMPLE_S", 0.2)
    with NatsProcess(tmp_path / "nats") as server:
        nats = NatsSettings(url=server.url, max_bytes=2**30)
        all_stages = settings_in(tmp_path, nats=nats)
        some = msgspec.structs.replace(all_stages, stages=("capture", "chunk", "merkle"))
        async with RunningRecorder(some) as recorder:
            worker = recorder._worker
            started = await recorder.client.start(SMALL)
            await recorder.captured(started.session_id, beyond_ns=500_000_000)
            await until(lambda: value(worker, "stage_lag_seconds", stage="compress") > 1)
            assert value(worker, "stage_pending", stage="compress") >= 1
            # Nothing is signed: not even OPEN has come through.
            await until(lambda: value(worker, "checkpoint_age_seconds") > 1)
            await until(lambda: value(worker, "sessions_known", state="recording") == 1)
            await until(lambda: value(worker, "spool_segments") >= 2)
            assert value(worker, "spool_bytes") > 100
            assert value(worker, "log_entries") == 0
            rest = msgspec.structs.replace(all_stages, stages=("compress",))
            async with running(rest) as other:
                await until(lambda: value(worker, "stage_lag_seconds", stage="compress") == 0)
                await until(lambda: value(worker, "log_entries") == 1)
                await recorder.client.stop(started.session_id)
                await recorder.sealed(started.session_id)
                await until(lambda: value(worker, "sessions_known", state="sealed") == 1)
                await until(lambda: value(worker, "spool_segments") == 0)
                await until(lambda: value(worker, "log_entries") == 2)
                assert value(worker, "checkpoint_age_seconds") == 0
                assert value(other, "chunk_ratio_count") >= 1
                plain, stored = (
                    value(other, "chunk_plain_bytes_total"),
                    value(other, "stored_bytes_total"),
                )
                assert plain > stored > 0
            for stage, direction in (("capture", "in"), ("capture", "out"), ("merkle", "out")):
                counted = value(worker, "message_bytes_total", stage=stage, direction=direction)
                assert counted > 100, (stage, direction)
            for stream in stage_rights.WATCHED_STREAMS:
                assert value(worker, "stream_max_bytes", stream=stream) > 0
            assert value(worker, "stream_messages", stream="SESSIONS") > 5
            assert value(worker, "bus_connected") == 1
            server.kill()
            await until(lambda: value(worker, "bus_connected") == 0)
            server.start()
            await until(lambda: value(worker, "bus_reconnects_total") == 1)
            await until(lambda: value(worker, "bus_connected") == 1)


async def test_a_redelivery_is_counted_and_seen_while_it_waits(tmp_path: Path) -> None:
    async with RunningRecorder(settings_in(tmp_path)) as recorder:
        worker = recorder._worker
        # A leaf whose predecessors will never come waits for its turn.
        await recorder.jetstream.publish(
            Fact.COMPRESSED.of("0192aaaa-0000-7000-8000-000000000009"),
            b'{"type":"beat","v":1,"session_id":"0192aaaa-0000-7000-8000-000000000009","index":5,'
            b'"captured":5,"unit":1,"t_ns":1,"wall_ns":1}',
        )
        await until(lambda: value(worker, "redeliveries_total", stage="merkle") >= 2)
        await until(
            lambda: (
                value(worker, "stage_redelivered_pending", stage="merkle") == 1
                and value(worker, "stage_lag_seconds", stage="merkle") > 0
            )
        )


async def test_the_roster_is_bounded_and_finds_the_newest_at_its_first_look(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(roster, "KEPT_SESSIONS", 4)
    monkeypatch.setattr(roster, "KEPT_SEALED", 2)
    async with RunningRecorder(settings_in(tmp_path)) as recorder:
        sealed = [(await recorder.record({**SMALL, "frames": 2, "pace": "fast"}))[0] for _ in "123"]
        running_id = (await recorder.client.start(SMALL)).session_id
        await recorder.captured(running_id)
        async with asyncio.timeout(DEADLINE_S):
            while not await recorder.facts(Fact.NUMBERED, running_id):
                await asyncio.sleep(POLL_S)
        fresh = SessionRoster(lambda: recorder.jetstream)
        found = await fresh.look(closely=True)
        assert [seen.session_id for seen in found] == [running_id, *sealed[:0:-1]]
        assert [seen.number for seen in found] == [4, 3, 2]
        assert found[0].state is SessionState.RECORDING
        assert {seen.reason for seen in found[1:]} == {"source_ended"}
        await recorder.client.stop(running_id)
        await recorder.sealed(running_id)
        again = await fresh.look(closely=True)
        assert [seen.state for seen in again] == [SessionState.SEALED] * 2


def test_every_line_of_a_worker_is_of_the_schema(tmp_path: Path) -> None:
    schema = Draft202012Validator(json.loads((ROOT / "schemas" / "log.json").read_bytes()))
    env = {"RECORDER_DISK__FLOOR_BYTES": "1", "RECORDER_LOG__LEVEL": "debug"}
    with WorkerProcess(tmp_path, env=env) as worker:
        ended = run_recorder(
            "start", "pattern", "--frames", "5", "--pace", "fast", "--nats", worker.nats_url,
            folder=tmp_path,
        )  # fmt: skip
        assert ended.returncode == 0, ended.stderr
        session_id = ended.stdout.strip()
        worker.logged("SessionSealed", session_id=session_id)
        worker.logged("SessionLogged", kind="seal")
        refused = run_recorder("pause", session_id, "--nats", worker.nats_url, folder=tmp_path)
        assert refused.returncode != 0
        worker.logged("CommandRejected")
        began_s = time.monotonic()
        assert worker.terminate() == 0
        assert time.monotonic() - began_s < 30
    assert len(worker.lines) > 10
    for line in worker.lines:
        schema.validate(line)
    named = {line["event"] for line in worker.lines}
    assert named >= {"WorkerStarted", "LeaseTaken", "SessionSealed", "NatsServerSaid"}
    assert {line["level"] for line in worker.lines} >= {"debug", "info", "warning"}
