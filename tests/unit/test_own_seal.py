"""What goes behind a seal, goes behind the session's own: a file of that name alone is none.

Who lost his lease, or was fenced off, removes what the seal made superfluous: spool, journal, key.
In a session that runs those are all that there is.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hand_clock import HandClock
from memory_jetstream import MemoryJetStream, MemoryServer
from memory_store import MemoryStore
from merkle_bench import MerkleBench
from structlog.testing import capture_logs

from recorder_worker.adapters.device_key.cipher_keys import CipherKeyFiles
from recorder_worker.bus.event_log import JetStreamEventLog
from recorder_worker.bus.headers import EventHeaders
from recorder_worker.bus.streams.topology import StreamLimits, streams
from recorder_worker.core import keys
from recorder_worker.core.errors import FencedError, IncidentError
from recorder_worker.core.events import Checkpoint, SessionIncident, Totals
from recorder_worker.core.subjects import Fact
from recorder_worker.stages.capture.session.aftermath import leave_spool
from recorder_worker.stages.capture.session.encryption import forget_late_key
from recorder_worker.stages.merkle.archive import Archive

LIMITS = StreamLimits(replicas=1, max_age_s=86_400, max_bytes=100_000_000, duplicate_window_s=120)
SESSION = "0df675d3-8151-409e-b9e2-9621ce078518"
SEGMENT = keys.blob_key(SESSION, keys.segment(7, "ab" * 32))
CHUNK = keys.blob_key(SESSION, keys.chunk(1, compressed=True))
SEAL = keys.blob_key(SESSION, keys.SEAL)
NOTE = "the last checkpoint\n"


def event_log() -> JetStreamEventLog:
    jetstream: Any = MemoryJetStream(MemoryServer(streams(LIMITS), {}, HandClock()))
    return JetStreamEventLog(lambda: jetstream, EventHeaders("tests"))


class Late:
    """One who lost his lease, with a segment in the spool and a key that he has made."""

    def __init__(self, folder: Path) -> None:
        self.log, self.store = event_log(), MemoryStore()
        self.keys = CipherKeyFiles(folder / "ciphers")
        self.key = self.keys.make(SESSION)
        for key in (SEGMENT, CHUNK):
            self.store.put(key, b"something")

    async def checkpoint(self, note: str = NOTE, *, sealed: bool) -> None:
        signed = Checkpoint(
            session_id=SESSION,
            tree_size=3,
            root_hash="ab" * 32,
            note=note,
            totals=Totals(),
            sealed=sealed,
        )
        await self.log.append(Fact.CHECKPOINT, SESSION, signed, key=note, after=0)

    async def leave(self) -> None:
        await leave_spool(self.log, self.store, SESSION)
        await forget_late_key(self.log, self.store, self.keys, SESSION)

    def left_all(self) -> bool:
        return self.store.size(SEGMENT) is not None and self.keys.make(SESSION) == self.key


@pytest.fixture
def late(tmp_path: Path) -> Late:
    return Late(tmp_path)


async def test_before_the_seal_nothing_is_touched_for_the_new_holder_writes_there_too(
    late: Late,
) -> None:
    await late.checkpoint(sealed=True)
    with capture_logs() as said:
        await late.leave()
    assert late.left_all()
    assert said == []


async def test_behind_the_seal_nobody_else_would_remove_it(late: Late) -> None:
    await late.checkpoint(sealed=True)
    late.store.put(SEAL, NOTE.encode())
    with capture_logs() as said:
        await late.leave()
    assert late.store.keys(keys.blob_key(SESSION, "segments")) == []
    assert late.keys.make(SESSION) != late.key
    assert late.store.get(CHUNK)
    assert said == []


@pytest.mark.parametrize("note", [None, "another checkpoint\n", NOTE])
async def test_behind_a_seal_that_is_not_the_sessions_own_nothing_is_removed(
    late: Late, note: str | None
) -> None:
    """There is no checkpoint, another one, or the one of a session that goes on."""
    if note is not None:
        await late.checkpoint(note, sealed=note != NOTE)
    late.store.put(SEAL, NOTE.encode())
    with capture_logs() as said:
        await late.leave()
    assert late.left_all()
    assert {(entry["event"], entry["log_level"]) for entry in said} == {("SealNotOurs", "warning")}


# --- the merkle stage ----------------------------------------------------------------------------


def put_foreign_seal(bench: MerkleBench) -> None:
    session_id = bench.recording.session_id
    bench.store.replace(keys.blob_key(session_id, keys.SEAL), b"of another session")


async def test_who_is_fenced_off_beside_a_foreign_seal_removes_no_record(tmp_path: Path) -> None:
    bench, log = MerkleBench(tmp_path), event_log()
    slow, fast = bench.stage(log), bench.stage(log)
    leaves = bench.recording.events
    await slow.handle(leaves[0])
    for leaf in leaves[1:3]:
        await fast.handle(leaf)
    segment = keys.blob_key(bench.recording.session_id, keys.segment(99, "ab" * 32))
    bench.store.put(segment, b"of a chunk that is still to come")
    put_foreign_seal(bench)
    before = bench.files()
    with capture_logs() as said, pytest.raises(FencedError):
        await slow.handle(leaves[1])
    assert bench.files() == before
    assert [entry["event"] for entry in said] == ["SealNotOurs"]
    await fast.handle(leaves[3])


async def test_a_sealed_session_with_another_seal_in_its_place_is_an_incident(
    tmp_path: Path,
) -> None:
    bench, log = MerkleBench(tmp_path), event_log()
    for leaf in bench.recording.events:
        await bench.stage(log).handle(leaf)
    bench.store.put(keys.blob_key(bench.recording.session_id, keys.leaf(3)), b"left behind")
    put_foreign_seal(bench)
    before = bench.files()
    with pytest.raises(IncidentError, match="nothing was removed"):
        await bench.stage(log).handle(bench.recording.events[-1])
    assert bench.files() == before
    told = await log.last(Fact.INCIDENT, bench.recording.session_id)
    assert told is not None
    assert isinstance(told.event, SessionIncident)


async def test_what_a_late_one_left_goes_behind_our_own_seal(tmp_path: Path) -> None:
    bench, log = MerkleBench(tmp_path), event_log()
    session_id = bench.recording.session_id
    for leaf in bench.recording.events:
        await bench.stage(log).handle(leaf)
    sealed = bench.files()
    bench.store.put(keys.blob_key(session_id, keys.leaf(3)), b"left behind")
    await bench.stage(log).handle(bench.recording.events[-1])
    assert bench.files() == sealed
    Archive(bench.store, session_id).tidy(sealed[keys.SEAL])
    assert bench.files() == sealed
