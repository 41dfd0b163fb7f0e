"""Step 13: the files that stand beside the tree, and those that are no part of the record."""

from __future__ import annotations

import re
from bisect import bisect_right
from itertools import accumulate

from blake3 import blake3

from recorder_worker.core import keys
from recorder_worker.core.cipher.declared import MAX_DECLARED_SIZE, declared_encryption
from recorder_worker.core.cipher.names import CIPHER_NONE
from recorder_worker.core.errors import RecorderError
from recorder_worker.core.mark_words import mark_words
from recorder_worker.core.merkle.partial_tree import LeafRange
from recorder_worker.core.printable import printable
from recorder_worker.core.records.leaves import AnyRecord, ChunkRecord, MarkRecord, OpenRecord
from recorder_worker.core.verify.findings import Findings, Texts
from recorder_worker.core.verify.listing import (
    COMPACT,
    Listing,
    is_receipt,
    is_thumbnail,
    journal_place,
)
from recorder_worker.core.verify.reader import RecordingReader, read_bounded
from recorder_worker.core.verify.report import MAX_MARKS, MarkFound
from recorder_worker.core.verify.steps import tampered

MAX_NAMED = 20
MAX_BODY_SIZE = 1 << 27
"""Bytes of a manifest or a mark's body: twice what a message on the bus can be. A sparse file can
claim any size, and nobody's time is spent on it."""
MAX_SAYING_SIZE = 1 << 16
"""Bytes of a body that is put into words; no command is longer."""
_INDEX = re.compile(r"[0-9]{10,19}")
PROOFS = frozenset({f"{keys.PROOFS}/open", f"{keys.PROOFS}/seal"})


class Attached:
    """Takes the records in order: the manifest and the bodies of marks have their digests.

    Chunks are encrypted as the manifest declares, all of them or none: else somebody could have
    had plain chunks signed into an encrypted session, or pass off garbage as encrypted.

    Attributes:
        marks: the first of them, in words.
    """

    def __init__(self, reader: RecordingReader, findings: Findings) -> None:
        self._reader = reader
        self._findings = findings
        self.marks: list[MarkFound] = []
        self._marks = 0
        self._manifest = False
        self._declared = CIPHER_NONE

    def feed(self, record: AnyRecord) -> None:
        """One more record."""
        if isinstance(record, OpenRecord) and not self._manifest:
            self._manifest = True
            self._check(keys.MANIFEST, record.manifest_blake3, None)
            self._declared = self._cipher()
        elif isinstance(record, MarkRecord):
            self._mark(record)
        elif isinstance(record, ChunkRecord) and record.cipher != self._declared:
            self._findings.tampered(
                f"record {record.index}: expected a chunk of cipher {self._declared}, as "
                f"{keys.MANIFEST} declares, found {record.cipher}"
            )

    def _cipher(self) -> str:
        """What the manifest declares; one that says nothing that can be read declares none."""
        try:
            data = read_bounded(self._reader, keys.MANIFEST, MAX_DECLARED_SIZE)
            declared = declared_encryption(data)
        except RecorderError as error:
            self._findings.warn(f"{keys.MANIFEST}: declares no cipher: {error}")
            return CIPHER_NONE
        return CIPHER_NONE if declared is None else declared.cipher

    def _mark(self, record: MarkRecord) -> None:
        self._marks += 1
        body = self._check(keys.mark(record.index), record.body_blake3, record.body_size)
        if len(self.marks) < MAX_MARKS:
            self.marks.append(
                MarkFound(
                    index=record.index,
                    t_ns=record.t_ns,
                    wall_ns=record.wall_ns,
                    kind=printable(record.kind),
                    by=printable(record.by),
                    says=mark_words(record.kind, body) if body else "",
                )
            )

    def _check(self, name: str, digest: bytes, size: int | None) -> bytes:
        """Hold a file against its digest. Its bytes, where they are few and the right ones."""
        few, right = bytearray(), False
        with self._findings.catching(name):
            found = self._reader.size(name)
            if size is not None and found != size:
                raise tampered(f"{name}: expected {size} bytes, found {found}")
            if found > MAX_BODY_SIZE:
                raise tampered(f"{name}: expected at most {MAX_BODY_SIZE} bytes, found {found}")
            hasher = blake3()
            for piece in self._reader.stream(name):
                hasher.update(piece)
                few += piece[: MAX_SAYING_SIZE + 1 - len(few)]
            if hasher.digest() != digest:
                raise tampered(
                    f"{name}: expected BLAKE3 {digest.hex()}, found {hasher.hexdigest()}"
                )
            right = len(few) <= MAX_SAYING_SIZE
        return bytes(few) if right else b""

    @property
    def encrypted(self) -> bool:
        """Whether the manifest declares a cipher."""
        return self._declared != CIPHER_NONE

    def finish(self) -> str:
        """All records have passed; what to say where all is well."""
        if not self._manifest:
            self._findings.leave_out("there is no OPEN record that names the manifest's digest")
        return f"{keys.MANIFEST}, {self._marks} marks"


