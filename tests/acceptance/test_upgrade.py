"""Two versions of the recorder on one stream: what an older one does not know waits for a newer.

Nothing is lost by it, nothing is half read, and it is said.
"""

from __future__ import annotations

import asyncio
import json
import sys
import uuid
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import nats
import pytest
import reference
from nats_process import NatsProcess
from plant import LEASE_S
from worker_process import WorkerProcess, run_recorder

from recorder_worker.bus.streams.topology import DEAD_STREAM
from recorder_worker.client import RecorderClient
from recorder_worker.core.errors import NewerVersionError
from recorder_worker.core.model import SCHEMA_VERSION
from recorder_worker.core.subjects import Fact

NEWER = (sys.executable, str(Path(__file__).parent.parent / "newer_recorder.py"))
SOURCE: dict[str, Any] = {"kind": "pattern", "width": 32, "height": 32}
DEADLINE_S = 120.0

pytestmark = pytest.mark.timeout(300)


class Fleet:
    """A nats-server, and workers of two versions over one data directory."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.nats = NatsProcess(folder / "nats")
        self.data = folder / "data"
        self._env = {
            "RECORDER_NATS__URL": self.nats.url,
            "RECORDER_DATA_DIR": str(self.data),
            "RECORDER_CAPTURE__LEASE_S": LEASE_S,
            "RECORDER_CAPTURE__SEGMENT_S": "0.5",
            "RECORDER_CAPTURE__CHECKPOINT_S": "1",
            "RECORDER_CHUNK__DURATION_S": "1",
            "RECORDER_RETRY__BACKOFF_S": "0.1,0.2",
            "RECORDER_DISK__FLOOR_BYTES": "0",
            "RECORDER_NATS__MAX_BYTES": "1000000000",
        }

    def worker(self, name: str, program: tuple[str, ...] | None = None) -> WorkerProcess:
        """One with all stages; its own version where no program is named."""
        folder = self.folder / name
        folder.mkdir()
        if program is None:
            return WorkerProcess(folder, env=self._env)
        return WorkerProcess(folder, env=self._env, program=program)

    async def start(self, **more: Any) -> str:  # noqa: ANN401  (fields of the source)
        """Ask for a session. Commands have no version: a person can type them."""
        session_id = str(uuid.uuid4())
        body = {"session_id": session_id, "source": SOURCE | more, "fps": 10}
        bus = await nats.connect(self.nats.url)
        try:
            await bus.jetstream().publish("session.start", json.dumps(body).encode())
        finally:
            await bus.close()
        return session_id

    async def told(self, fact: Fact, session_id: str, count: int = 1) -> None:
        """Wait for so many events of a session, of whichever version."""
        bus = await nats.connect(self.nats.url)
        try:
            async with asyncio.timeout(DEADLINE_S):
                found = await bus.jetstream().subscribe(fact.of(session_id), ordered_consumer=True)
                for _ in range(count):
                    await found.next_msg(timeout=DEADLINE_S)
        finally:
            await bus.close()

    async def letters(self) -> int:
        bus = await nats.connect(self.nats.url)
        try:
            return (await bus.jetstream().stream_info(DEAD_STREAM)).state.messages
        finally:
            await bus.close()

    async def judge(self, session_id: str, frames: int) -> None:
        """Both verifiers find it whole, with every frame."""
        folder = self.data / "sessions" / session_id
        ended = await asyncio.to_thread(
            partial(run_recorder, "verify", str(folder), "--json", folder=self.folder)
        )
        report = json.loads(ended.stdout)
        theirs = await asyncio.to_thread(reference.check, folder)
        assert ended.returncode == 0, ended.stdout
        assert (theirs["verdict"], theirs["root_hash"]) == (report["verdict"], report["root_hash"])
        assert len(theirs["frames"]) == frames
        assert not list(folder.glob("segments/*")), "nothing waits in the spool"


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    found = Fleet(tmp_path)
    with found.nats:
        yield found


async def test_a_fleet_of_two_versions_loses_nothing(fleet: Fleet) -> None:
    with fleet.worker("older") as older, fleet.worker("newer", NEWER) as newer:
        started = [await fleet.start(frames=30) for _ in range(4)]
        for session_id in started:
            await fleet.told(Fact.SEALED, session_id)
            await fleet.judge(session_id, 30)
        assert await fleet.letters() == 0
        waited = [
            line
            for line in older.lines
            if line.get("event") == "MessagePostponed" and "NewerVersionError" in line["error"]
        ]
        assert waited, "the older one has met nothing of the newer"
        assert not any("NewerVersionError" in line.get("error", "") for line in newer.lines)


async def test_what_a_newer_worker_began_waits_for_it_and_is_not_lost(fleet: Fleet) -> None:
    """The log of sessions is one history: where a newer worker wrote it, an older one begins no
    session either. It waits, and says so; a client of its version ends with both numbers."""
    with fleet.worker("newer", NEWER) as newer:
        begun = await fleet.start(frames=60)
        await fleet.told(Fact.CAPTURED, begun, 3)
        newer.kill()
        with fleet.worker("older") as older:
            later = await fleet.start(frames=20)
            for session_id in (begun, later):
                waits = partial(
                    older.logged, "MessagePostponed", stage="capture", session_id=session_id
                )
                said = await asyncio.to_thread(waits)
                assert f"found {SCHEMA_VERSION + 1}; a newer recorder wrote it" in said["error"]
            async with RecorderClient.connect(fleet.nats.url) as client:
                with pytest.raises(NewerVersionError, match=f"found {SCHEMA_VERSION + 1}"):
                    await client.last(Fact.STARTED, begun)
            assert older.running
        newer.start()
        for session_id, frames in ((begun, 60), (later, 20)):
            await fleet.told(Fact.SEALED, session_id)
            await fleet.judge(session_id, frames)
        assert await fleet.letters() == 0
