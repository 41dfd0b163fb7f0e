"""A clip: a folder with some of a recording's leaves, the proof that they are its, and no others.

It is written file by file; nothing is held of a chunk but the piece that is on its way. Every file
that a record digests is compared with its digest while it is copied, and the tree is rebuilt from
what will be written before anything is: what cannot be verified is not handed out.

The files are those of a sealed recording, and `clip` beside them (docs/format.md, "Clips").
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator

import msgspec
from blake3 import blake3

from recorder_worker.core import keys
from recorder_worker.core.errors import BlobDamagedError, RefusedError
from recorder_worker.core.evidence.clip_file import ClipFile, encode_clip
from recorder_worker.core.evidence.clip_plan import ClipPlan, Window, numbered, plan_clip
from recorder_worker.core.evidence.recording_notes import newest_note, notes_of
from recorder_worker.core.merkle.partial_tree import PartialTree, hidden_subtrees
from recorder_worker.core.merkle.tree import BLAKE3
from recorder_worker.core.reading.frames import recording_records
from recorder_worker.core.records.codec import frame_record
from recorder_worker.core.records.leaves import ChunkRecord, MarkRecord, OpenRecord
from recorder_worker.core.signing.note_text import SignedNote
from recorder_worker.core.verify.chunks import chunk_name
from recorder_worker.core.verify.reader import RecordingReader

ClipFiles = Iterator[tuple[str, Iterable[bytes]]]
"""Names and contents. Each content is to be read whole before the next is asked for."""


def plan_of(recording: RecordingReader, window: Window) -> ClipPlan:
    """What a clip of a recording shows, up to its newest checkpoint.

    Raises:
        RefusedError: the window reaches out of the session, or the recording is a clip.
        RecorderError: the recording cannot be read.
    """
    refuse_clip(recording)
    size = newest_note(recording).head.tree_size
    return plan_clip(lambda: recording_records(recording), size, window)


def refuse_clip(recording: RecordingReader) -> None:
    """A clip does not hold what proofs are made of. Raises RefusedError."""
    if keys.CLIP in recording.names():
        raise RefusedError(
            field="DIR",
            expected="the folder of a whole recording",
            got="a clip",
            hint="its hidden leaves cannot be proved anew; make it from the recording itself",
        )


def clip_files(recording: RecordingReader, plan: ClipPlan, trust: bytes | None = None) -> ClipFiles:
    """The files of a clip, in the order in which they can be written. `trust` is a policy's text.

    Raises:
        BlobDamagedError: the checkpoints are not of these records, or a file has another digest.
        RecorderError: the recording cannot be read.
    """
    leaf_hashes: list[bytes] = []
    notes = notes_of(recording, plan.note_sizes)
    hashes = hidden_subtrees(plan.size, plan.ranges, _leaf_hashes(recording, plan, leaf_hashes))
    _check_roots(plan, notes, PartialTree(plan.size, plan.ranges, leaf_hashes, hashes))
    clip = ClipFile(size=plan.size, ranges=plan.ranges, hashes=tuple(hashes))
    yield keys.CLIP, [encode_clip(clip)]
    yield keys.RECORDS, _records(recording, plan, leaf_hashes)
    yield keys.CHECKPOINTS, [note.raw for note in notes]
    if plan.sealed:
        yield keys.SEAL, [notes[-1].raw]
    yield from _digested(recording, plan)
    beside = (f"{keys.PROOFS}/", f"{keys.RECEIPTS}/")
    for name in sorted(name for name in recording.names() if name.startswith(beside)):
        yield name, recording.stream(name)
    if trust is not None:
        yield keys.TRUST, [trust]


def _leaf_hashes(
    recording: RecordingReader, plan: ClipPlan, revealed: list[bytes]
) -> Iterator[bytes]:
    """The leaf hashes of the whole tree; those that are shown are also put into `revealed`."""
    for _, shown, data in _shown(recording, plan):
        leaf_hash = BLAKE3.leaf(data)
        if shown:
            revealed.append(leaf_hash)
        yield leaf_hash


def _shown(recording: RecordingReader, plan: ClipPlan) -> Iterator[tuple[int, bool, bytes]]:
    """Index, whether it is shown, and bytes of each record."""
    ranges = iter(plan.ranges)
    at = next(ranges)
    for index, data in zip(range(plan.size), recording_records(recording), strict=False):
        if index == at.end:
            at = next(ranges, at)
        yield index, index in at, data


def _records(
    recording: RecordingReader, plan: ClipPlan, leaf_hashes: list[bytes]
) -> Iterator[bytes]:
    expected = iter(leaf_hashes)
    for index, shown, data in _shown(recording, plan):
        if not shown:
            continue
        if BLAKE3.leaf(data) != next(expected):
            raise BlobDamagedError(f"record {index}: changed while the clip was made; try again")
        yield frame_record(data)


def _check_roots(plan: ClipPlan, notes: list[SignedNote], tree: PartialTree) -> None:
    for note in notes:
        size, root = note.head.tree_size, note.head.root_hash
        if tree.root(size) != root:
            raise BlobDamagedError(
                f"the checkpoint of size {size} of session {plan.session_id}: expected root "
                f"{root.hex()}, the records give {tree.root(size).hex()}; see what "
                "`recorder verify` says of this recording"
            )


class _Expected(msgspec.Struct, frozen=True, kw_only=True):
    """What a record says of a file; None is not said."""

    blake3: bytes
    sha256: bytes | None = None
    size: int | None = None


def _digested(recording: RecordingReader, plan: ClipPlan) -> ClipFiles:
    """The manifest, and the chunks and the bodies of marks of the range."""
    for _, record in numbered(recording_records(recording), plan.size):
        if isinstance(record, OpenRecord):
            expected = _Expected(blake3=record.manifest_blake3)
            yield keys.MANIFEST, _checked(recording, keys.MANIFEST, expected)
        elif record.index not in plan.clip:
            continue
        elif isinstance(record, MarkRecord):
            name = keys.mark(record.index)
            expected = _Expected(blake3=record.body_blake3, size=record.body_size)
            yield name, _checked(recording, name, expected)
        elif isinstance(record, ChunkRecord):
            name = chunk_name(record)
            expected = _Expected(
                blake3=record.stored_blake3,
                sha256=record.stored_sha256,
                size=record.stored_size,
            )
            yield name, _checked(recording, name, expected)


def _checked(recording: RecordingReader, name: str, expected: _Expected) -> Iterator[bytes]:
    """The bytes of a file; an error behind the last one where they are not what was digested.

    The writer of the clip throws away what it has when it meets an error.
    """
    size, fast, slow = 0, blake3(), hashlib.sha256()
    for piece in recording.stream(name):
        size += len(piece)
        if expected.size is not None and size > expected.size:
            break  # whatever this is, it is no part of the record
        fast.update(piece)
        slow.update(piece)
        yield piece
    found = _Expected(
        blake3=fast.digest(),
        sha256=None if expected.sha256 is None else slow.digest(),
        size=None if expected.size is None else size,
    )
    if found != expected:
        raise BlobDamagedError(
            f"{name}: expected BLAKE3 {expected.blake3.hex()}, found {found.blake3.hex()} in "
            f"{size} bytes; the recording is damaged: see what `recorder verify` says of it"
        )
