"""kill -9 while audit events are entered in the log: each stands in the trail, once, in order."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import msgspec
import nats
import nats.errors
import nats.js.errors
import pytest
from nats.js import JetStreamContext
from nats_process import NatsProcess
from running_recorder import until
from worker_process import WorkerProcess, run_recorder

from recorder_worker.bus.streams.topology import AUDIT_STREAM
from recorder_worker.cli.data_directory import DataDirectory
from recorder_worker.core.audit_trail.listing import rows
from recorder_worker.core.events import RecordingViewed
from recorder_worker.core.log_audit.audit import audit_log
from recorder_worker.core.subjects import Fact

ROUNDS = 6
EVENTS_A_ROUND = 5

pytestmark = pytest.mark.timeout(300)


def view(number: int) -> bytes:
    return msgspec.json.encode(
        RecordingViewed(
            actor=f"kim-{number}",
            role="ADMIN",
            session_id="unknown",
            node="vm",
            wall_ns=number,
            what="list",
        )
    )


async def publish(jetstream: JetStreamContext, number: int) -> None:
    """Until it is stored, under one id: as the recorder does while a server is away."""
    while True:
        try:
            await jetstream.publish(
                Fact.AUDIT_VIEWED.value,
                view(number),
                stream=AUDIT_STREAM,
                headers={"Nats-Msg-Id": f"view {number}"},
            )
        except (TimeoutError, nats.errors.Error, nats.js.errors.Error, OSError):
            await asyncio.sleep(0.05)
            continue
        return


async def test_every_audit_event_is_entered_once_behind_kills(tmp_path: Path) -> None:
    data = tmp_path / "data"
    server = NatsProcess(tmp_path / "nats")
    env = {
        "RECORDER_NATS__URL": server.url,
        "RECORDER_DATA_DIR": str(data),
        "RECORDER_DISK__FLOOR_BYTES": "0",
        "RECORDER_AUDIT__DIGEST_S": "0.2",
        "RECORDER_NATS__MAX_BYTES": "100000000",
    }
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
    with (
        server,
        WorkerProcess(tmp_path / "one", "merkle", env=env) as one,
        WorkerProcess(tmp_path / "other", "merkle", env=env) as other,
    ):
        client = await nats.connect(server.url, max_reconnect_attempts=-1)

        def bundles() -> int:
            return len(list((data / "audit").glob("*.jsonl")))

        for turn in range(ROUNDS):
            before = bundles()
            for number in range(turn * EVENTS_A_ROUND, (turn + 1) * EVENTS_A_ROUND):
                await publish(client.jetstream(), number)
            # A bundle has come into being: it is entered at this moment.
            await until(lambda before=before: bundles() > before)  # type: ignore[misc]
            victim = (one, other)[turn % 2]
            await asyncio.to_thread(victim.kill)
            if turn == ROUNDS // 2:
                await asyncio.to_thread(server.kill)
                await asyncio.to_thread(server.start)
            await asyncio.to_thread(victim.start)

        def entered() -> bool:
            seen = DataDirectory(data)
            report = audit_log(seen.read, seen, bundles=seen)
            return not report.problems and report.audit.events == ROUNDS * EVENTS_A_ROUND

        await until(entered)
        await client.close()
    found = list(rows(DataDirectory(data)))
    assert [row.actor for row in found] == [f"kim-{n}" for n in range(ROUNDS * EVENTS_A_ROUND)]
    ended = run_recorder("audit", "verify", str(data), "--json", folder=tmp_path)
    report = json.loads(ended.stdout)
    assert (ended.returncode, report["problems"], report["warnings"]) == (0, [], [])
    # No session was ever begun: the trail itself names the key that signs the log.
    assert (report["opened"], report["audit"]["gaps"]) == (0, 0)
    assert report["trust"]["public_key"] in report["audit"]["device_keys"]
