"""What the files of a sealed session must be, by what is signed of them. Blocking.

The seal signs `records`; these name chunks, the manifest and the bodies of marks by their digests,
and the keys that have signed `checkpoints`. So whoever copies a session, and takes away there what
these files stand for, goes by none that a disk or somebody has changed. Thumbnails are no part of
the record; proofs, receipts and statements are signed by themselves, and stand for nothing else.
"""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import sha256

import msgspec
from blake3 import blake3

from recorder_worker.core import keys
from recorder_worker.core.copy_marker import Expected, expected_of
from recorder_worker.core.errors import (
    BlobDamagedError,
    FormatError,
    IncidentError,
)
from recorder_worker.core.merkle.proofs import ProofError
from recorder_worker.core.records.codec import decode_record, frame_record
from recorder_worker.core.records.leaves import ChunkRecord, MarkRecord, OpenRecord
from recorder_worker.core.records.ledger import LedgerState, advance
from recorder_worker.core.signing.note import (
    NoteKey,
    SignedNote,
    TreeHead,
    note_keys,
    parse_note,
    verify_note,
)
from recorder_worker.core.signing.note_file import split_notes
from recorder_worker.core.signing.origins import session_origin
from recorder_worker.core.verify.chunks import chunk_name
from recorder_worker.ports import BlobStore
from recorder_worker.stages.sealed_records import sealed_records

NOTHING = "nothing is copied or removed by it"


class SignedRecords(msgspec.Struct, frozen=True):
    """The file `records`, which is what was sealed, and what it says of others by their names.

    Attributes:
        itself: its bytes.
        chunks: of all of them.
        bodies: BLAKE3 of the manifest and of the bodies of marks.
    """

    itself: Expected
    chunks: dict[str, Expected]
    bodies: dict[str, bytes]


class SignedCheckpoints(msgspec.Struct, frozen=True):
    """The file `checkpoints`, each of which is signed, and of these records; and their sizes.

    `seal` is the last one, which is a file of its own, too.
    """

    itself: Expected
    seal: Expected
    sizes: frozenset[int]


class _Digest:
    """SHA-256 and length of what passes by."""

    def __init__(self) -> None:
        self._size = 0
        self._found = sha256()

    def add(self, data: bytes) -> bytes:
        """Some more bytes; gives them back."""
        self._size += len(data)
        self._found.update(data)
        return data

    @property
    def whole(self) -> Expected:
        """All that has passed."""
        return Expected(self._size, self._found.hexdigest())


def signed_records(store: BlobStore, session_id: str) -> SignedRecords:
    """Read the records of a sealed session.

    Raises:
        BlobMissingError: there is no seal, or there are no records.
        BlobDamagedError: the records are not those that the seal signs.
    """
    digest, chunks, bodies = _Digest(), {}, {}
    try:
        for data in sealed_records(store, session_id):
            digest.add(frame_record(data))
            record = decode_record(data)
            if isinstance(record, ChunkRecord):
                chunks[chunk_name(record)] = expected_of(record)
            elif isinstance(record, MarkRecord):
                bodies[keys.mark(record.index)] = record.body_blake3
            elif isinstance(record, OpenRecord):
                bodies[keys.MANIFEST] = record.manifest_blake3
    except FormatError as error:
        raise _damaged(store, session_id, keys.RECORDS, error) from error
    return SignedRecords(digest.whole, chunks, bodies)


def signed_checkpoints(store: BlobStore, session_id: str) -> SignedCheckpoints:
    """Hold every checkpoint of a sealed session against its records, and the keys in them.

    Raises:
        BlobMissingError: there is no seal, or there are no records or no checkpoints.
        BlobDamagedError: one is not signed by the keys of its epoch, or not of these records; or
            the last one is not the seal.
    """
    key, digest, sizes = keys.blob_key(session_id, keys.CHECKPOINTS), _Digest(), set()
    notes = map(parse_note, split_notes(map(digest.add, store.stream(key))))
    last = b""
    try:
        for note, head, signers in _beside(notes, store, session_id):
            _check(note, head, signers)
            sizes.add(head.tree_size)
            last = note.raw
        _check_last(last, store.get(keys.blob_key(session_id, keys.SEAL)))
    except (FormatError, IncidentError, ProofError) as error:
        raise _damaged(store, session_id, keys.CHECKPOINTS, error) from error
    seal = Expected(len(last), sha256(last).hexdigest())
    return SignedCheckpoints(digest.whole, seal, frozenset(sizes))


def signed_body(store: BlobStore, session_id: str, name: str, digest: bytes) -> Expected:
    """The manifest, or the body of a mark, by its digest in the records.

    Raises:
        BlobMissingError: it is not there.
        BlobDamagedError: it has another one.
    """
    body, found = _Digest(), blake3()
    for piece in store.stream(keys.blob_key(session_id, name)):
        found.update(body.add(piece))
    if found.digest() != digest:
        text = f"expected BLAKE3 {digest.hex()}, as its record has it, found {found.hexdigest()}"
        raise _damaged(store, session_id, name, text)
    return body.whole


def _beside(
    notes: Iterator[SignedNote], store: BlobStore, session_id: str
) -> Iterator[tuple[SignedNote, TreeHead, tuple[NoteKey, ...]]]:
    """Each checkpoint, with what it must say and the keys that must have signed it."""
    state, recorder, note = LedgerState(), "", next(notes, None)
    for data in sealed_records(store, session_id):
        record = decode_record(data)
        state = advance(state, record, data)
        recorder = record.recorder if isinstance(record, OpenRecord) else recorder
        if note is not None and note.head.tree_size == state.size:
            head = TreeHead(
                origin=session_origin(recorder, session_id),
                tree_size=state.size,
                root_hash=state.frontier.root(),
            )
            yield note, head, note_keys(recorder, state.signing.keys)
            note = next(notes, None)
    if note is not None:
        raise FormatError(
            f"expected checkpoints of ascending sizes up to {state.size}, found one of size "
            f"{note.head.tree_size} out of its place"
        )


def _check(note: SignedNote, head: TreeHead, signers: tuple[NoteKey, ...]) -> None:
    if note.head != head:
        raise ProofError(f"the checkpoint of size {head.tree_size} is of another tree")
    if not signers:
        raise ProofError(f"the checkpoint of size {head.tree_size} has no key that could sign it")
    for key in signers:
        verify_note(note, key)


def _check_last(last: bytes, seal: bytes) -> None:
    if last != seal:
        raise FormatError("expected the seal as the last checkpoint, found another one, or none")


def _damaged(
    store: BlobStore, session_id: str, name: str, why: Exception | str
) -> BlobDamagedError:
    where = store.location(keys.blob_key(session_id, name))
    return BlobDamagedError(f"{where}: {why}; {NOTHING}")
