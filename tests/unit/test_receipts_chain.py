from __future__ import annotations

import base64
import re
from hashlib import sha256

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from memory_store import MemoryStore
from reference_log import imprint_of_chain

from recorder_worker.core import keys
from recorder_worker.core.errors import FormatError, SettingsError, UnsupportedError
from recorder_worker.core.events import AnchorReceipt
from recorder_worker.core.merkle.proofs import ProofError
from recorder_worker.core.receipts.chain import (
    FIRST,
    Anchor,
    ChainEntry,
    fingerprint,
    parse_chain_receipt,
    sign_entry,
    verify_chain_receipt,
)
from recorder_worker.core.session_log.log_proof import LogProof
from recorder_worker.core.signing.note import parse_note
from recorder_worker.core.verify.policy import parse_policy
from recorder_worker.core.verify.receipts import (
    Covers,
    LogCheckpoint,
    ReceiptFile,
    ReceiptsChecked,
    check_receipts,
)
from recorder_worker.core.verify.time_window import WallClocks, prove_window
from recorder_worker.stages.receipts import ReceiptsStage

SESSION = "0190a0b0-0000-7000-8000-000000000001"
ORIGIN = "lab7/log"
ROOT = b"\7" * 32
NOTE = f"{ORIGIN}\n9\n{base64.b64encode(ROOT).decode()}\n\n— {ORIGIN} AAAAAAA=\n".encode()
PRIVATE = Ed25519PrivateKey.from_private_bytes(b"\1" * 32)
PUBLIC = PRIVATE.public_key().public_bytes_raw()
NAME = keys.chain_receipt(9, fingerprint(PUBLIC))
NOTARY = Anchor(name="our notary", public_key=PUBLIC)
ENTRY = ChainEntry(
    name="notary/1",
    public_key=PUBLIC,
    origin=ORIGIN,
    tree_size=9,
    root_hash=ROOT,
    note_sha256=sha256(NOTE).hexdigest(),
    time_s=1_800_000_000,
    number=3,
    previous="cd" * 32,
)
RECEIPT = sign_entry(ENTRY, PRIVATE.sign)


def changed(**fields: object) -> bytes:
    return sign_entry(msgspec.structs.replace(ENTRY, **fields), PRIVATE.sign)


def test_a_receipt_holds_and_says_who_gave_it() -> None:
    assert parse_chain_receipt(RECEIPT).entry == ENTRY
    assert verify_chain_receipt(RECEIPT, NOTE).trusted_by is None
    assert verify_chain_receipt(RECEIPT, NOTE, [NOTARY]).trusted_by == "our notary"
    assert ENTRY.digest == sha256(RECEIPT.split(b"\n\n")[0] + b"\n").hexdigest()
    assert msgspec.structs.replace(ENTRY, number=1, previous=FIRST).digest != ENTRY.digest


def test_the_second_implementation_agrees() -> None:
    assert imprint_of_chain(RECEIPT) == sha256(NOTE).digest()


@pytest.mark.parametrize("at", range(0, len(RECEIPT), 3))
def test_one_byte_that_is_changed_is_found(at: int) -> None:
    damaged = RECEIPT[:at] + bytes([RECEIPT[at] ^ 1]) + RECEIPT[at + 1 :]
    with pytest.raises((FormatError, ProofError)):
        verify_chain_receipt(damaged, NOTE, [NOTARY])


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff",
        RECEIPT[:-1],
        RECEIPT + b"\n",
        RECEIPT + RECEIPT,
        RECEIPT.replace(b"\n", b"\r\n"),
        RECEIPT.replace(b"\n3\n", b"\n03\n"),
        RECEIPT.replace(b"\n3\n", b"\n+3\n"),
        RECEIPT.replace(b"\n9\n", b"\n\xd9\xa9\n"),
        RECEIPT.replace(b"1800000000", b"9999999999999"),
        RECEIPT.replace(b"cd" * 32, b"CD" * 32),
        RECEIPT.replace(b"notary/1", b"notary/2"),
        RECEIPT + b"x" * 5000,
    ],
    ids=lambda value: repr(value[-12:]),
)
def test_anything_but_the_one_encoding_is_refused(data: bytes) -> None:
    with pytest.raises((FormatError, ProofError)):
        verify_chain_receipt(data, NOTE, [NOTARY])


def test_a_later_version_is_not_called_tampering() -> None:
    with pytest.raises(UnsupportedError):
        parse_chain_receipt(RECEIPT.replace(b"receipt v1", b"receipt v2"))


@pytest.mark.parametrize(
    "fields",
    [
        {"tree_size": 8},
        {"origin": "lab8/log"},
        {"root_hash": b"\0" * 32},
        {"note_sha256": "00" * 32},
    ],
    ids=str,
)
def test_a_receipt_over_something_else_is_refused(fields: dict[str, object]) -> None:
    with pytest.raises(ProofError, match="expected one over the checkpoint of size 9"):
        verify_chain_receipt(changed(**fields), NOTE, [NOTARY])


def test_a_signature_of_another_key_makes_no_receipt() -> None:
    with pytest.raises(ProofError):
        sign_entry(ENTRY, Ed25519PrivateKey.generate().sign)


# --- the verifier ---------------------------------------------------------------------------------


