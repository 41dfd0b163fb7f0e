"""Checkpoints are found in either form, without holding them all."""

from __future__ import annotations

import pytest
from recording_files import FilesReader
from recordings import Recording, whole

from recorder_worker.core import keys
from recorder_worker.core.errors import BlobMissingError, FormatError
from recorder_worker.core.evidence.recording_notes import newest_note, notes_of
from recorder_worker.core.signing.note_file import split_notes
from recorder_worker.core.signing.note_text import MAX_NOTE_SIZE, parse_notes

FORMS = ["sealed", "journal"]


def files_of(recording: Recording, form: str) -> dict[str, bytes]:
    return recording.sealed() if form == "sealed" else recording.journal()


@pytest.mark.parametrize("form", FORMS)
def test_the_newest_and_any_other_are_found(form: str) -> None:
    recording = Recording(checkpoint_every=1).open().chunk().chunk().epoch().chunk().seal()
    reader = FilesReader(files_of(recording, form))
    assert newest_note(reader).raw == recording.notes[6]
    found = notes_of(reader, [4, 1, 6, 4])
    assert [note.raw for note in found] == [recording.notes[size] for size in (1, 4, 6)]


@pytest.mark.parametrize("form", FORMS)
def test_one_that_is_missing_is_named(form: str) -> None:
    recording = whole()
    del recording.notes[4]
    reader = FilesReader(files_of(recording, form))
    with pytest.raises(BlobMissingError, match="size 4"):
        notes_of(reader, [2, 4])


def test_a_recording_without_any_says_so() -> None:
    with pytest.raises(BlobMissingError, match="expected a signed checkpoint"):
        newest_note(FilesReader({keys.leaf(0): b""}))


@pytest.mark.parametrize("piece_size", [1, 7, 97, 100_000])
def test_notes_are_split_where_the_parser_splits_them(piece_size: int) -> None:
    recording = whole()
    second = "— witness AAAAAAAAAAAA\n".encode()
    notes = [recording.notes[2], recording.notes[4] + second + second, recording.notes[6]]
    data = b"".join(notes)
    pieces = [data[at : at + piece_size] for at in range(0, len(data), piece_size)]
    assert list(split_notes(pieces)) == notes == [note.raw for note in parse_notes(data)]


def test_what_has_no_end_or_no_bound_is_refused() -> None:
    with pytest.raises(FormatError, match="newline"):
        list(split_notes([whole().notes[2][:-1]]))
    with pytest.raises(FormatError, match="a line of at most"):
        list(split_notes([b"x" * (MAX_NOTE_SIZE + 1)]))
    with pytest.raises(FormatError, match="a note of at most"):
        list(split_notes([b"\n\n\n\n", *["— x\n".encode() * 1000] * 50]))
