from __future__ import annotations

import base64
import hashlib
from pathlib import Path

import msgspec
import pytest
from memory_store import MemoryStore
from opentimestamps.core.notary import (
    BitcoinBlockHeaderAttestation,
    PendingAttestation,
    UnknownAttestation,
)
from ots_receipts import receipt as ots_receipt
from time_stamp_authority import Tsa

from recorder_worker.core import keys
from recorder_worker.core.errors import BlobMissingError, FormatError
from recorder_worker.core.events import AnchorReceipt
from recorder_worker.core.merkle.proofs import ProofError
from recorder_worker.core.receipts import ots
from recorder_worker.core.receipts.beacon import Beacon, encode_beacon, parse_beacon
from recorder_worker.core.receipts.block_header import BlockHeader
from recorder_worker.core.receipts.ots import verify_ots
from recorder_worker.core.receipts.timestamp import verify_timestamp
from recorder_worker.core.session_log.entries import NO_SESSION
from recorder_worker.core.session_log.log_proof import LogProof
from recorder_worker.core.signing.note import parse_note
from recorder_worker.stages import receipts
from recorder_worker.stages.receipts import MAX_AHEAD_NS, ReceiptsStage

SESSION = "0190a0b0-0000-7000-8000-000000000001"
ORIGIN = "lab7/log"
TSR = "receipts/00000000000000000009.tsr"
OTS = "receipts/00000000000000000009.ots"
CALENDAR = PendingAttestation("https://calendar.example")


def root(size: int) -> bytes:
    return size.to_bytes(32, "big")


def note(size: int) -> bytes:
    encoded = base64.b64encode(root(size)).decode()
    return f"{ORIGIN}\n{size}\n{encoded}\n\n— {ORIGIN} AAAAAAA=\n".encode()


def proof(size: int) -> bytes:
    return LogProof(index=size - 1, hashes=(), checkpoint=parse_note(note(size))).text()


def event(data: bytes, size: int = 9, kind: str = "rfc3161") -> AnchorReceipt:
    return msgspec.convert(
        {
            "type": "anchor_receipt",
            "origin": ORIGIN,
            "tree_size": size,
            "root_hash": root(size).hex(),
            "session_id": SESSION,
            "kind": kind,
            "target": "https://tsa.example",
            "receipt": base64.b64encode(data).decode(),
        },
        AnchorReceipt,
    )


@pytest.fixture(scope="module")
def tsa(tmp_path_factory: pytest.TempPathFactory) -> Tsa:
    return Tsa(tmp_path_factory.mktemp("tsa"))


@pytest.fixture
def store() -> MemoryStore:
    """A store with one session that is in the log with its begin, at 5, and its seal, at 9."""
    made = MemoryStore()
    made.put(keys.blob_key(SESSION, keys.PROOF_OPEN), proof(5))
    made.put(keys.blob_key(SESSION, keys.PROOF_SEAL), proof(9))
    return made


def taken(store: MemoryStore) -> dict[str, bytes]:
    """What is stored beside the proofs."""
    return {key: store.get(key) for key in store.keys("") if "/proofs/" not in key}


async def test_a_receipt_is_kept_with_the_log_and_with_the_session(
    store: MemoryStore, tsa: Tsa
) -> None:
    receipt = tsa.stamp(note(9))
    await ReceiptsStage(store, [tsa.trusted()]).handle(event(receipt))
    beacon = parse_beacon(store.get("log/beacon"))
    assert (beacon.tree_size, beacon.note.encode(), beacon.timestamp) == (9, note(9), receipt)
    assert taken(store) == {
        f"log/{TSR}": receipt,
        "log/receipts/00000000000000000009.note": note(9),
        f"sessions/{SESSION}/{TSR}": receipt,
        "log/beacon": store.get("log/beacon"),
    }


