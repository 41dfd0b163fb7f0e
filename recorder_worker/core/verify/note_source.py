"""The checkpoints of a folder by ascending size, in whichever form they lie, one at a time.

They are asked for by size while the records pass by, so that no more than one is held. What
cannot be read is a finding of step 1, what stands in the wrong order one of step 12.
"""

from __future__ import annotations

from collections.abc import Iterator

from recorder_worker.core import keys
from recorder_worker.core.errors import BlobMissingError
from recorder_worker.core.signing.note import MAX_NOTE_SIZE, SignedNote, parse_note
from recorder_worker.core.signing.note_file import split_notes
from recorder_worker.core.verify.findings import Findings
from recorder_worker.core.verify.listing import Listing
from recorder_worker.core.verify.reader import RecordingReader, read_bounded

MAX_OF_A_SIZE = 2
"""Two notes of one size tell all that there is to tell; a file may hold millions."""


class NoteSource:
    """Gives every note once: `up_to` a size while there are records, then the `rest`."""

    def __init__(
        self, reader: RecordingReader, listing: Listing, parse: Findings, order: Findings
    ) -> None:
        self._reader = reader
        self._listing = listing
        self._parse = parse
        self._order = order
        self._compact = keys.CHECKPOINTS in listing.compact
        self._notes = self._in_order()
        self._next = next(self._notes, None)
        self._last: SignedNote | None = None
        self.seal = self._read(keys.SEAL) if keys.SEAL in listing.compact else None
        self.count = 0

    def up_to(self, size: int) -> list[SignedNote]:
        """The notes of this size, each once, behind those of smaller ones that were not given."""
        found: list[SignedNote] = []
        same: list[SignedNote] = []
        while self._next is not None and self._next.head.tree_size <= size:
            self._last = self._next
            place = same if self._next.head.tree_size == size else found
            if len(place) < MAX_OF_A_SIZE or self._next.head.tree_size != place[-1].head.tree_size:
                place.append(self._next)
            self._next = next(self._notes, None)
        if self.seal is not None and self.seal.head.tree_size == size:
            same.append(self.seal)
        if self._listing.in_journal and size <= self._listing.newest_note:
            # What is signed while we read is left out: its neighbours were not there yet.
            same += self._journal(size, same)
        found += {note.raw: note for note in same}.values()
        self.count += len(found)
        return found

    def rest(self, size: int) -> Iterator[SignedNote]:
        """The notes of larger sizes than there are records."""
        while self._next is not None:
            self._last = self._next
            self.count += 1
            yield self._last
            self._next = next(self._notes, None)
        newest = self._listing.newest_note
        if self.seal is not None and self.seal.head.tree_size > size and self.seal != self._last:
            self.count += 1
            yield self.seal
        if newest > size:
            for note in self._journal(newest, [self._last] if self._last else []):
                self.count += 1
                yield note

    def finish(self) -> None:
        """The seal is the last note once more."""
        if self.seal is None or not self._compact:
            return
        if self._last is None or self._last.raw != self.seal.raw:
            self._parse.tampered(f"{keys.SEAL}: expected the last note of {keys.CHECKPOINTS}")

    def _in_order(self) -> Iterator[SignedNote]:
        """The notes of `checkpoints` up to one that cannot be read; out of order ones are left out.

        Two of one size are given both: they may be two histories.
        """
        if not self._compact:
            return
        before: SignedNote | None = None
        with self._parse.catching(keys.CHECKPOINTS):
            for data in split_notes(self._reader.stream(keys.CHECKPOINTS)):
                note = parse_note(data)
                size = note.head.tree_size
                if before is not None and size <= before.head.tree_size:
                    self._order.tampered(
                        f"{keys.CHECKPOINTS}: size {size} stands behind size "
                        f"{before.head.tree_size}"
                    )
                    if size < before.head.tree_size:
                        continue
                before = note
                yield note

    def _journal(self, size: int, compact: list[SignedNote]) -> list[SignedNote]:
        """The note of this size in the journal, held against its place in `checkpoints`."""
        name = keys.note(size)
        note = self._read(name, missing_ok=True)
        if note is None:
            return []
        if note.head.tree_size != size:
            self._parse.tampered(f"{name}: holds a note of size {note.head.tree_size}")
            return []
        if self._compact and note not in compact:
            self._parse.tampered(f"{name}: expected the same note in {keys.CHECKPOINTS}")
        return [note]

    def _read(self, name: str, *, missing_ok: bool = False) -> SignedNote | None:
        with self._parse.catching(name):
            try:
                return parse_note(read_bounded(self._reader, name, MAX_NOTE_SIZE))
            except BlobMissingError:
                if not missing_ok:
                    raise
        return None
