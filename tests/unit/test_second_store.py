"""Copies, where the second store fails in every way that it can."""

from __future__ import annotations

import asyncio
import hashlib
import threading
from collections.abc import Callable

import msgspec
import pytest
import structlog
from blake3 import blake3
from faulty_store import FaultyStore
from memory_store import MemoryStore
from recordings import RECORDER, Recording
from statements import deletion
from telling import Telling

from recorder_worker.adapters.system_clock import SystemClock
from recorder_worker.core import keys
from recorder_worker.core.copy_marker import (
    CopyMarker,
    Expected,
    encode_marker,
    parse_marker,
)
from recorder_worker.core.errors import (
    BlobDamagedError,
    BlobMissingError,
    CopyDamagedError,
    FormatError,
    ImmutableConflictError,
    SecondStoreError,
    StoreError,
    StoreFullError,
)
from recorder_worker.core.events import BlobCopied, Checkpoint, ChunkStored, Totals
from recorder_worker.core.model import Span
from recorder_worker.core.retention.sayings import Deletion
from recorder_worker.core.signing.note import parse_note
from recorder_worker.core.subjects import Fact
from recorder_worker.integrations.second_store.archiver import Archiver
from recorder_worker.integrations.second_store.copier import Copier
from recorder_worker.integrations.second_store.late_store import LateStore
from recorder_worker.integrations.second_store.patience import Patience, Troubles
from recorder_worker.integrations.second_store.repair import Repairs
from recorder_worker.integrations.second_store.replacing import Ours
from recorder_worker.integrations.second_store.sweep import Sweep
from recorder_worker.integrations.second_store.upload import Upload
from recorder_worker.ports import FactMessage
from recorder_worker.service.observing.copies import CopyMeters
from recorder_worker.service.observing.metrics import Metrics
from recorder_worker.stages.patrol.chunk_check import StoredChunk
from recorder_worker.stages.retention.removal import bytes_left, remove_bytes

KEY = "sessions/one/chunks/0000000001.zst"
DATA = bytes(range(256)) * 10_000


def expected(data: bytes = DATA) -> Expected:
    return Expected(len(data), hashlib.sha256(data).hexdigest())


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
def copier(local: MemoryStore, second: FaultyStore, metrics: Metrics) -> Copier:
    return Copier(local, lambda: second, metrics.copies)


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
        stored_sha256=expected().sha256,
    )


def counted(metrics: Metrics, name: str, **labels: str) -> float:
    return metrics.registry.get_sample_value(name, labels) or 0.0


def test_a_copy_is_checked_and_not_sent_again(
    copier: Copier, second: FaultyStore, metrics: Metrics
) -> None:
    copied = copier.copy(KEY, expected())
    assert (copied.size, copied.sha256, copied.checked) == (
        len(DATA),
        expected().sha256,
        "attested",
    )
    assert second.held.get(KEY) == DATA
    copier.forget("sessions/one")
    copier.copy(KEY, expected())
    copier.copy(KEY)
    assert second.held.puts == {KEY: 1}
    assert counted(metrics, "recorder_copied_bytes_total") == len(DATA)
    assert counted(metrics, "recorder_copies_total", checked="attested") == 2


def test_a_small_blob_that_is_there_is_found_by_sending_it(
    copier: Copier, second: FaultyStore, local: MemoryStore
) -> None:
    local.put("sessions/one/seal", b"seal")
    second.held.put("sessions/one/seal", b"seal")
    assert copier.copy("sessions/one/seal").size == 4
    assert ("size", "sessions/one/seal") not in second.calls
    local.put("sessions/one/records", b"records")
    second.held.put("sessions/one/records", b"others")
    with pytest.raises(ImmutableConflictError):
        copier.copy("sessions/one/records")


def test_where_no_store_is_believed_the_copy_is_read_back(
    local: MemoryStore, second: FaultyStore, metrics: Metrics
) -> None:
    copier = Copier(local, lambda: second, metrics.copies, read_back=True)
    assert copier.copy(KEY).checked == "read_back"


@pytest.mark.parametrize("call", ["size", "writer", "write", "commit", "digest"])
@pytest.mark.parametrize("kind", [StoreError, StoreFullError])
def test_whichever_call_fails_the_next_try_has_it(
    copier: Copier, second: FaultyStore, local: MemoryStore, call: str, kind: type[StoreError]
) -> None:
    failed: list[str] = []

    def fail(name: str, key: str) -> None:
        if name == call and not failed:
            failed.append(key)
            raise kind(f"cannot {name}")

    second.fault = fail
    with pytest.raises(SecondStoreError, match=f"cannot {call}"):
        copier.copy(KEY, expected())
    assert failed == [KEY]
    if call != "digest":
        assert second.held.size(KEY) is None, "nothing stands under the name of a broken copy"
    copier.copy(KEY, expected())
    assert second.held.get(KEY) == DATA
    assert local.get(KEY) == DATA


