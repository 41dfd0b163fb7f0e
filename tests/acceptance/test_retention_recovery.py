"""kill -9 of workers and server while sessions are removed: each goes whole, and is proved."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
import reference
from plant import Plant
from running_recorder import until
from worker_process import run_recorder

from recorder_worker.adapters.folder import FolderRecording
from recorder_worker.core.verify import Verdict, verify

PATTERN = {"kind": "pattern", "width": 64, "height": 48, "frames": 60, "pace": "fast"}
SESSIONS = 6

pytestmark = pytest.mark.timeout(300)


async def test_removed_sessions_are_whole_behind_kills_of_workers_and_server(
    tmp_path: Path,
) -> None:
    data = str(tmp_path / "data")
    env = {"RECORDER_CHUNK__DURATION_S": "0.2", "RECORDER_RETENTION__EVERY_S": "0.3"}
    with Plant(tmp_path, env=env) as plant:
        plant.add("merkle")
        sessions = [await plant.start_session(PATTERN) for _ in range(SESSIONS)]
        for session_id in sessions:
            await plant.sealed(session_id)
        roots = {s: verify(FolderRecording(plant.recording(s))).root_hash for s in sessions}
        async with plant.client() as client:
            await client.hold(sessions[-1], "a court asked")
            for number, session_id in enumerate(sessions[:-1]):
                await client.delete(session_id, f"reason {number}")
                # Somebody signs, removes or ends a deletion at this moment.
                await until((plant.recording(session_id) / "retention" / "0001").exists)
                victim = plant.workers["merkle"][number % 2]
                await asyncio.to_thread(victim.kill)
                found = verify(FolderRecording(plant.recording(session_id))).verdict
                assert found in {Verdict.COMPLETE, Verdict.REDACTED}
                if number == 2:
                    await asyncio.to_thread(plant.kill, "nats")
                    await asyncio.to_thread(plant.start_again, "nats")
                await asyncio.to_thread(victim.start)

        def ended() -> bool:
            return all((plant.recording(s) / "retention" / "0002").exists() for s in sessions[:-1])

        await until(ended)

        def whole() -> bool:
            return run_recorder("log", "verify", data, folder=tmp_path).returncode == 0

        await until(whole)
    for number, session_id in enumerate(sessions[:-1]):
        folder = plant.recording(session_id)
        report = verify(FolderRecording(folder))
        assert (report.verdict, report.root_hash) == (Verdict.REDACTED, roots[session_id])
        removal = report.retention.removal
        assert removal is not None
        assert (removal.finished, removal.reason) == (True, f"reason {number}")
        assert sorted(path.name for path in (folder / "retention").iterdir()) == ["0001", "0002"]
        assert reference.check(folder)["verdict"] == "REDACTED"
        assert not list(folder.glob("chunks/*"))
    held = verify(FolderRecording(plant.recording(sessions[-1])))
    assert (held.verdict, len(held.retention.held)) == (Verdict.COMPLETE, 1)
    said = json.loads(run_recorder("log", "verify", data, "--json", folder=tmp_path).stdout)
    assert (len(said["removed"]), said["held"]) == (SESSIONS - 1, [sessions[-1]])
