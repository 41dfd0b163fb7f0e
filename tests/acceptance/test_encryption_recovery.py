"""kill -9 in an encrypted session: it seals, opens for its recipient, and leaves nothing plain."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from plain_bytes import holding, needles, readable
from plant import SEAL_TIMEOUT_S, Plant
from reference import check

from recorder_worker.adapters.age import new_identity
from recorder_worker.adapters.folder import FolderRecording
from recorder_worker.adapters.sources.pattern import PatternDesktop
from recorder_worker.cli.identities import cipher_of
from recorder_worker.client import RecorderClient
from recorder_worker.core.events import Captured, SegmentCaptured
from recorder_worker.core.reading.frames import recording_frames
from recorder_worker.core.sources.kinds import PatternSource
from recorder_worker.core.subjects import Fact
from recorder_worker.core.verify.verdicts import Verdict
from recorder_worker.core.verify.verifier import verify

PATTERN = {"kind": "pattern", "width": 320, "height": 200, "seed": 5}
SOURCE = PATTERN | {"pace": "native"}
pytestmark = pytest.mark.timeout(300)


class EncryptedPlant(Plant):
    def __init__(self, folder: Path) -> None:
        identity, recipient = new_identity()
        # Streams reserve their room, and this machine's disk need not have much.
        small = {"RECORDER_NATS__MAX_BYTES": "1000000000"}
        super().__init__(folder, small | {"RECORDER_ENCRYPTION__RECIPIENTS": recipient})
        self.identity = folder / "identity"
        self.identity.write_text(identity + "\n")

    async def check(self, session_id: str, key: bytes, verdict: Verdict) -> None:
        """Goes on, and once it is stopped: sealed, whole inside, made again to the same root, and
        nobody left here can read it."""
        async with self.client() as client:
            before = await client.last(Fact.CAPTURED, session_id)
            assert isinstance(before, Captured)
            await self.captured(client, session_id, before.cursor.t_ns)
            await client.stop(session_id)
        sealed = await self.sealed(session_id)
        recording = FolderRecording(self.recording(session_id))
        cipher = cipher_of(recording, [self.identity])
        assert cipher is not None
        report = verify(recording, cipher=cipher)
        assert (report.verdict, report.root_hash) == (verdict, sealed.root_hash), report
        assert report.closed_count == 0
        desktop = PatternDesktop(PatternSource(width=320, height=200, seed=5), fps=20)
        count = 0
        for frame in recording_frames(recording, cipher):
            wanted = desktop.read()
            assert wanted is not None
            np.testing.assert_array_equal(frame.picture, wanted.picture)
            count += 1
        # Material waits for its reader: every frame is there, one behind the other.
        assert count == sealed.frame_count > 0
        found = check(self.recording(session_id), self.identity)
        assert (found["verdict"], found["root_hash"]) == (verdict.value, sealed.root_hash)
        again = await self.replay(session_id, cipher)
        assert (again.same, again.taken) == (True, ""), again.difference
        assert readable(self.folder / "data", needles(PATTERN)) == []
        await self.erased(session_id)
        assert holding(self.folder, key) == []

    async def captured(self, client: RecorderClient, session_id: str, beyond_ns: int) -> None:
        """A segment that reaches beyond a session time."""
        async with asyncio.timeout(SEAL_TIMEOUT_S), client.follow(session_id) as facts:
            async for seen in facts:
                event = seen.event
                if isinstance(event, SegmentCaptured) and event.cursor.t_ns > beyond_ns:
                    return

    async def erased(self, session_id: str) -> None:
        """Erasing comes a moment behind the fact that a session is sealed."""
        async with asyncio.timeout(60):
            while self.key_file(session_id).exists():
                await asyncio.sleep(0.02)

    def key_file(self, session_id: str) -> Path:
        return self.folder / "data" / "keys" / "ciphers" / f"{session_id}.key"


@pytest.fixture(scope="module")
def plant(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EncryptedPlant]:
    with EncryptedPlant(tmp_path_factory.mktemp("plant")) as running:
        running.add("compress")
        yield running


@pytest.mark.parametrize(
    ("target", "fact", "count", "verdict"),
    [
        ("capture", Fact.CAPTURED, 3, Verdict.COMPLETE_WITH_GAPS),
        ("compress", Fact.CHUNKED, 2, Verdict.COMPLETE),
        ("merkle", Fact.HEAD, 3, Verdict.COMPLETE),
        ("nats", Fact.CAPTURED, 4, Verdict.COMPLETE),
    ],
)
async def test_killed_and_started_again_an_encrypted_session_is_whole_for_its_recipient(
    plant: EncryptedPlant, target: str, fact: Fact, count: int, verdict: Verdict
) -> None:
    session_id = await plant.start_session(SOURCE, fps=20)
    await plant.until(session_id, fact, count)
    key = plant.key_file(session_id).read_bytes()
    await asyncio.to_thread(plant.kill, target)
    assert readable(plant.folder / "data", needles(PATTERN)) == []
    await asyncio.to_thread(plant.start_again, target)
    await plant.check(session_id, key, verdict)


async def test_another_capture_worker_takes_over_and_finds_the_key(plant: EncryptedPlant) -> None:
    await asyncio.to_thread(plant.add, "capture")
    session_id = await plant.start_session(SOURCE, fps=20)
    await plant.until(session_id, Fact.CAPTURED, 3)
    key = plant.key_file(session_id).read_bytes()
    first, second = plant.workers["capture"]
    holder = first if _holds(first.text, session_id) else second
    other = second if holder is first else first
    await asyncio.to_thread(holder.kill)
    await asyncio.to_thread(other.logged, "LeaseTaken", session_id=session_id)
    await plant.check(session_id, key, Verdict.COMPLETE_WITH_GAPS)


def _holds(log: str, session_id: str) -> bool:
    return any("LeaseTaken" in line and session_id in line for line in log.splitlines())