def checked(data: bytes, *anchors: Anchor, name: str = NAME) -> ReceiptsChecked:
    return check_receipts(
        timestamped=b"",
        timestamp=b"",
        checkpoints=[LogCheckpoint(covers=Covers.SEAL, tree_size=9, note=NOTE)],
        files=[ReceiptFile(name=name, data=data)],
        anchors=anchors,
    )


def test_a_receipt_of_an_anchor_in_the_policy_proves_the_end() -> None:
    found = checked(RECEIPT, NOTARY)
    assert (found.failures, found.warnings) == ((), ())
    window = prove_window(found, WallClocks(open_ns=0, seal_ns=0), require_receipt=True)
    assert window.not_after is not None
    assert window.not_after.t_ns == 1_800_000_001 * 10**9
    assert window.not_after.by == "our notary (notary/1, entry 3)"
    assert window.broken_rules == ()


def test_a_receipt_of_an_anchor_that_nobody_vouches_for_proves_nothing() -> None:
    stranger = Anchor(name="another", public_key=b"\2" * 32)
    found = checked(RECEIPT, stranger)
    window = prove_window(found, WallClocks(open_ns=0, seal_ns=0), require_receipt=True)
    assert found.failures == ()
    assert window.not_after is None
    assert window.broken_rules
    assert any("no anchor with the key" in text for text in window.not_proved)


def test_a_wrong_receipt_is_an_attack_and_an_unknown_version_is_not() -> None:
    assert checked(changed(tree_size=8), NOTARY).failures
    assert checked(RECEIPT, NOTARY, name=keys.chain_receipt(9, "0" * 16)).failures
    later = checked(RECEIPT.replace(b"receipt v1", b"receipt v2"), NOTARY)
    assert later.failures == ()
    assert any("not checked" in text for text in later.not_proved)


def test_a_policy_names_anchors_by_their_keys() -> None:
    text = f'anchors:\n  - name: our notary\n    public_key: "{PUBLIC.hex()}"\n'
    assert parse_policy(text.encode()).anchors == (NOTARY,)
    with pytest.raises(SettingsError, match="expected in anchors: name, public_key"):
        parse_policy(b"anchors: [{name: x, certificate: y}]")
    with pytest.raises(SettingsError, match="expected public_key as 64 hexadecimal digits"):
        parse_policy(b"anchors: [{name: x, public_key: y}]")


# --- the keeper -----------------------------------------------------------------------------------


def event(data: bytes) -> AnchorReceipt:
    return AnchorReceipt(
        origin=ORIGIN,
        tree_size=9,
        root_hash=ROOT.hex(),
        session_id=SESSION,
        kind="chain",
        target="anchors.chain",
        receipt=data,
    )


@pytest.fixture
def store() -> MemoryStore:
    made = MemoryStore()
    proof = LogProof(index=8, hashes=(), checkpoint=parse_note(NOTE)).text()
    made.put(keys.blob_key(SESSION, keys.PROOF_SEAL), proof)
    return made


async def test_receipts_of_two_anchors_are_kept_beside_each_other(store: MemoryStore) -> None:
    other = Ed25519PrivateKey.from_private_bytes(b"\3" * 32)
    public = other.public_key().public_bytes_raw()
    theirs = sign_entry(msgspec.structs.replace(ENTRY, public_key=public), other.sign)
    anchors = [NOTARY, Anchor(name="theirs", public_key=public)]
    stage = ReceiptsStage(store, anchors=anchors)
    for receipt in (RECEIPT, theirs, RECEIPT):
        await stage.handle(event(receipt))
    for prefix in (f"sessions/{SESSION}", "log"):
        assert store.get(f"{prefix}/{NAME}") == RECEIPT
        assert store.get(f"{prefix}/{keys.chain_receipt(9, fingerprint(public))}") == theirs
    assert store.size("log/beacon") is None, "OPEN holds time-stamps of RFC 3161 alone"


async def test_the_first_receipt_of_an_anchor_stays(store: MemoryStore) -> None:
    stage = ReceiptsStage(store, anchors=[NOTARY])
    await stage.handle(event(RECEIPT))
    await stage.handle(event(changed(number=4, time_s=1_900_000_000)))
    assert store.get(f"sessions/{SESSION}/{NAME}") == RECEIPT


@pytest.mark.parametrize("anchors", [[], [Anchor(name="x", public_key=b"\2" * 32)]], ids=len)
async def test_a_receipt_of_an_anchor_that_is_not_named_is_refused(
    store: MemoryStore, anchors: list[Anchor]
) -> None:
    stage = ReceiptsStage(store, anchors=anchors)
    with pytest.raises(ProofError, match=re.escape("name that key in anchors.chain_keys")):
        await stage.handle(event(RECEIPT))
    assert store.size(f"sessions/{SESSION}/{NAME}") is None


async def test_a_forged_receipt_is_refused(store: MemoryStore) -> None:
    forged = RECEIPT[:-10] + b"AAAAAAA" + RECEIPT[-3:]
    with pytest.raises((ProofError, FormatError)):
        await ReceiptsStage(store, anchors=[NOTARY]).handle(event(forged))
    assert store.size(f"sessions/{SESSION}/{NAME}") is None