class Speakers:
    """Which files the records speak of: a byte for each record that is here."""

    def __init__(self) -> None:
        self._kinds = bytearray()

    def feed(self, record: AnyRecord | None) -> None:
        """One more record; None: it could not be read."""
        kind = 0
        if isinstance(record, ChunkRecord):
            kind = 1 if record.codec == "zstd" else 2
            kind += 0 if record.cipher == CIPHER_NONE else 3
        elif isinstance(record, MarkRecord):
            kind = 3
        self._kinds.append(kind)

    def speak_of(self, name: str, ranges: tuple[LeafRange, ...], before: list[int]) -> bool:
        """Whether a record speaks of a file.

        `ranges` are the records that are here, `before` how many of them come before each range.
        """
        digits = name.partition("/")[2].partition(".")[0]
        if not digits.isascii() or not digits.isdecimal() or len(digits) > 19:
            return False
        index = int(digits)
        nth = bisect_right(ranges, index, key=lambda found: found.begin) - 1
        if nth < 0 or index not in ranges[nth]:
            return False
        place = before[nth] + index - ranges[nth].begin
        if place >= len(self._kinds):
            return False
        return (
            name
            == {
                0: "",
                1: keys.chunk(index, compressed=True),
                2: keys.chunk(index, compressed=False),
                3: keys.mark(index),
                4: keys.chunk(index, compressed=True, encrypted=True),
                5: keys.chunk(index, compressed=False, encrypted=True),
            }[self._kinds[place]]
        )

    def may_speak_of(self, name: str) -> bool:
        """Whether it is of the spool, or a record that is still to come may speak of it."""
        folder, _, rest = name.partition("/")
        digits = rest.partition(".")[0]
        if folder == keys.SEGMENTS or not _INDEX.fullmatch(digits):
            return folder == keys.SEGMENTS
        index = int(digits)
        return index >= len(self._kinds) and name in {
            keys.chunk(index, compressed=True),
            keys.chunk(index, compressed=False),
            keys.chunk(index, compressed=True, encrypted=True),
            keys.chunk(index, compressed=False, encrypted=True),
            keys.mark(index),
        }


def strangers(
    reader: RecordingReader,
    listing: Listing,
    speakers: Speakers,
    ranges: tuple[LeafRange, ...],
    *,
    encrypted: bool,
) -> list[str]:
    """Warnings about files that no record speaks of.

    While a session is being recorded its spool, and chunks and bodies whose records are still to
    come, are no strangers. Links are: what lies outside of the folder is not read. Thumbnails are
    none where they belong: encrypted in an encrypted session, and in no clip.

    Raises:
        RecorderError: the recording cannot be listed.
    """
    found = Texts(MAX_NAMED)
    before = [0, *accumulate(found.end - found.begin for found in ranges)]
    own = {keys.MANIFEST, *COMPACT, *PROOFS} | ({keys.CLIP, keys.TRUST} if listing.clip else set())
    for name in reader.names():
        known = (
            name in own
            or (not listing.compact and not listing.clip and speakers.may_speak_of(name))
            or journal_place(name)[1] >= 0
            or is_receipt(name)
            or (is_thumbnail(name) and not listing.clip and name.endswith(".enc") is encrypted)
            or speakers.speak_of(name, ranges, before)
        )
        if not known:
            found.add(name)
    warnings = [f"not part of the record: {printable(name)}" for name in sorted(found.first)]
    if found.more:
        warnings.append(f"not part of the record: {found.more} more files")
    return warnings