def test_a_copy_that_does_not_come_back_is_written_over_and_looked_at_again(
    copier: Copier, second: FaultyStore, metrics: Metrics, local: MemoryStore
) -> None:
    second.spoilt[KEY] = 1
    with pytest.raises(CopyDamagedError, match="looked at again"):
        copier.copy(KEY, expected())
    assert second.held.get(KEY) == DATA
    assert counted(metrics, "recorder_copies_damaged_total") == 1
    assert local.get(KEY) == DATA
    copier.copy(KEY, expected())
    assert second.held.get(KEY) == DATA


def test_other_bytes_that_were_there_before_are_not_replaced(
    copier: Copier, second: FaultyStore
) -> None:
    second.held.put(KEY, b"of somebody else")
    for _ in range(2):
        with pytest.raises(ImmutableConflictError, match="find out who wrote it"):
            copier.copy(KEY, expected())
    assert second.held.get(KEY) == b"of somebody else"


def test_what_is_damaged_here_never_becomes_a_copy(
    copier: Copier, second: FaultyStore, local: MemoryStore
) -> None:
    local.tamper(KEY, b"\x01" + DATA[1:])
    with pytest.raises(BlobDamagedError, match="nothing was copied"):
        copier.copy(KEY, expected())
    assert second.held.keys("") == []


def test_what_is_nowhere_is_missing_and_what_is_there_is_enough(
    copier: Copier, second: FaultyStore, local: MemoryStore
) -> None:
    local.delete(KEY)
    with pytest.raises(BlobMissingError):
        copier.copy(KEY, expected())
    assert second.held.keys("") == []
    second.held.put(KEY, DATA)
    assert copier.copy(KEY, expected()).sha256 == expected().sha256


def test_a_worker_that_stops_leaves_nothing_half_sent(copier: Copier, second: FaultyStore) -> None:
    def stop(name: str, _key: str) -> None:
        if name == "write":
            copier.stop()

    second.fault = stop
    with pytest.raises(SecondStoreError, match="stops"):
        copier.copy(KEY, expected())
    assert second.held.keys("") == []


def test_a_store_that_cannot_be_opened_is_opened_later(
    local: MemoryStore, second: FaultyStore, metrics: Metrics
) -> None:
    tries: list[int] = []

    def open_it() -> FaultyStore:
        tries.append(1)
        if len(tries) < 3:
            raise StoreError("the disk is not mounted")
        return second

    copier = Copier(local, open_it, metrics.copies)
    for _ in range(2):
        with pytest.raises(SecondStoreError, match="not mounted"):
            copier.copy(KEY)
    copier.copy(KEY)
    copier.copy(KEY)
    assert len(tries) == 3


def test_what_is_replaced_here_is_replaced_there(
    copier: Copier, second: FaultyStore, local: MemoryStore
) -> None:
    for note in (b"size 1", b"size 2, and longer"):
        local.replace("log/checkpoint", note)
        assert copier.mirror("log/checkpoint", replaced=True)
        assert not copier.mirror("log/checkpoint", replaced=True)
        assert second.held.get("log/checkpoint") == note


# --- waiting -------------------------------------------------------------------------------------


async def test_a_store_that_is_away_for_an_hour_is_waited_for(
    copier: Copier, second: FaultyStore, metrics: Metrics
) -> None:
    """An hour at the last wait of 30 s is 120 tries: here of a millisecond."""
    second.away()
    tries = 0

    def work() -> str:
        nonlocal tries
        tries += 1
        if tries == 120:
            second.back()
        return copier.copy(KEY, expected()).sha256

    troubles = Troubles(SystemClock(), metrics.copies)
    patience = Patience(troubles, (0.001,))
    with structlog.testing.capture_logs() as logs:
        waiting = asyncio.create_task(patience.until_done(KEY, work))
        while not troubles.text:
            await asyncio.sleep(0.001)
        assert "no answer" in troubles.text
        assert counted(metrics, "recorder_second_store_ok_state") == 0
        assert await waiting == expected().sha256
    events = [line["event"] for line in logs]
    assert events == ["SecondStoreFailed", "SecondStoreWorks"], "one line, not one for each try"
    assert troubles.text == ""
    assert counted(metrics, "recorder_second_store_ok_state") == 1
    assert counted(metrics, "recorder_copy_failures_total") == 119
    assert second.held.get(KEY) == DATA


async def test_a_worker_that_stops_waits_no_more(
    copier: Copier, second: FaultyStore, metrics: Metrics
) -> None:
    second.away()
    patience = Patience(Troubles(SystemClock(), metrics.copies), (3600.0,))
    waiting = asyncio.create_task(patience.until_done(KEY, lambda: copier.copy(KEY)))
    while not patience.troubles.text:
        await asyncio.sleep(0.001)
    patience.stop()
    with pytest.raises(SecondStoreError, match="no answer"):
        await waiting


