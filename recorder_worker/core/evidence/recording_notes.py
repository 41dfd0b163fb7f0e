"""The checkpoints of a recording that a clip or a proof needs, in whichever form they lie.

This reads; it does not verify, and it holds no more notes than are asked for.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator

from recorder_worker.core import keys
from recorder_worker.core.errors import BlobMissingError
from recorder_worker.core.signing.note_file import split_notes
from recorder_worker.core.signing.note_text import MAX_NOTE_SIZE, SignedNote, parse_note
from recorder_worker.core.verify.listing import list_recording
from recorder_worker.core.verify.reader import RecordingReader, read_bounded


def newest_note(recording: RecordingReader) -> SignedNote:
    """The checkpoint of the largest size.

    Raises:
        BlobMissingError: there is none.
        FormatError: it is not a checkpoint.
    """
    newest = b""
    listing = list_recording(recording)
    if keys.CHECKPOINTS in listing.compact:
        for newest in split_notes(recording.stream(keys.CHECKPOINTS)):  # noqa: B007  (the last)
            pass
    elif listing.newest_note >= 0:
        newest = read_bounded(recording, keys.note(listing.newest_note), MAX_NOTE_SIZE)
    if not newest:
        raise BlobMissingError(
            "expected a signed checkpoint, found none; nothing is proved about this recording yet"
        )
    return parse_note(newest)


def notes_of(recording: RecordingReader, sizes: Collection[int]) -> list[SignedNote]:
    """The checkpoints of these sizes, in ascending order.

    Raises:
        BlobMissingError: one is not there.
        FormatError: one is not a checkpoint.
    """
    found = {note.head.tree_size: note for note in _of_sizes(recording, sorted(set(sizes)))}
    missing = sorted(set(sizes) - found.keys())
    if missing:
        raise BlobMissingError(
            f"expected a checkpoint of size {missing[0]}, found none; the recorder signs one "
            "behind every record: see what `recorder verify` says of this recording"
        )
    return [found[size] for size in sorted(found)]


def _of_sizes(recording: RecordingReader, sizes: list[int]) -> Iterator[SignedNote]:
    """Those of them that are there. The size is the second line of a note."""
    wanted = {b"%d" % size for size in sizes}
    try:
        for raw in split_notes(recording.stream(keys.CHECKPOINTS)):
            if raw.split(b"\n", 2)[1] in wanted:
                yield parse_note(raw)
    except BlobMissingError:
        yield from _of_journal(recording, sizes)


def _of_journal(recording: RecordingReader, sizes: list[int]) -> Iterator[SignedNote]:
    for size in sizes:
        with contextlib.suppress(BlobMissingError):
            yield parse_note(read_bounded(recording, keys.note(size), MAX_NOTE_SIZE))
