"""A proof holds as it was made and under no change; it needs nothing but itself."""

from __future__ import annotations

import base64
import hashlib
import json
from typing import Any

import msgspec
import pytest
from blake3 import blake3
from cryptography.hazmat.primitives.asymmetric.ed25519 import (
    Ed25519PrivateKey,
    Ed25519PublicKey,
)
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey
from recording_files import FilesReader
from recordings import OTHER_SESSION, RECORDER, WALL_NS, KeysOfTests, Recording, device_key

from recorder_worker.core.errors import (
    BlobMissingError,
    FormatError,
    PermanentError,
    RecorderError,
    RefusedError,
)
from recorder_worker.core.evidence.proof_check import (
    ContradictionError,
    ProofFound,
    check_chunk_file,
    check_proof,
)
from recorder_worker.core.evidence.proof_file import (
    ConsistencyFile,
    InclusionFile,
    LeafProof,
    decode_proof,
    encode_proof,
    record_text,
)
from recorder_worker.core.evidence.proof_making import prove_consistency, prove_leaf
from recorder_worker.core.merkle.proofs import ProofError
from recorder_worker.core.records.leaves import ChunkRecord
from recorder_worker.core.records.ledger import LedgerContext
from recorder_worker.core.signing.note import NoteSigner, note_keys, sign_checkpoint
from recorder_worker.core.signing.note_text import TreeHead
from recorder_worker.core.signing.origins import session_origin
from recorder_worker.core.signing.signing_keys import KeyKind, PublicKey


class BothKeys(KeysOfTests):
    """Keys that have ML-DSA-44 beside Ed25519; of `plain` epochs only Ed25519."""

    def __init__(self, session_id: str, plain: frozenset[int]) -> None:
        super().__init__(session_id, device_key())
        self._plain = plain

    def ml_dsa_44(self, what: str) -> MLDSA44PrivateKey:
        return MLDSA44PrivateKey.from_seed_bytes(blake3(what.encode()).digest())

    def device_keys(self) -> tuple[PublicKey, ...]:
        second = self.ml_dsa_44("device").public_key().public_bytes_raw()
        return (*super().device_keys(), PublicKey(KeyKind.ML_DSA_44, second))

    def endorse(self, message: bytes) -> tuple[bytes, ...]:
        return (*super().endorse(message), self.ml_dsa_44("device").sign(message))

    def epoch_keys(self, number: int) -> tuple[PublicKey, ...]:
        if number in self._plain:
            return super().epoch_keys(number)
        second = self.ml_dsa_44(f"epoch {number}").public_key().public_bytes_raw()
        return (*super().epoch_keys(number), PublicKey(KeyKind.ML_DSA_44, second))