async def test_a_receipt_over_an_audit_entry_is_kept_with_the_log_alone(
    store: MemoryStore, tsa: Tsa
) -> None:
    store.put(keys.audit_proof(12), proof(12))
    receipt = tsa.stamp(note(12))
    of_none = msgspec.structs.replace(event(receipt, 12), session_id=NO_SESSION)
    await ReceiptsStage(store, [tsa.trusted()]).handle(of_none)
    assert parse_beacon(store.get("log/beacon")).tree_size == 12
    assert set(taken(store)) == {
        "log/receipts/00000000000000000012.tsr",
        "log/receipts/00000000000000000012.note",
        "log/beacon",
    }
    other = msgspec.structs.replace(event(receipt, 9), session_id=NO_SESSION)
    with pytest.raises(BlobMissingError, match="expected a log proof"):
        await ReceiptsStage(store).handle(other)


async def test_the_begin_has_a_receipt_of_its_own(store: MemoryStore, tsa: Tsa) -> None:
    await ReceiptsStage(store).handle(event(tsa.stamp(note(5)), 5))
    assert store.size(f"sessions/{SESSION}/receipts/00000000000000000005.tsr")


async def test_the_beacon_does_not_go_back(store: MemoryStore, tsa: Tsa) -> None:
    stage = ReceiptsStage(store)
    await stage.handle(event(tsa.stamp(note(9))))
    newest = store.get("log/beacon")
    await stage.handle(event(tsa.stamp(note(5)), 5))
    assert store.get("log/beacon") == newest


async def test_a_receipt_that_no_record_can_hold_is_no_beacon(
    store: MemoryStore, tsa: Tsa, monkeypatch: pytest.MonkeyPatch
) -> None:
    receipt = tsa.stamp(note(9))
    monkeypatch.setattr(receipts, "MAX_BEACON_TIMESTAMP_SIZE", len(receipt) - 1)
    await ReceiptsStage(store).handle(event(receipt))
    assert store.get(f"sessions/{SESSION}/{TSR}") == receipt
    assert store.size("log/beacon") is None


@pytest.mark.parametrize(
    "stored",
    [b"", b"\xff", b"[]", b'{"tree_size":99,"note":"n","timestamp":""}'],
    ids=["empty", "no text", "a list", "no time-stamp"],
)
async def test_a_beacon_that_cannot_be_read_is_replaced(
    store: MemoryStore, tsa: Tsa, stored: bytes
) -> None:
    store.replace("log/beacon", stored)
    with pytest.raises(FormatError, match=r"log/beacon: expected JSON"):
        parse_beacon(stored)
    await ReceiptsStage(store).handle(event(tsa.stamp(note(9))))
    assert parse_beacon(store.get("log/beacon")).tree_size == 9


async def test_a_redelivery_changes_nothing(store: MemoryStore, tsa: Tsa) -> None:
    stage = ReceiptsStage(store)
    first = event(tsa.stamp(note(9)))
    await stage.handle(first)
    before = taken(store)
    await stage.handle(first)
    assert taken(store) == before


async def test_the_first_of_two_receipts_stays(store: MemoryStore, tsa: Tsa) -> None:
    stage = ReceiptsStage(store)
    await stage.handle(event(tsa.stamp(note(9))))
    before = taken(store)
    await stage.handle(event(tsa.stamp(note(9))))
    assert taken(store) == before


@pytest.mark.parametrize("done", range(4), ids=["nothing", "note", "log", "session"])
async def test_a_crash_between_two_writes_is_finished(
    store: MemoryStore, tsa: Tsa, done: int
) -> None:
    receipt = tsa.stamp(note(9))
    for key, data in (
        ("log/receipts/00000000000000000009.note", note(9)),
        (f"log/{TSR}", receipt),
        (f"sessions/{SESSION}/{TSR}", receipt),
    )[:done]:
        store.put(key, data)
    another = tsa.stamp(note(9))  # the engine died as well, and asked again
    await ReceiptsStage(store).handle(event(another))
    kept = receipt if done >= 2 else another
    assert store.get(f"log/{TSR}") == kept
    assert store.get(f"sessions/{SESSION}/{TSR}") == kept
    assert parse_beacon(store.get("log/beacon")).timestamp == kept


