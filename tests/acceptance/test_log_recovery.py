"""kill -9 while sessions are entered in the log: it is whole, and a deleted session is found."""

from __future__ import annotations

import asyncio
import json
import shutil
from pathlib import Path

import pytest
from plant import Plant
from running_recorder import until
from worker_process import run_recorder

from recorder_worker.core.subjects import Fact

PATTERN = {"kind": "pattern", "width": 64, "height": 48, "frames": 20, "pace": "native"}

pytestmark = pytest.mark.timeout(300)


async def test_the_log_is_whole_behind_kills_and_a_deleted_session_is_found(
    tmp_path: Path,
) -> None:
    data = str(tmp_path / "data")
    with Plant(tmp_path) as plant:
        plant.add("merkle")
        sessions = []
        for number in range(6):
            session_id = await plant.start_session(PATTERN, fps=20)
            sessions.append(session_id)
            victim = plant.workers["merkle"][number % 2]
            # The OPEN, or the SEAL, is being entered at this moment.
            if number % 3:
                await plant.until(session_id, Fact.CHECKPOINT, 1)
            else:
                await plant.sealed(session_id)
            await asyncio.to_thread(victim.kill)
            await asyncio.to_thread(victim.start)
            await plant.sealed(session_id)
        await asyncio.to_thread(plant.kill, "nats")
        await asyncio.to_thread(plant.start_again, "nats")

        def whole() -> bool:
            return run_recorder("log", "verify", data, folder=tmp_path).returncode == 0

        await until(whole)
        last = await plant.start_session(PATTERN, fps=20)
        await plant.sealed(last)
        await until(whole)
    shown = run_recorder("log", "verify", data, "--json", folder=tmp_path)
    report = json.loads(shown.stdout)
    assert report["tree_size"] - report["audit"]["entries"] == 14
    assert (report["opened"], report["sealed"]) == (7, 7)
    assert report["problems"] == []
    shutil.rmtree(plant.recording(sessions[2]))
    ended = run_recorder("log", "verify", data, folder=tmp_path)
    assert ended.returncode == 13
    assert sessions[2] in ended.stdout
