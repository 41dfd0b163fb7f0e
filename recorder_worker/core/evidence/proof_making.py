"""Makes the proof of a leaf, or of two checkpoints, from a whole recording, sealed or not.

The tree up to the newest checkpoint is held in memory: 64 bytes a record. This does not verify;
core/evidence/proof_check.py does, and whoever makes a proof should let it.
"""

from __future__ import annotations

from recorder_worker.core.errors import RefusedError
from recorder_worker.core.evidence.clip import refuse_clip
from recorder_worker.core.evidence.clip_plan import numbered
from recorder_worker.core.evidence.proof_file import (
    ConsistencyFile,
    EpochProof,
    InclusionFile,
    LeafProof,
    record_text,
)
from recorder_worker.core.evidence.recording_notes import newest_note, notes_of
from recorder_worker.core.merkle.proofs import consistency_proof, inclusion_proof
from recorder_worker.core.merkle.tree import BLAKE3, Tree
from recorder_worker.core.reading.frames import recording_records
from recorder_worker.core.records.codec import decode_record
from recorder_worker.core.records.leaves import ChunkRecord, EpochRecord
from recorder_worker.core.signing.note_text import SignedNote
from recorder_worker.core.verify.reader import RecordingReader


def prove_leaf(recording: RecordingReader, index: int, *, chunk: bool = False) -> InclusionFile:
    """The proof of a leaf under the newest checkpoint; `chunk`: it has to be a CHUNK.

    Raises:
        RefusedError: there is no such leaf under the newest checkpoint, or it is no chunk.
        RecorderError: the recording cannot be read.
    """
    refuse_clip(recording)
    note = newest_note(recording)
    size = note.head.tree_size
    if not 0 <= index < size:
        raise RefusedError(
            field="index",
            expected=f"the index of a leaf in [0, {size})",
            got=str(index),
            hint="an index is the number in the name of a chunk's file",
        )
    leaves = _Leaves(recording, size, index)
    record = decode_record(leaves.kept[index])
    if chunk and not isinstance(record, ChunkRecord):
        raise RefusedError(
            field="--chunk",
            expected="the index of a CHUNK record",
            got=f"{index}, a {type(record).__name__}",
            hint="use --leaf for the proof of any record",
        )
    return InclusionFile(
        session_id=record.session_id,
        tree_size=size,
        root_hash=note.head.root_hash.hex(),
        checkpoint=_text(note),
        leaf=leaves.proof(index, size),
        open=leaves.proof(0, size),
        epochs=leaves.epochs(recording, size),
    )


def prove_consistency(recording: RecordingReader, first: int, second: int) -> ConsistencyFile:
    """The proof that the checkpoint of one size only adds to that of a smaller one.

    Raises:
        RefusedError: the sizes are not ascending.
        BlobMissingError: there is no checkpoint of a size.
        RecorderError: the recording cannot be read.
    """
    refuse_clip(recording)
    if not 0 < first < second:
        raise RefusedError(
            field="--between",
            expected="two sizes of checkpoints, the smaller one first",
            got=f"{first} and {second}",
            hint="the sizes stand in the second lines of the notes in `checkpoints`",
        )
    before, after = notes_of(recording, (first, second))
    leaves = _Leaves(recording, second, 0)
    return ConsistencyFile(
        session_id=decode_record(leaves.kept[0]).session_id,
        first_size=first,
        tree_size=second,
        first_checkpoint=_text(before),
        checkpoint=_text(after),
        hashes=_hex(consistency_proof(leaves.tree, first, second)),
        open=leaves.proof(0, second),
        epochs=leaves.epochs(recording, second),
    )


class _Leaves:
    """The tree of the first `size` records, and those records that stand in a proof."""

    def __init__(self, recording: RecordingReader, size: int, wanted: int) -> None:
        self.tree = Tree()
        self.kept: dict[int, bytes] = {}
        self._epochs: list[int] = []
        for data, record in numbered(recording_records(recording), size):
            self.tree.append(BLAKE3.leaf(data))
            if isinstance(record, EpochRecord):
                self._epochs.append(record.index)
            if record.index in {0, wanted} or isinstance(record, EpochRecord):
                self.kept[record.index] = data

    def proof(self, index: int, size: int) -> LeafProof:
        """One leaf under the tree of `size` leaves."""
        return LeafProof(
            index=index,
            record=record_text(self.kept[index]),
            hashes=_hex(inclusion_proof(self.tree, index, size)),
        )

    def epochs(self, recording: RecordingReader, size: int) -> tuple[EpochProof, ...]:
        """The chain of keys up to the checkpoint of `size` leaves.

        An EPOCH that is the last leaf is no link yet: its keys sign only what comes behind it.
        """
        turns = [index for index in self._epochs if index + 1 < size]
        notes = notes_of(recording, [index + 1 for index in turns])
        return tuple(
            EpochProof(
                leaf=self.proof(index, size),
                closing_checkpoint=_text(note),
                closing_hashes=_hex(inclusion_proof(self.tree, index, index + 1)),
            )
            for index, note in zip(turns, notes, strict=True)
        )


def _text(note: SignedNote) -> str:
    return note.raw.decode("utf-8")


def _hex(hashes: list[bytes]) -> tuple[str, ...]:
    return tuple(value.hex() for value in hashes)
