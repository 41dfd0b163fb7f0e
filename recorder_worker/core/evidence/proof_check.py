"""Checks a proof file with nothing but the file, and says whose keys it comes down to.

In order, as a verification does: strict parse, the device's signature over OPEN, each link of the
chain of keys, the newest checkpoint, then what the proof is about. What holds is collected in
words; the first thing that does not is raised.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

import msgspec
from blake3 import blake3

from recorder_worker.core.errors import FormatError
from recorder_worker.core.evidence.proof_file import (
    ConsistencyFile,
    EpochProof,
    InclusionFile,
    LeafProof,
    ProofFile,
)
from recorder_worker.core.merkle.proofs import ProofError, verify_consistency, verify_inclusion
from recorder_worker.core.merkle.tree import BLAKE3
from recorder_worker.core.records.codec import decode_record, signed_open
from recorder_worker.core.records.leaves import AnyRecord, ChunkRecord, EpochRecord, OpenRecord
from recorder_worker.core.signing.note import note_keys, verify_note
from recorder_worker.core.signing.note_text import SignedNote, parse_note
from recorder_worker.core.signing.origins import session_origin
from recorder_worker.core.signing.signing_keys import KEY_SETS, KeyKind, PublicKey, verify_signature


class ContradictionError(ProofError):
    """The recorder's own keys have signed two histories."""


class ProofFound(msgspec.Struct, frozen=True, kw_only=True):
    """What a proof shows.

    Attributes:
        device_keys: the keys that it comes down to; whether they are trusted is another question.
        ml_dsa_44: whether ML-DSA-44 signed at every step, beside Ed25519.
        record: the leaf that is proved; None for two checkpoints.
        proved, not_proved: sentences for people.
    """

    recorder: str
    session_id: str
    tree_size: int
    root_hash: str
    signed_at_s: int
    epoch: int
    device_keys: tuple[PublicKey, ...]
    ml_dsa_44: bool
    record: AnyRecord | None
    proved: tuple[str, ...]
    not_proved: tuple[str, ...]


def check_proof(proof: ProofFile) -> ProofFound:
    """Check everything that a proof file says.

    Raises:
        ProofError: something in it does not hold; ContradictionError where the keys are at fault.
        FormatError: a part is not in its one encoding.
    """
    chain = _Chain(proof)
    if isinstance(proof, InclusionFile):
        record, proved, more = _leaf(proof, chain)
    else:
        record, proved, more = None, _consistency(proof, chain), ()
    return ProofFound(
        recorder=chain.opened.recorder,
        session_id=proof.session_id,
        tree_size=chain.newest.head.tree_size,
        root_hash=chain.newest.head.root_hash.hex(),
        signed_at_s=chain.signed_at_s,
        epoch=len(proof.epochs),
        device_keys=chain.opened.device_keys,
        ml_dsa_44=chain.ml_dsa_44,
        record=record,
        proved=(*chain.proved, *proved),
        not_proved=(*more, *_NEVER),
    )


_NEVER = (
    "that the times are true: a proof carries no receipt; the recording's folder may",
    "that the session was not continued behind this checkpoint, or that no other one was signed",
    "what the records that are not in this file say",
)


def check_chunk_file(record: AnyRecord | None, pieces: Iterable[bytes]) -> str:
    """Compare the stored bytes of a chunk with its record; gives what that proves.

    Raises:
        FormatError: the proof is not about a chunk.
        ProofError: they are not the chunk's.
    """
    if not isinstance(record, ChunkRecord):
        raise FormatError("--chunk-file: expected the proof of a CHUNK record, got another proof")
    size, fast, slow = 0, blake3(), hashlib.sha256()
    for piece in pieces:
        size += len(piece)
        fast.update(piece)
        slow.update(piece)
    found = (size, fast.digest(), slow.digest())
    if found != (record.stored_size, record.stored_blake3, record.stored_sha256):
        raise ProofError(
            f"the chunk's file: expected {record.stored_size} bytes with BLAKE3 "
            f"{record.stored_blake3.hex()}, found {size} bytes with {fast.hexdigest()}"
        )
    return f"the {size} bytes of the file are those of the chunk"


