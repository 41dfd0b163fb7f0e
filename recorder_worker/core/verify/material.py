"""Step 1: the notes and records of a folder, strictly parsed, in whichever form they lie.

A sealed recording has `records`, `checkpoints` and `seal`; one that is not has a file for each
under `journal/`. A crash while one form becomes the other leaves both; then every journal file
must hold the same bytes as its place in the compact files. What is wrong is collected rather
than raised, so that later steps can still say what they find.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import TypeVar

from recorder_worker.core import keys
from recorder_worker.core.errors import FormatError, RecorderError, UnsupportedError
from recorder_worker.core.note import MAX_NOTE_SIZE, SignedNote, parse_note, parse_notes
from recorder_worker.core.record_file import unframed
from recorder_worker.core.records import MAX_RECORD_SIZE, AnyRecord, decode_record
from recorder_worker.core.tree import BLAKE3, Frontier
from recorder_worker.core.verify.reader import RecordingReader
from recorder_worker.core.verify.steps import StepFailedError, tampered
from recorder_worker.core.verify.verdicts import Verdict

MAX_NOTES_SIZE = 1 << 30
RELOADS = 3
_COMPACT = (keys.RECORDS, keys.CHECKPOINTS, keys.SEAL)
_NUMBER = re.compile(r"[0-9]{10,19}")

T = TypeVar("T")


class Material:
    """What step 1 loaded.

    Attributes:
        names: every file in the folder.
        notes: every different note, oldest first; `compact_sizes` as `checkpoints` orders them.
        records: decoded records up to the first that cannot be; `tree_size` counts all.
        journal: the files of the journal that are records or notes by their names.
        roots: the root at the size of each note, as far as there are records.
        problems: what is wrong, in the order in which it was found.
    """

    def __init__(self, reader: RecordingReader) -> None:
        self.reader = reader
        self.problems: list[StepFailedError] = []
        self.warnings: list[str] = []
        self.names = frozenset(reader.names())
        self.notes: list[SignedNote] = []
        self.compact_sizes: list[int] = []
        self.records: list[AnyRecord] = []
        self.tree_size = 0
        self.root = b""
        self.roots: dict[int, bytes] = {}
        self.journal: set[str] = set()
        self.in_journal = any(name.startswith(f"{keys.JOURNAL}/") for name in self.names)
        self.compact = any(name in self.names for name in _COMPACT)
        self._check_form()
        self._load_notes()
        self._load_records()

    @property
    def decoded(self) -> bool:
        """Whether every record could be read."""
        return self.tree_size == len(self.records)

    @property
    def newest(self) -> SignedNote | None:
        """The note of the largest size."""
        return self.notes[-1] if self.notes else None

    def attempt(self, what: str, action: Callable[[], T], default: T) -> T:
        """Do something with files; what goes wrong becomes a problem."""
        try:
            return action()
        except StepFailedError as failed:
            self.problems.append(failed)
        except UnsupportedError as error:
            self.problems.append(StepFailedError(Verdict.UNSUPPORTED, f"{what}: {error}"))
        except RecorderError as error:
            self.problems.append(tampered(f"{what}: {error}"))
        except Exception as error:  # noqa: BLE001  (no bytes whatever may stop a verification)
            self.problems.append(tampered(f"{what}: cannot be read: {error!r}"))
        return default

    def _check_form(self) -> None:
        if self.compact and not self.in_journal:
            for name in _COMPACT:
                if name not in self.names:
                    self.problems.append(tampered(f"{name}: expected in a sealed recording"))
        elif self.compact:
            self.warnings.append(
                "both the journal and compact files are there: the recorder was stopped while it "
                "was sealing, or is sealing now; they are compared"
            )

    # --- notes --------------------------------------------------------------------------------

    def _load_notes(self) -> None:
        """Each file on its own: one that cannot be read does not hide the others."""
        found: dict[bytes, SignedNote] = {}
        compact = self._compact_notes()
        by_size = {note.head.tree_size: note for note in compact}
        self.compact_sizes = [note.head.tree_size for note in compact]
        found.update((note.raw, note) for note in compact)
        if keys.SEAL in self.names:
            seal = self.attempt(keys.SEAL, partial(self._note, keys.SEAL), None)
            if seal is not None:
                found[seal.raw] = seal
                if keys.CHECKPOINTS in self.names and (not compact or compact[-1].raw != seal.raw):
                    self.problems.append(tampered("seal: expected the last note of checkpoints"))
        for name, size in self._numbered(keys.NOTES):
            note = self.attempt(name, partial(self._note, name), None)
            if note is None:
                continue
            found[note.raw] = note
            if note.head.tree_size != size:
                self.problems.append(tampered(f"{name}: holds a note of {note.head.tree_size}"))
            if compact and by_size.get(size) != note:
                self.problems.append(tampered(f"{name}: expected the same note in checkpoints"))
        self.notes = sorted(found.values(), key=lambda note: (note.head.tree_size, note.raw))

    def _compact_notes(self) -> list[SignedNote]:
        if keys.CHECKPOINTS not in self.names:
            return []
        return self.attempt(
            keys.CHECKPOINTS,
            lambda: parse_notes(self._bounded(keys.CHECKPOINTS, MAX_NOTES_SIZE)),
            [],
        )

    def _note(self, name: str) -> SignedNote:
        return parse_note(self._bounded(name, MAX_NOTE_SIZE))

    def _bounded(self, name: str, limit: int) -> bytes:
        """All bytes of a file that must not be larger than `limit`."""
        size = self.reader.size(name)
        if size > limit:
            raise FormatError(f"expected at most {limit} bytes, found {size}")
        return self.reader.read(name)

    def _numbered(self, folder: str) -> list[tuple[str, int]]:
        """The files of a journal folder whose names are numbers as core/keys.py writes them."""
        prefix = f"{folder}/"
        found = []
        for name in self.names:
            number = name.removeprefix(prefix)
            if name.startswith(prefix) and _NUMBER.fullmatch(number):
                value = int(number)
                if f"{value:010d}" == number:
                    found.append((name, value))
        self.journal.update(name for name, _ in found)
        return sorted(found, key=lambda entry: entry[1])

    # --- records ------------------------------------------------------------------------------

    def _load_records(self) -> None:
        wanted = {note.head.tree_size for note in self.notes}
        frontier = Frontier()
        journal = self._numbered(keys.LEAVES)
        compact = keys.RECORDS in self.names
        if compact:
            source = self._compact_records({index: name for name, index in journal})
        else:
            source = self._journal_records(journal)
        for data in self._collected(source):
            frontier = frontier.append(BLAKE3.leaf(data))
            if frontier.size in wanted:
                self.roots[frontier.size] = frontier.root()
            if len(self.records) + 1 == frontier.size:
                what = f"record {frontier.size - 1}"
                record = self.attempt(what, partial(decode_record, data), None)
                if record is not None:
                    self.records.append(record)
        self.tree_size, self.root = frontier.size, frontier.root()
        if 0 in wanted:
            self.roots[0] = BLAKE3.empty()
        if compact and journal and journal[-1][1] >= self.tree_size:
            self.problems.append(tampered(f"{journal[-1][0]}: expected in {keys.RECORDS} as well"))

    def _collected(self, source: Iterable[bytes]) -> Iterator[bytes]:
        """The records up to the first problem, which is kept."""
        records = iter(source)
        while (data := self.attempt(keys.RECORDS, lambda: next(records, None), None)) is not None:
            yield data

    def _compact_records(self, journal: dict[int, str]) -> Iterator[bytes]:
        for index, data in enumerate(unframed(self.reader.stream(keys.RECORDS))):
            name = journal.get(index)
            if name is not None and self._bounded(name, MAX_RECORD_SIZE) != data:
                self.problems.append(tampered(f"{name}: expected the bytes of record {index}"))
            yield data

    def _journal_records(self, journal: list[tuple[str, int]]) -> Iterator[bytes]:
        for expected, (name, index) in enumerate(journal):
            if index != expected:
                raise tampered(f"{keys.leaf(expected)} is missing, and {name} is there")
            yield self._bounded(name, MAX_RECORD_SIZE)


def settled_material(reader: RecordingReader) -> Material:
    """Load a folder; again, where it changed meanwhile.

    A recording that is being sealed loses its journal between the listing and the reading. What
    is wrong with a folder that stood still is wrong.
    """
    material = Material(reader)
    for _ in range(RELOADS):
        if not material.problems or frozenset(reader.names()) == material.names:
            break
        material = Material(reader)
    return material