@pytest.mark.parametrize("over", [note(8), b"other", note(9) + b"\n"])
async def test_a_receipt_of_another_file_is_refused(
    store: MemoryStore, tsa: Tsa, over: bytes
) -> None:
    with pytest.raises(ProofError, match=r"for another file"):
        await ReceiptsStage(store).handle(event(tsa.stamp(over)))
    assert taken(store) == {}


@pytest.mark.parametrize(
    "changed",
    [{"origin": "lab8/log"}, {"tree_size": 8}, {"root_hash": "00" * 32}],
    ids=lambda changed: next(iter(changed)),
)
async def test_a_receipt_of_another_checkpoint_is_refused(
    store: MemoryStore, tsa: Tsa, changed: dict[str, object]
) -> None:
    wrong = msgspec.structs.replace(event(tsa.stamp(note(9))), **changed)
    with pytest.raises(ProofError, match=r"stands in a log proof of session"):
        await ReceiptsStage(store).handle(wrong)
    assert taken(store) == {}


async def test_a_receipt_for_a_session_that_is_gone_is_refused(tsa: Tsa) -> None:
    store = MemoryStore()
    with pytest.raises(BlobMissingError, match=r"it was deleted, or is not of this recorder"):
        await ReceiptsStage(store).handle(event(tsa.stamp(note(9))))
    assert taken(store) == {}


async def test_what_is_no_receipt_is_refused(store: MemoryStore) -> None:
    with pytest.raises(FormatError):
        await ReceiptsStage(store).handle(event(b"hello"))
    assert taken(store) == {}


async def test_somebody_else_s_time_stamp_is_refused_where_one_is_named(
    store: MemoryStore, tsa: Tsa, tmp_path: Path
) -> None:
    other = Tsa(tmp_path, name="other")
    with pytest.raises(ProofError, match=r"expected a time-stamp of lab, got one of CN=other"):
        await ReceiptsStage(store, [tsa.trusted()]).handle(event(other.stamp(note(9))))
    assert taken(store) == {}


async def test_a_time_stamp_of_a_trusted_authority_replaces_one_of_nobody(
    store: MemoryStore, tsa: Tsa, tmp_path: Path
) -> None:
    """The authority was named late: what was taken before it, beacon and all, gives way."""
    other = Tsa(tmp_path, name="other").stamp(note(9))
    await ReceiptsStage(store).handle(event(other))
    assert parse_beacon(store.get("log/beacon")).timestamp == other
    stage = ReceiptsStage(store, [tsa.trusted()])
    begin, seal = tsa.stamp(note(5)), tsa.stamp(note(9))
    await stage.handle(event(begin, 5))
    assert parse_beacon(store.get("log/beacon")).timestamp == begin
    await stage.handle(event(seal))
    assert store.get(f"log/{TSR}") == store.get(f"sessions/{SESSION}/{TSR}") == seal
    assert parse_beacon(store.get("log/beacon")).timestamp == seal
    before = taken(store)
    await stage.handle(event(tsa.stamp(note(9))))
    await ReceiptsStage(store).handle(event(other))
    assert taken(store) == before


@pytest.mark.parametrize(("ahead_s", "taken_over"), [(295, True), (310, False)])
async def test_a_time_stamp_from_the_future_is_no_beacon(
    store: MemoryStore, tsa: Tsa, *, ahead_s: int, taken_over: bool
) -> None:
    stamp = tsa.stamp(note(9))
    now_ns = verify_timestamp(stamp, note(9)).time_ns - ahead_s * 10**9
    await ReceiptsStage(store, (), lambda: now_ns).handle(event(stamp))
    assert store.get(f"sessions/{SESSION}/{TSR}") == stamp
    assert (store.size("log/beacon") is not None) is taken_over
    await ReceiptsStage(store, [tsa.trusted()], lambda: now_ns).handle(event(stamp))
    assert parse_beacon(store.get("log/beacon")).timestamp == stamp