async def test_a_request_that_hangs_holds_up_no_stop(
    copier: Copier, second: FaultyStore, metrics: Metrics
) -> None:
    asked, answer = threading.Event(), threading.Event()

    def hang(_call: str, _key: str) -> None:
        asked.set()
        answer.wait()

    second.fault = hang
    patience = Patience(Troubles(SystemClock(), metrics.copies), (3600.0,))
    waiting = asyncio.create_task(patience.until_done(KEY, lambda: copier.copy(KEY)))
    await asyncio.to_thread(asked.wait)
    patience.stop()
    with pytest.raises(SecondStoreError, match="this worker stops"):
        await waiting
    answer.set()


async def test_one_bad_blob_does_not_hide_behind_others_that_work(
    local: MemoryStore, second: FaultyStore, metrics: Metrics
) -> None:
    local.put("sessions/one/seal", b"seal")
    copier = Copier(local, lambda: second, metrics.copies)
    troubles = Troubles(SystemClock(), metrics.copies)
    patience = Patience(troubles, (0.001,))
    gate = threading.Event()
    second.spoilt[KEY] = 1

    def bad() -> None:
        if second.spoilt[KEY] == 0:
            gate.wait()
        copier.copy(KEY)

    waiting = asyncio.create_task(patience.until_done(KEY, bad))
    while not troubles.text:
        await asyncio.sleep(0.001)
    await patience.until_done("seal", lambda: copier.copy("sessions/one/seal"))
    assert "looked at again" in troubles.text
    gate.set()
    await waiting
    assert troubles.text == ""


# --- deleting ------------------------------------------------------------------------------------


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
    assert (told.size, told.sha256) == (len(DATA), expected().sha256)
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


# --- repair --------------------------------------------------------------------------------------

CHUNK = StoredChunk(key=KEY, index=1, size=len(DATA), digest=blake3(DATA).digest())


@pytest.mark.parametrize("damage", ["gone", "changed", "cut"])
def test_what_is_not_whole_here_is_put_back(
    local: MemoryStore, second: FaultyStore, damage: str
) -> None:
    second.held.put(KEY, DATA)
    if damage == "gone":
        local.delete(KEY)
    else:
        local.tamper(KEY, DATA[:-1] + (b"" if damage == "cut" else b"x"))
    repair = Repairs(local, second, lambda _session_id: False).chunk("one", CHUNK)
    assert repair is not None
    assert not repair.lost
    assert repair.name == "chunks/0000000001.zst"
    assert local.get(KEY) == DATA
    assert Repairs(local, second, lambda _session_id: False).chunk("one", CHUNK) is None


@pytest.mark.parametrize("other", [None, b"others", DATA[:-1], DATA[:-1] + b"x"])
def test_bytes_that_are_not_those_of_the_record_are_put_nowhere(
    local: MemoryStore, second: FaultyStore, other: bytes | None
) -> None:
    if other is not None:
        second.held.put(KEY, other)
    local.tamper(KEY, b"damaged")
    repair = Repairs(local, second, lambda _session_id: False).chunk("one", CHUNK)
    assert repair is not None
    assert repair.lost
    assert local.get(KEY) == b"damaged"


def test_a_store_that_is_away_has_lost_nothing(local: MemoryStore, second: FaultyStore) -> None:
    second.held.put(KEY, DATA)
    second.away()
    local.delete(KEY)
    with pytest.raises(StoreError):
        Repairs(local, second, lambda _session_id: False).chunk("one", CHUNK)


def test_a_whole_chunk_is_not_touched_and_the_second_store_not_asked(
    local: MemoryStore, second: FaultyStore
) -> None:
    second.away()
    assert Repairs(local, second, lambda _session_id: False).chunk("one", CHUNK) is None
    assert second.calls == []


# --- the marker ----------------------------------------------------------------------------------


def test_a_marker_is_read_strictly() -> None:
    marker = CopyMarker(
        location="s3://bucket/sessions/one",
        seal_sha256="ab" * 32,
        file_count=3,
        file_bytes=4,
        archived_wall_ns=5,
    )
    assert parse_marker(encode_marker(marker)) == marker
    assert not marker.leaving
    for bad in (
        b"",
        b"{}",
        b'{"v":2}',
        encode_marker(marker)[:-1],
        b"\xff",
        encode_marker(marker) + b"x",
    ):
        with pytest.raises(FormatError):
            parse_marker(bad)


def test_the_meters_begin_well(metrics: Metrics) -> None:
    assert isinstance(metrics.copies, CopyMeters)
    assert counted(metrics, "recorder_second_store_ok_state") == 1
