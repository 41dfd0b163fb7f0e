"""What the names of the files in a folder say, read once and not kept.

A sealed recording has `records`, `checkpoints` and `seal`; one that is not has a file for each
record and note under `journal/`. A crash while one form becomes the other leaves both.
"""

from __future__ import annotations

import re

import msgspec

from recorder_worker.core import keys
from recorder_worker.core.errors import RecorderError
from recorder_worker.core.verify.reader import RecordingReader

COMPACT = (keys.RECORDS, keys.CHECKPOINTS, keys.SEAL)
MAX_RECEIPTS = 100
_NUMBER = re.compile(r"[0-9]{10,19}")
_THUMBNAIL = re.compile(rf"{keys.THUMBNAILS}/[0-9]{{12,19}}\.jpg(\.enc)?")
_STATEMENT = re.compile(rf"{keys.RETENTION}/[0-9]{{4}}")
_STATEMENT_PROOF = re.compile(rf"{keys.PROOF_RETENTION}-[0-9]{{4}}")
_RECEIPT = re.compile(rf"{keys.RECEIPTS}/[0-9]{{20}}\.(tsr|ots|[0-9a-f]{{16}}\.chain)")


class Listing(msgspec.Struct, frozen=True, kw_only=True):
    """The form of a folder.

    Attributes:
        compact: which of `records`, `checkpoints` and `seal` are there.
        in_journal: whether anything is under `journal/`.
        clip: whether it is a clip.
        newest_leaf: the largest index in `journal/leaves`; -1: there is none.
        newest_note: the largest size in `journal/checkpoints`; -1: there is none.
        thumbnails: how many there are; they are no part of the record.
        statements: how many statements of retention there are.
        receipts: names of receipts, sorted, the first `MAX_RECEIPTS`; there are `more_receipts`.
        size: bytes of all files that a verification reads; 0 where nobody asked.
    """

    compact: frozenset[str]
    in_journal: bool
    clip: bool
    newest_leaf: int
    newest_note: int
    thumbnails: int
    statements: int
    receipts: tuple[str, ...]
    more_receipts: int
    size: int

    @property
    def form(self) -> tuple[frozenset[str], bool, int]:
        """What changes when a recording is sealed, or its bytes are removed, meanwhile."""
        return self.compact, self.in_journal, self.statements


def list_recording(reader: RecordingReader, *, sized: bool = False) -> Listing:
    """Look at every name once.

    Raises:
        RecorderError: the recording cannot be listed.
    """
    compact: set[str] = set()
    receipts: list[str] = []
    receipt_count = thumbnails = statements = 0
    in_journal = clip = False
    newest = {keys.LEAVES: -1, keys.NOTES: -1}
    size = 0
    for name in reader.names():
        if name in COMPACT:
            compact.add(name)
        elif name == keys.CLIP:
            clip = True
        elif name.startswith(f"{keys.JOURNAL}/"):
            in_journal = True
            folder, number = journal_place(name)
            newest[folder] = max(newest.get(folder, -1), number)
        elif is_receipt(name):
            receipt_count += 1
            receipts = sorted([*receipts, name])[:MAX_RECEIPTS]
        elif is_thumbnail(name):
            thumbnails += 1
        elif is_statement(name):
            statements += 1
        if sized and not name.startswith((f"{keys.SEGMENTS}/", f"{keys.THUMBNAILS}/")):
            size += _size(reader, name)
    return Listing(
        compact=frozenset(compact),
        in_journal=in_journal,
        clip=clip,
        newest_leaf=newest[keys.LEAVES],
        newest_note=newest[keys.NOTES],
        thumbnails=thumbnails,
        statements=statements,
        receipts=tuple(receipts),
        more_receipts=receipt_count - len(receipts),
        size=size,
    )


def journal_place(name: str) -> tuple[str, int]:
    """The journal's folder and the number in the name of a file; -1 where it is of no journal.

    A number has one form, as core/keys.py writes it.
    """
    folder, _, number = name.rpartition("/")
    if folder in {keys.LEAVES, keys.NOTES} and _NUMBER.fullmatch(number):
        value = int(number)
        if f"{value:010d}" == number:
            return folder, value
    return folder, -1


def is_receipt(name: str) -> bool:
    """Whether a file is a receipt by its name."""
    return _RECEIPT.fullmatch(name) is not None


def is_statement(name: str) -> bool:
    """Whether a file is a statement of retention by its name."""
    return _STATEMENT.fullmatch(name) is not None


def is_statement_proof(name: str) -> bool:
    """Whether a file is the proof of one by its name."""
    return _STATEMENT_PROOF.fullmatch(name) is not None


def is_thumbnail(name: str) -> bool:
    """Whether a file is a thumbnail by its name, encrypted or not. A unit has one form."""
    if _THUMBNAIL.fullmatch(name) is None:
        return False
    return keys.thumbnail(thumbnail_unit(name), encrypted=name.endswith(".enc")) == name


def thumbnail_unit(name: str) -> int:
    """The unit of a thumbnail."""
    return int(name.removeprefix(f"{keys.THUMBNAILS}/").partition(".")[0])


def _size(reader: RecordingReader, name: str) -> int:
    try:
        return reader.size(name)
    except RecorderError:
        return 0