class BothRecording(Recording):
    """A recording that both kinds of keys sign."""

    def __init__(self, plain: frozenset[int] = frozenset()) -> None:
        super().__init__(OTHER_SESSION, checkpoint_every=1)
        self.both = BothKeys(OTHER_SESSION, plain)
        self.context = LedgerContext(session_id=OTHER_SESSION, recorder=RECORDER, keys=self.both)

    def note(self, size: int, root: bytes, *, key: Ed25519PrivateKey | None = None) -> bytes:
        epoch = self.epoch_at(size)
        signs = (
            (key or self.both.epoch_key(epoch)).sign,
            self.both.ml_dsa_44(f"epoch {epoch}").sign,
        )
        signers = [
            NoteSigner(key=one, sign=sign)
            for one, sign in zip(
                note_keys(RECORDER, self.both.epoch_keys(epoch)), signs, strict=False
            )
        ]
        origin = session_origin(RECORDER, OTHER_SESSION)
        head = TreeHead(origin=origin, tree_size=size, root_hash=root)
        return sign_checkpoint(head, signers=signers, signed_at_s=WALL_NS // 10**9 + size)


def session(session_id: str = OTHER_SESSION) -> Recording:
    """0 OPEN, 1 2 chunks, 3 EPOCH, 4 chunk, 5 beat, 6 EPOCH, 7 mark, 8 chunk, 9 EPOCH, 10 SEAL."""
    recording = Recording(session_id, checkpoint_every=1).open().chunk().chunk().epoch()
    return recording.chunk().beat().epoch().mark().chunk().epoch().seal()


RECORDING = session()
READER = FilesReader(RECORDING.sealed())


def checked(proof: InclusionFile | ConsistencyFile) -> ProofFound:
    return check_proof(decode_proof(encode_proof(proof)))


@pytest.mark.parametrize("index", range(11))
def test_every_leaf_can_be_proved(index: int) -> None:
    found = checked(prove_leaf(READER, index))
    assert found.record is not None
    assert found.record.index == index
    assert (found.tree_size, found.epoch) == (11, 3)
    assert found.root_hash == RECORDING.state.frontier.root().hex()
    public = device_key().public_key().public_bytes_raw()
    assert found.device_keys == (PublicKey(KeyKind.ED25519, public),)
    assert found.recorder == RECORDER
    assert len(found.proved) == 4


@pytest.mark.parametrize("size", range(1, 11))
def test_an_unsealed_recording_proves_up_to_its_newest_checkpoint(size: int) -> None:
    """Also where that is the one which closes an epoch: its last leaf is no link of the chain."""
    files = {
        name: data
        for name, data in RECORDING.journal().items()
        if not name.startswith("journal/checkpoints") or int(name[-10:]) <= size
    }
    for index in range(size):
        found = checked(prove_leaf(FilesReader(files), index))
        assert found.tree_size == size
        assert found.epoch == sum(turn < size - 1 for turn in (3, 6, 9))
    with pytest.raises(RefusedError, match="index of a leaf"):
        prove_leaf(FilesReader(files), size)


def test_every_two_checkpoints_are_consistent() -> None:
    for second in range(2, 12):
        for first in range(1, second):
            found = checked(prove_consistency(READER, first, second))
            assert found.record is None
            assert found.tree_size == second
            assert f"holds the {first} leaves" in found.proved[-1]


def test_what_cannot_be_proved_is_refused() -> None:
    for index in (1, 4):
        prove_leaf(READER, index, chunk=True)
    for index in (0, 3, 5, 7, 10):
        with pytest.raises(RefusedError, match="index of a CHUNK"):
            prove_leaf(READER, index, chunk=True)
    for first, second in ((0, 3), (3, 3), (4, 3), (-1, 3)):
        with pytest.raises(RefusedError, match="the smaller one first"):
            prove_consistency(READER, first, second)
    with pytest.raises(BlobMissingError, match="size 12"):
        prove_consistency(READER, 3, 12)
    with pytest.raises(RefusedError, match="a clip"):
        prove_leaf(FilesReader({**READER.files, "clip": b""}), 1)


def test_the_report_says_what_is_not_proved() -> None:
    found = checked(prove_leaf(READER, 4))
    assert any("give its file" in text for text in found.not_proved)
    assert any("times are true" in text for text in found.not_proved)
    assert not any("give its file" in text for text in checked(prove_leaf(READER, 0)).not_proved)


def test_the_chunks_file_is_compared_with_its_record() -> None:
    found = checked(prove_leaf(READER, 4))
    data = READER.files["chunks/0000000004.zst"]
    assert "are those of the chunk" in check_chunk_file(found.record, [data[:9], data[9:]])
    for wrong in (data[:-1], data + b"x", bytes([data[0] ^ 1]) + data[1:], b""):
        with pytest.raises(ProofError, match="the chunk's file"):
            check_chunk_file(found.record, [wrong])
    with pytest.raises(FormatError, match="CHUNK"):
        check_chunk_file(checked(prove_leaf(READER, 0)).record, [data])


def test_ml_dsa_44_beside_ed25519_is_checked_and_said() -> None:
    made = BothRecording().open().chunk().epoch().chunk().seal()
    proof = prove_leaf(FilesReader(made.sealed()), 1)
    found = checked(proof)
    assert found.ml_dsa_44
    assert [key.kind for key in found.device_keys] == [KeyKind.ED25519, KeyKind.ML_DSA_44]
    assert not checked(prove_leaf(READER, 1)).ml_dsa_44
    plain = BothRecording(frozenset({1})).open().chunk().epoch().chunk().seal()
    assert not checked(prove_leaf(FilesReader(plain.sealed()), 1)).ml_dsa_44
    *text, _, second = proof.checkpoint.splitlines(keepends=True)
    for lines in ([*text, second], proof.checkpoint.splitlines(keepends=True)[:-1]):
        with pytest.raises(ProofError, match="expected one signature"):
            checked(msgspec.structs.replace(proof, checkpoint="".join(lines)))


# --- nothing else holds --------------------------------------------------------------------------


def leaves_of(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[tuple[Any, ...], Any]]:  # noqa: ANN401  (any JSON value)
    """Every text and number of a JSON value, by its path."""
    if isinstance(value, dict):
        return [leaf for name in value for leaf in leaves_of(value[name], (*path, name))]
    if isinstance(value, list):
        return [leaf for n, one in enumerate(value) for leaf in leaves_of(one, (*path, n))]
    return [(path, value)]


def falsified(value: Any) -> list[Any]:  # noqa: ANN401  (any JSON value)
    """Other values of the same form."""
    if isinstance(value, int):
        return [value + 1, value - 1, 0, 2**40]
    if len(value) == 64 and not value.strip("0123456789abcdef"):
        return [f"{int(value, 16) ^ 1:064x}", "00" * 32]
    if "\n" in value:
        return [value.replace("recorder-of", "recorder-if"), value[:-4] + "AA==\n", value * 2]
    data = bytearray(base64.b64decode(value)) if len(value) > 64 else bytearray()
    changed = []
    for at in range(0, len(data), 7):
        data[at] ^= 1
        changed.append(base64.b64encode(bytes(data)).decode())
        data[at] ^= 1
    return [*changed, value[:-1]]


@pytest.mark.parametrize(
    "proof", [prove_leaf(READER, 8), prove_consistency(READER, 4, 11)], ids=["leaf", "two"]
)
def test_no_changed_value_holds(proof: InclusionFile | ConsistencyFile) -> None:
    original = json.loads(encode_proof(proof))
    tried = 0
    for path, value in leaves_of(original):
        if path == ("format",):
            continue
        for wrong in falsified(value):
            if wrong == value:
                continue
            changed = json.loads(encode_proof(proof))
            at = changed
            for name in path[:-1]:
                at = at[name]
            at[path[-1]] = wrong
            data = (json.dumps(changed, indent=2, ensure_ascii=False) + "\n").encode()
            tried += 1
            with pytest.raises(PermanentError):
                check_proof(decode_proof(data))
    assert tried > 200


def test_hashes_too_many_too_few_or_swapped_do_not_hold() -> None:
    proof = prove_leaf(READER, 8)
    for leaf in (proof.leaf, proof.open):
        hashes = leaf.hashes
        for wrong in (hashes[1:], hashes[:-1], (*hashes, hashes[0]), hashes[::-1]):
            other = LeafProof(index=leaf.index, record=leaf.record, hashes=wrong)
            name = "leaf" if leaf is proof.leaf else "open"
            with pytest.raises(ProofError, match="inclusion"):
                checked(msgspec.structs.replace(proof, **{name: other}))


def test_the_chain_of_keys_has_no_hole_no_repeat_and_its_order() -> None:
    proof = prove_leaf(READER, 8)
    one, two, three = proof.epochs
    for wrong in (
        (),
        (one,),
        (one, two),
        (one, three),
        (two, three),
        (two, one, three),
        (one, one, two, three),
        (one, two, three, three),
    ):
        with pytest.raises(ProofError):
            checked(msgspec.structs.replace(proof, epochs=wrong))


def test_an_epoch_is_closed_by_the_keys_before_it() -> None:
    """A later checkpoint over the same leaf, or the new keys themselves, do not do."""
    proof = prove_leaf(READER, 8)
    forged = RECORDING.note(
        4, RECORDING.state.frontier.root(), key=RECORDING.keys.epoch_key(1)
    ).decode()
    for note in (forged, proof.checkpoint, proof.epochs[1].closing_checkpoint):
        link = msgspec.structs.replace(proof.epochs[0], closing_checkpoint=note)
        with pytest.raises(ProofError):
            checked(msgspec.structs.replace(proof, epochs=(link, *proof.epochs[1:])))


def test_a_checkpoint_signed_by_the_keys_of_another_epoch_does_not_hold() -> None:
    recording = session()
    root = recording.state.frontier.root()
    for epoch in (0, 1, 2):
        note = recording.note(11, root, key=recording.keys.epoch_key(epoch)).decode()
        with pytest.raises(ProofError, match="expected one signature"):
            checked(msgspec.structs.replace(prove_leaf(READER, 8), checkpoint=note))


def test_a_leaf_of_another_session_does_not_hold() -> None:
    other = prove_leaf(FilesReader(session("0192f0c1-2b3c-7d4e-8f50-000000000001").sealed()), 8)
    proof = prove_leaf(READER, 8)
    for name in ("leaf", "open", "epochs", "checkpoint", "session_id"):
        with pytest.raises(RecorderError):
            checked(msgspec.structs.replace(proof, **{name: getattr(other, name)}))


def test_a_forger_with_keys_of_their_own_gets_no_device_signature() -> None:
    """Made anew as a whole it holds, but comes down to another key."""
    forged = Recording(OTHER_SESSION, key=device_key(9), checkpoint_every=1).open().chunk().seal()
    found = checked(prove_leaf(FilesReader(forged.sealed()), 1))
    assert found.device_keys[0].data == device_key(9).public_key().public_bytes_raw()


def test_two_roots_of_one_size_are_a_contradiction() -> None:
    proof = prove_consistency(READER, 4, 11)
    other = RECORDING.note(11, bytes(32)).decode()
    with pytest.raises(ContradictionError, match="two roots for size 11"):
        checked(msgspec.structs.replace(proof, first_size=11, first_checkpoint=other, hashes=()))
    with pytest.raises(ProofError, match="the smaller one first"):
        checked(
            msgspec.structs.replace(
                proof, first_size=11, first_checkpoint=proof.checkpoint, hashes=()
            )
        )


# --- by hand -------------------------------------------------------------------------------------


def test_a_chunk_is_proved_by_twenty_lines_that_are_not_ours() -> None:
    """What docs tell an auditor: JSON, base64, BLAKE3, SHA-256, Ed25519 and RFC 9162."""
    proof = json.loads(encode_proof(prove_leaf(READER, 8, chunk=True)))

    def root(leaf: dict[str, Any], hashes: list[str], size: int) -> bytes:
        record = base64.b64decode(leaf["record"])
        node, n, last = blake3(b"\x00" + record).digest(), leaf["index"], size - 1
        for sibling in map(bytes.fromhex, hashes):
            if n % 2 or n == last:
                node = blake3(b"\x01" + sibling + node).digest()
                while n and not n % 2:
                    n, last = n // 2, last // 2
            else:
                node = blake3(b"\x01" + node + sibling).digest()
            n, last = n // 2, last // 2
        assert last == 0
        return node

    def signed_root(note: str, key: bytes) -> tuple[int, bytes]:
        text, _, signature = note.partition("\n\n")
        name, encoded = signature[2:].split()
        value = base64.b64decode(encoded)
        assert value[:4] == hashlib.sha256(name.encode() + b"\n\x04" + key).digest()[:4]
        time = int.from_bytes(value[4:12], "big")
        message = f"cosignature/v1\ntime {time}\n{text}\n".encode()
        Ed25519PublicKey.from_public_bytes(key).verify(value[12:], message)
        _, size, root_hash = text.split("\n")
        return int(size), base64.b64decode(root_hash)

    device = device_key().public_key()
    opened = base64.b64decode(proof["open"]["record"])
    device.verify(opened[-64:], b"session-recorder open v1\n" + opened[:-68])
    key = RECORDING.keys.epoch_key(0).public_key().public_bytes_raw()
    assert key in opened[:-68]
    for epoch in proof["epochs"]:
        size, expected = signed_root(epoch["closing_checkpoint"], key)
        assert root(epoch["leaf"], epoch["closing_hashes"], size) == expected
        key = base64.b64decode(epoch["leaf"]["record"])[-32:]
    size, expected = signed_root(proof["checkpoint"], key)
    for leaf in (proof["open"], proof["leaf"], *(e["leaf"] for e in proof["epochs"])):
        assert root(leaf, leaf["hashes"], size) == expected
    stored = READER.files["chunks/0000000008.zst"]
    record = base64.b64decode(proof["leaf"]["record"])
    assert record[-74:-42] == blake3(stored).digest()
    assert record[-42:-10] == hashlib.sha256(stored).digest()


def test_a_record_in_a_proof_is_the_one_that_was_hashed() -> None:
    proof = prove_leaf(READER, 4)
    assert proof.leaf.record == record_text(RECORDING.records[4])
    assert isinstance(checked(proof).record, ChunkRecord)