class _Chain:
    """The newest checkpoint and the keys that signed it, followed from the device's signature."""

    def __init__(self, proof: ProofFile) -> None:
        self.proved: list[str] = []
        self.opened = _open(proof.open, proof.session_id)
        self.origin = session_origin(self.opened.recorder, proof.session_id)
        self.newest = self.note(proof.checkpoint, proof.tree_size)
        self.proved.append("the device signed OPEN, which names the keys of epoch 0")
        self._keys: list[tuple[int, tuple[PublicKey, ...]]] = [(0, self.opened.epoch_keys)]
        self.include(proof.open, self.newest)
        for number, link in enumerate(proof.epochs, start=1):
            self._turn(number, link, proof.session_id)
        if proof.epochs:
            self.proved.append(
                f"each of {len(proof.epochs)} further epochs has keys that the ones before signed"
            )
        self.signed_at_s = self.verify(self.newest)
        self.proved.append(
            f"the keys of epoch {len(proof.epochs)} signed the checkpoint of size "
            f"{self.newest.head.tree_size}"
        )

    @property
    def ml_dsa_44(self) -> bool:
        """Whether the device and every epoch have such a key."""
        sets = (self.opened.device_keys, *(keys for _, keys in self._keys))
        return all(KeyKind.ML_DSA_44 in {key.kind for key in keys} for keys in sets)

    def note(self, text: str, size: int) -> SignedNote:
        """A checkpoint of this session, of the size that the file says. Not verified yet."""
        note = parse_note(text.encode("utf-8"))
        if (note.head.origin, note.head.tree_size) != (self.origin, size):
            raise ProofError(
                f"expected a checkpoint of {self.origin} and size {size}, found one of "
                f"{note.head.origin} and size {note.head.tree_size}"
            )
        return note

    def verify(self, note: SignedNote) -> int:
        """Hold the epoch rule: the keys named by the last EPOCH before the last leaf have signed.

        Gives the signed time in seconds.
        """
        size = note.head.tree_size
        keys = next(keys for index, keys in reversed(self._keys) if index < max(1, size - 1))
        _check_kinds(keys, f"the keys that sign size {size}")
        times = [verify_note(note, key) for key in note_keys(self.opened.recorder, keys)]
        return times[0]

    def include(
        self, leaf: LeafProof, note: SignedNote, hashes: Sequence[str] | None = None
    ) -> None:
        """Hold that a leaf is in the tree of a checkpoint."""
        verify_inclusion(
            leaf_hash=BLAKE3.leaf(leaf.data),
            index=leaf.index,
            size=note.head.tree_size,
            proof=_bytes(leaf.hashes if hashes is None else hashes),
            root=note.head.root_hash,
        )

    def _turn(self, number: int, link: EpochProof, session_id: str) -> None:
        record = _record(link.leaf, session_id)
        if not isinstance(record, EpochRecord) or record.number != number:
            raise ProofError(
                f"leaf {link.leaf.index}: expected EPOCH {number}, found {_named(record)}; "
                "epochs follow each other without a hole"
            )
        before = self._keys[-1][0]
        if not before < record.index < self.newest.head.tree_size - 1:
            raise ProofError(
                f"EPOCH {number}: expected an index behind {before} and before the last leaf, "
                f"found {record.index}"
            )
        closing = self.note(link.closing_checkpoint, record.index + 1)
        self.verify(closing)
        self.include(link.leaf, closing, link.closing_hashes)
        self.include(link.leaf, self.newest)
        self._keys.append((record.index, record.keys))


def _open(leaf: LeafProof, session_id: str) -> OpenRecord:
    record = _record(leaf, session_id)
    if not isinstance(record, OpenRecord) or record.index != 0:
        raise ProofError(f"expected OPEN as leaf 0, found {_named(record)} as leaf {leaf.index}")
    _check_kinds(record.device_keys, "the device keys")
    if len(record.device_signatures) != len(record.device_keys):
        raise ProofError(
            f"OPEN: expected a signature of each of {len(record.device_keys)} device keys, found "
            f"{len(record.device_signatures)}"
        )
    message = signed_open(record)
    for key, signature in zip(record.device_keys, record.device_signatures, strict=True):
        verify_signature(key, message, signature)
    return record


def _check_kinds(keys: Sequence[PublicKey], what: str) -> None:
    """A set without keys would verify anything."""
    kinds = tuple(key.kind for key in keys)
    if kinds not in KEY_SETS:
        raise ProofError(
            f"{what}: expected ed25519, or ed25519 and ml-dsa-44, found "
            f"{', '.join(kinds) or 'none'}"
        )


def _record(leaf: LeafProof, session_id: str) -> AnyRecord:
    """The record of a leaf: what it says of its place is what the file says."""
    record = decode_record(leaf.data)
    if (record.index, record.session_id) != (leaf.index, session_id):
        raise ProofError(
            f"expected a record of index {leaf.index} and session {session_id}, found one of "
            f"index {record.index} and session {record.session_id}"
        )
    return record


def _leaf(
    proof: InclusionFile, chain: _Chain
) -> tuple[AnyRecord, tuple[str, ...], tuple[str, ...]]:
    record = _record(proof.leaf, proof.session_id)
    if proof.root_hash != chain.newest.head.root_hash.hex():
        raise ProofError(
            f"expected root {chain.newest.head.root_hash.hex()} of the checkpoint, the file says "
            f"{proof.root_hash}"
        )
    chain.include(proof.leaf, chain.newest)
    proved = f"leaf {record.index}, {_named(record)}, is in the tree of that checkpoint"
    more = ("the bytes of the chunk: give its file",) if isinstance(record, ChunkRecord) else ()
    return record, (proved,), more


def _consistency(proof: ConsistencyFile, chain: _Chain) -> tuple[str, ...]:
    first = chain.note(proof.first_checkpoint, proof.first_size)
    chain.verify(first)
    same_size = proof.first_size == proof.tree_size
    if same_size and first.head.root_hash != chain.newest.head.root_hash:
        raise ContradictionError(
            f"the recorder's keys signed two roots for size {proof.tree_size}: "
            f"{first.head.root_hash.hex()} and {chain.newest.head.root_hash.hex()}"
        )
    if not 0 < proof.first_size < proof.tree_size:
        raise ProofError(
            f"expected two sizes, the smaller one first, found {proof.first_size} and "
            f"{proof.tree_size}"
        )
    verify_consistency(
        first=proof.first_size,
        second=proof.tree_size,
        first_root=first.head.root_hash,
        second_root=chain.newest.head.root_hash,
        proof=_bytes(proof.hashes),
    )
    proved = (
        f"the checkpoint of size {proof.tree_size} holds the {proof.first_size} leaves of the "
        "other one unchanged, and adds to them"
    )
    return (proved,)


def _bytes(hashes: Sequence[str]) -> list[bytes]:
    return [bytes.fromhex(value) for value in hashes]


def _named(record: AnyRecord) -> str:
    return type(record).__name__.removesuffix("Record").upper()