async def test_a_forged_time_stamp_does_not_keep_the_honest_one_out_of_open(
    store: MemoryStore, tmp_path: Path
) -> None:
    """It came first and stays in the folder: the next OPEN holds the one whose time can be."""
    exact = Tsa(tmp_path, precision=6)
    begin, honest, forged = (exact.stamp(note(size)) for size in (5, 9, 9))
    now_ns = verify_timestamp(honest, note(9)).time_ns - MAX_AHEAD_NS
    stage = ReceiptsStage(store, (), lambda: now_ns)
    held = Beacon(tree_size=9, note=note(9).decode(), timestamp=forged)
    store.replace("log/beacon", encode_beacon(held))
    await stage.handle(event(begin, 5))
    assert parse_beacon(store.get("log/beacon")).timestamp == begin
    await stage.handle(event(forged))
    assert parse_beacon(store.get("log/beacon")).timestamp == begin
    await stage.handle(event(honest))
    assert store.get(f"log/{TSR}") == forged
    assert parse_beacon(store.get("log/beacon")).timestamp == honest


@pytest.mark.parametrize("honest_first", [True, False], ids=["honest first", "forged first"])
async def test_a_forged_block_takes_no_honest_one_away(
    store: MemoryStore, *, honest_first: bool
) -> None:
    stage = ReceiptsStage(store)
    forged, _ = ots_receipt(BitcoinBlockHeaderAttestation(2**31), message=note(9), ops=())
    honest, merkle_root = ots_receipt(BitcoinBlockHeaderAttestation(870_000), message=note(9))
    promised, _ = ots_receipt(CALENDAR, message=note(9))
    unknown, _ = ots_receipt(UnknownAttestation(b"12345678", b"?"), message=note(9))
    for receipt in (honest, forged) if honest_first else (forged, honest):
        await stage.handle(event(receipt, kind="opentimestamps"))
    for receipt in (promised, unknown):
        await stage.handle(event(receipt, kind="opentimestamps"))
    kept = store.get(f"log/{OTS}")
    assert store.get(f"sessions/{SESSION}/{OTS}") == kept
    header = BlockHeader(height=870_000, merkle_root=merkle_root, time=1_730_000_000)
    found = verify_ots(kept, note(9), [header])
    assert len(found.attestations) == 4
    assert found.best is not None
    assert found.best.detail == "block 870000"
    before = taken(store)
    for receipt in (forged, honest, promised, unknown, kept):
        await stage.handle(event(receipt, kind="opentimestamps"))
    assert taken(store) == before


@pytest.mark.parametrize("honest_first", [True, False], ids=["honest first", "forged first"])
async def test_a_proof_for_which_there_is_no_room_is_kept_beside(
    store: MemoryStore, monkeypatch: pytest.MonkeyPatch, *, honest_first: bool
) -> None:
    stage = ReceiptsStage(store)
    filler = [UnknownAttestation(b"1234567%d" % index, b"x" * 4000) for index in range(9)]
    forged, _ = ots_receipt(*filler, message=note(9))
    honest, _ = ots_receipt(BitcoinBlockHeaderAttestation(870_000), message=note(9))
    monkeypatch.setattr(ots, "MAX_OTS_SIZE", len(forged))
    first, second = (honest, forged) if honest_first else (forged, honest)
    for receipt in (first, second, second):
        await stage.handle(event(receipt, kind="opentimestamps"))
    beside = f"log/{OTS[:-4]}.{hashlib.sha256(second).hexdigest()}.ots"
    assert {key: data for key, data in taken(store).items() if key.endswith(".ots")} == {
        f"log/{OTS}": first,
        f"sessions/{SESSION}/{OTS}": first,
        beside: second,
    }


async def test_a_promise_is_completed_by_a_block_and_never_undone(store: MemoryStore) -> None:
    stage = ReceiptsStage(store)
    promised, _ = ots_receipt(CALENDAR, message=note(9))
    complete, _ = ots_receipt(CALENDAR, BitcoinBlockHeaderAttestation(7), message=note(9))
    for receipt, kept in ((promised, promised), (complete, complete), (promised, complete)):
        await stage.handle(event(receipt, kind="opentimestamps"))
        assert store.get(f"log/{OTS}") == kept
        assert store.get(f"sessions/{SESSION}/{OTS}") == kept
    assert store.size("log/beacon") is None
