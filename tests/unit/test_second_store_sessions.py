"""Whole sessions that are copied, while they are sealed, deleted, taken away or damaged."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable

import msgspec
import pytest
import structlog
from faulty_store import FaultyStore
from memory_store import MemoryStore
from recordings import RECORDER, Recording
from statements import deletion
from telling import Telling

from recorder_worker.adapters.system_clock import SystemClock
from recorder_worker.core import keys
from recorder_worker.core.copy_marker import encode_marker, parse_marker
from recorder_worker.core.errors import BlobDamagedError, SecondStoreError, StoreError
from recorder_worker.core.events import BlobCopied, Checkpoint, ChunkStored, Totals
from recorder_worker.core.model import Span
from recorder_worker.core.retention.sayings import Deletion
from recorder_worker.core.signing.note import parse_note
from recorder_worker.core.subjects import Fact
from recorder_worker.integrations.second_store.archiver import Archiver
from recorder_worker.integrations.second_store.copier import Copier
from recorder_worker.integrations.second_store.late_store import LateStore
from recorder_worker.integrations.second_store.patience import Patience, Troubles
from recorder_worker.integrations.second_store.replacing import Ours
from recorder_worker.integrations.second_store.sweep import Sweep
from recorder_worker.integrations.second_store.upload import Upload
from recorder_worker.ports import FactMessage
from recorder_worker.service.observing.metrics import Metrics
from recorder_worker.stages.retention.removal import bytes_left, remove_bytes

KEY = "sessions/one/chunks/0000000001.zst"
DATA = bytes(range(256)) * 10_000


def chunk_leaf(name: str) -> ChunkStored:
    """The leaf of the chunk that `DATA` is."""
    return ChunkStored(
        session_id="one",
        index=1,
        captured=1,
        keyframe_index=1,
        span=Span(first_unit=0, unit_count=1, t0_ns=0, t1_ns=1, wall0_ns=0, wall1_ns=1),
        keyframe=True,
        name=name,
        frames="tiles/1",
        codec="zstd",
        cipher="none",
        raw_size=9,
        plain_size=9,
        plain_blake3="00" * 32,
        stored_size=len(DATA),
        stored_blake3="00" * 32,
        stored_sha256=hashlib.sha256(DATA).hexdigest(),
    )


class Copying:
    """Those who copy, and a deletion that may be ordered while they do."""

    def __init__(self, local: MemoryStore, second: FaultyStore, metrics: Metrics) -> None:
        self.log = Telling()
        self.ordered: Deletion | None = None
        clock = SystemClock()
        patience = Patience(Troubles(clock, metrics.copies), (0.001,))
        copier = Copier(
            local, lambda: second, metrics.copies, deletion_of=lambda _session_id: self.ordered
        )
        self.archiver = Archiver(self.log, copier, patience, clock, node="n", keep_local=True)  # type: ignore[arg-type] # it only tells
        self.upload = Upload(self.log, copier, self.archiver, patience, clock, node="n")  # type: ignore[arg-type] # as above
        ours = Ours(recorder=RECORDER)
        self.anew: Callable[[], Sweep] = lambda: Sweep(
            copier, self.archiver, None, patience, clock, lambda: ours
        )
        self.sweep = self.anew()
        self.late = LateStore(copier, clock)


@pytest.fixture
def metrics() -> Metrics:
    return Metrics(version="1", node="n")


@pytest.fixture
def local() -> MemoryStore:
    store = MemoryStore()
    store.put(KEY, DATA)
    return store


@pytest.fixture
def second() -> FaultyStore:
    return FaultyStore()


@pytest.fixture
def copying(local: MemoryStore, second: FaultyStore, metrics: Metrics) -> Copying:
    return Copying(local, second, metrics)


@pytest.mark.parametrize("moment", ["writer", "commit", "digest"])
async def test_a_session_that_is_deleted_while_it_is_copied_leaves_no_bytes_there(
    copying: Copying, second: FaultyStore, local: MemoryStore, moment: str
) -> None:
    local.put("sessions/one/session.json", b"{}")

    def delete(call: str, _key: str) -> None:
        if call == moment:
            second.back()
            copying.ordered = deletion()
            remove_bytes((local, second.held), "one", copying.ordered)

    second.fault = delete
    leaf = chunk_leaf(KEY.removeprefix("sessions/one/"))
    await copying.upload.handle(FactMessage(Fact.COMPRESSED, "one", leaf))
    assert second.held.keys("") == []
    assert copying.log.told == []

    # A worker was killed between the copy and its look: the fact comes again.
    second.held.put(KEY, DATA)
    await copying.upload.handle(FactMessage(Fact.COMPRESSED, "one", leaf))
    assert second.held.keys("") == []


async def test_a_folder_that_somebody_took_away_takes_no_copy_with_it(
    copying: Copying, second: FaultyStore, local: MemoryStore
) -> None:
    local.put("sessions/one/session.json", b"{}")
    leaf = chunk_leaf(KEY.removeprefix("sessions/one/"))
    await copying.upload.handle(FactMessage(Fact.COMPRESSED, "one", leaf))
    (told,) = copying.log.told
    assert isinstance(told, BlobCopied)
    assert (told.size, told.sha256) == (len(DATA), hashlib.sha256(DATA).hexdigest())
    local.delete_below("sessions/one")
    await copying.upload.handle(FactMessage(Fact.COMPRESSED, "one", leaf))
    await copying.archiver.archive("one")
    assert second.held.get(KEY) == DATA


SESSION = "0192f0c1-2b3c-7d4e-8f50-000000000001"
SHOWN = "thumbnails/000000000000.jpg"


def sealed(local: MemoryStore) -> dict[str, bytes]:
    """A sealed session with two chunks and a thumbnail, by the names of its files."""
    recording = Recording(SESSION).open()
    recording.chunk(1)
    recording.chunk(1)
    files = {**recording.seal().sealed(), SHOWN: b"a picture"}
    for name, data in files.items():
        local.put(f"sessions/{SESSION}/{name}", data)
    return files


def there(second: FaultyStore) -> set[str]:
    prefix = f"sessions/{SESSION}/"
    return {key.removeprefix(prefix) for key in second.held.keys(prefix)}


@pytest.mark.parametrize("key_removed", [False, True])
async def test_of_a_session_that_was_deleted_before_it_was_archived_the_record_is_copied(
    copying: Copying, second: FaultyStore, local: MemoryStore, key_removed: bool
) -> None:
    files = sealed(local)
    local.put(f"sessions/{SESSION}/retention/0001", b"a statement")
    copying.ordered = deletion(key_removed=key_removed)
    # Nothing is gone here yet, and what goes is not copied all the same.
    await copying.sweep.turn(idle=True)
    gone = {name for name in files if name.startswith("chunks/")} | {SHOWN}
    gone |= {"session.json"} if key_removed else set()
    assert there(second) == set(files) - gone | {"retention/0001"}
    remove_bytes((local, copying.late), SESSION, copying.ordered)
    local.put(f"sessions/{SESSION}/retention/0002", b"a tombstone")
    await copying.sweep.turn(idle=True)
    assert there(second) == set(files) - gone | {"retention/0001", "retention/0002"}


@pytest.mark.parametrize("call", ["writer", "commit", "digest"])
@pytest.mark.parametrize("name", ["session.json", SHOWN, "chunks/"])
async def test_a_session_that_is_deleted_while_it_is_archived_leaves_its_record_there(
    copying: Copying, second: FaultyStore, local: MemoryStore, call: str, name: str
) -> None:
    files = sealed(local)

    def delete(called: str, key: str) -> None:
        if called == call and f"{SESSION}/{name}" in key and copying.ordered is None:
            second.back()
            copying.ordered = deletion(key_removed=True)
            remove_bytes((local, second.held), SESSION, copying.ordered)

    second.fault = delete
    await copying.archiver.archive(SESSION)
    assert copying.ordered is not None
    gone = {one for one in files if one.startswith("chunks/")} | {SHOWN, "session.json"}
    assert there(second) == set(files) - gone


async def test_a_late_file_that_is_damaged_here_is_not_written_over_its_copy(
    copying: Copying, second: FaultyStore, local: MemoryStore
) -> None:
    sealed(local)
    proof = f"sessions/{SESSION}/{keys.PROOF_SEAL}"
    tile = keys.log_key("tile/0/000.p/1")
    for key in (proof, tile):
        local.put(key, b"as it was made")
    await copying.archiver.archive(SESSION)
    await copying.sweep.turn(idle=False)
    for key in (proof, tile):
        local.tamper(key, b"as a bad disk has it")
    local.put(keys.log_key("tile/0/001.p/1"), b"the next one")
    await copying.anew().turn(idle=False)
    assert [second.held.get(key) for key in (proof, tile)] == [b"as it was made"] * 2
    assert second.held.get(keys.log_key("tile/0/001.p/1")) == b"the next one"


@pytest.mark.parametrize("of", ["proof", "marker"])
async def test_a_late_file_on_a_bad_block_holds_up_no_other(
    copying: Copying,
    second: FaultyStore,
    local: MemoryStore,
    monkeypatch: pytest.MonkeyPatch,
    of: str,
) -> None:
    sealed(local)
    await copying.archiver.archive(SESSION)
    proof = f"sessions/{SESSION}/{keys.PROOF_SEAL}"
    bad = proof if of == "proof" else f"{keys.COPIES}/{SESSION}"
    tile = keys.log_key("tile/0/000.p/1")
    for key in (proof, tile):
        local.put(key, b"a late file")
    get = local.get

    def get_but_for_one(key: str) -> bytes:
        if key == bad:
            raise StoreError(f"cannot read {key}: Input/output error")
        return get(key)

    sweep = copying.anew()
    monkeypatch.setattr(local, "get", get_but_for_one)
    with structlog.testing.capture_logs() as logs:
        for _ in range(2):
            await sweep.turn(idle=True)
    assert [line["key"] for line in logs if line["event"] == "LateFileUnreadable"] == [bad]
    assert (second.held.size(tile), second.held.size(proof)) == (11, None)
    monkeypatch.undo()
    await sweep.turn(idle=True)
    assert second.held.get(proof) == b"a late file"


@pytest.mark.parametrize("damage", ["a bit", "cut", "another session"])
async def test_records_that_are_not_what_was_sealed_take_no_good_copy_with_them(
    copying: Copying, second: FaultyStore, local: MemoryStore, damage: str
) -> None:
    """The single records that were copied meanwhile may be the only good ones."""
    files = sealed(local)
    root = parse_note(files[keys.SEAL]).head.root_hash.hex()
    journal = f"sessions/{SESSION}/{keys.leaf(0)}"
    second.held.put(journal, b"a record")
    records = files[keys.RECORDS]
    if damage == "another session":
        other = Recording(SESSION, recorder="forger").open().chunk(1).seal().sealed()
        for name, data in other.items():
            local.delete(f"sessions/{SESSION}/{name}")
            local.put(f"sessions/{SESSION}/{name}", data)
    else:
        cut = records[: -4 - int.from_bytes(records[:4], "big")]
        bad = cut if damage == "cut" else records[:-1] + bytes([records[-1] ^ 1])
        local.tamper(f"sessions/{SESSION}/{keys.RECORDS}", bad)
    with pytest.raises(BlobDamagedError, match="nothing is copied or removed by it"):
        await copying.archiver.archive(SESSION, root)
    assert second.held.keys("") == [journal]
    assert local.size(keys.copies(SESSION)) is None
    assert copying.log.told == []


def checkpoint_of(session_id: str) -> FactMessage:
    """It tells of record 1, of its mark, and of itself."""
    event = Checkpoint(
        session_id=session_id,
        session_counter=1,
        tree_size=2,
        root_hash="00" * 32,
        note="",
        totals=Totals(),
        sealed=False,
    )
    return FactMessage(Fact.CHECKPOINT, session_id, event)


@pytest.mark.parametrize("seal", [None, b"anybody's"])
async def test_what_somebody_takes_away_here_while_it_is_copied_stays_there(
    copying: Copying, second: FaultyStore, local: MemoryStore, seal: bytes | None
) -> None:
    names = (keys.mark(1), keys.leaf(1), keys.note(2))
    for name in names:
        local.put(f"sessions/one/{name}", b"bytes of " + name.encode())

    def take_away(call: str, key: str) -> None:
        if call == "digest":
            local.delete(key)
            if seal is not None:
                local.put(f"sessions/one/{keys.SEAL}", seal)

    second.fault = take_away
    await copying.upload.handle(checkpoint_of("one"))
    assert second.held.keys("") == sorted(f"sessions/one/{name}" for name in names)


@pytest.mark.parametrize("archived", [False, True])
async def test_what_the_seal_takes_away_here_goes_there_once_the_session_is_archived(
    copying: Copying, second: FaultyStore, local: MemoryStore, archived: bool
) -> None:
    journal = {f"sessions/{SESSION}/{name}": b"as it was" for name in (keys.leaf(1), keys.note(2))}
    for key, data in journal.items():
        local.put(key, data)
    loop = asyncio.get_running_loop()

    def seal_it(call: str, _key: str) -> None:
        if call != "digest":
            return
        second.back()
        sealed(local)
        for key in journal:
            local.delete(key)
        if archived:
            asyncio.run_coroutine_threadsafe(copying.archiver.archive(SESSION), loop).result()

    second.fault = seal_it
    await copying.upload.handle(checkpoint_of(SESSION))
    left = there(second) & {keys.leaf(1), keys.note(2)}
    assert left == (set() if archived else {keys.leaf(1)})
    await copying.archiver.archive(SESSION)
    assert not there(second) & {keys.leaf(1), keys.note(2)}


async def test_what_is_said_of_a_session_long_after_its_seal_reaches_its_copy(
    copying: Copying, second: FaultyStore, local: MemoryStore
) -> None:
    sealed(local)
    await copying.archiver.archive(SESSION)
    marker = parse_marker(local.get(keys.copies(SESSION)))
    long_ago = msgspec.structs.replace(marker, archived_wall_ns=1)
    local.replace(keys.copies(SESSION), encode_marker(long_ago))
    await copying.sweep.turn(idle=False)
    for number in (1, 2):
        local.put(f"sessions/{SESSION}/{keys.statement(number)}", b"a statement")
        await copying.sweep.turn(idle=False)
        local.put(f"sessions/{SESSION}/{keys.statement_proof(number)}", b"its proof")
        await copying.sweep.turn(idle=False)
        assert {keys.statement(number), keys.statement_proof(number)} <= there(second)


def test_a_store_that_is_away_keeps_nothing_here_and_is_not_asked_again_at_once(
    copying: Copying, second: FaultyStore, local: MemoryStore
) -> None:
    files = sealed(local)
    for name, data in files.items():
        second.held.put(f"sessions/{SESSION}/{name}", data)
    second.away()
    gone = deletion(key_removed=True)
    with pytest.raises(SecondStoreError):
        remove_bytes((local, copying.late), SESSION, gone)
    assert bytes_left((local,), SESSION, gone) == []
    asked = len(second.calls)
    with pytest.raises(SecondStoreError):
        bytes_left((copying.late,), SESSION, gone)
    assert len(second.calls) == asked
    assert there(second) == set(files)
