"""What the folder of a session says about its place in the log of sessions."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import msgspec

from recorder_worker.core import keys
from recorder_worker.core.errors import BlobMissingError, FormatError, RecorderError
from recorder_worker.core.evidence.recording_notes import newest_note
from recorder_worker.core.merkle.proofs import ProofError
from recorder_worker.core.merkle.tree import BLAKE3
from recorder_worker.core.records.codec import MAX_RECORD_SIZE, decode_record
from recorder_worker.core.records.file import unframed
from recorder_worker.core.records.leaves import OpenRecord
from recorder_worker.core.retention.standing import Standing, standing_of
from recorder_worker.core.retention.statement import (
    MAX_STATEMENT_SIZE,
    MAX_STATEMENTS,
    SignedStatement,
    parse_statement,
)
from recorder_worker.core.session_log.log_proof import MAX_PROOF_SIZE, parse_log_proof
from recorder_worker.core.signing.note import MAX_NOTE_SIZE, SignedNote, parse_note
from recorder_worker.core.signing.note_file import split_notes
from recorder_worker.core.verify.reader import RecordingReader, read_bounded


class SessionFolder(msgspec.Struct, frozen=True, kw_only=True):
    """A session's first record, and SHA-256 of its first and last signed checkpoint.

    Attributes:
        opened: the OPEN record, which the first checkpoint covers.
        first_sha256: of the checkpoint of size 1; `last_sha256` of the newest one.
        sealed: whether there is a seal.
        log_notes: checkpoints of the log of sessions that the folder holds, with where they stand.
        statements: about its retention, in order; `standing` is what they come to. Who signed them
            is for `verify`: here they are held against the log.
    """

    opened: OpenRecord
    first_sha256: bytes
    last_sha256: bytes
    sealed: bool
    log_notes: tuple[tuple[str, SignedNote], ...]
    statements: tuple[SignedStatement, ...] = ()
    standing: Standing = Standing()


def look_into(recording: RecordingReader) -> SessionFolder | None:
    """Read what a session's folder says; None where nothing was signed in it yet.

    Raises:
        RecorderError: something in it is missing, or is not what it should be.
    """
    first = _first_note(recording)
    if first is None:
        return None
    record = _first_record(recording)
    root = parse_note(first).head.root_hash
    opened = decode_record(record)
    if not isinstance(opened, OpenRecord):
        raise FormatError(f"expected OPEN as the first record, found {type(opened).__name__}")
    if BLAKE3.leaf(record) != root:
        raise ProofError("the first record is not the one that the first checkpoint signs")
    seal = _read(recording, keys.SEAL)
    last = seal if seal is not None else newest_note(recording).raw
    statements = tuple(_statements(recording))
    return SessionFolder(
        statements=statements,
        standing=standing_of(statements),
        opened=opened,
        first_sha256=hashlib.sha256(first).digest(),
        last_sha256=hashlib.sha256(last).digest(),
        sealed=seal is not None,
        log_notes=tuple(_log_notes(recording, opened, len(statements))),
    )


def _first_note(recording: RecordingReader) -> bytes | None:
    try:
        return next(split_notes(recording.stream(keys.CHECKPOINTS)), b"")
    except BlobMissingError:
        return _read(recording, keys.note(1))


def _first_record(recording: RecordingReader) -> bytes:
    try:
        first = next(unframed(recording.stream(keys.RECORDS)), None)
    except BlobMissingError:
        return read_bounded(recording, keys.leaf(0), MAX_RECORD_SIZE)
    if first is None:
        raise FormatError(f"{keys.RECORDS}: expected at least one record, found none")
    return first


def _log_notes(
    recording: RecordingReader, opened: OpenRecord, statements: int
) -> list[tuple[str, SignedNote]]:
    """Beacons are in a record that is signed; what cannot be read of proofs is for `verify`."""
    found = [
        (f"the {name} in OPEN", parse_note(data))
        for name, data in (("beacon", opened.beacon), ("time-stamped beacon", opened.timestamped))
        if data
    ]
    stated = [keys.statement_proof(number) for number in range(1, statements + 1)]
    for name in (keys.PROOF_OPEN, keys.PROOF_SEAL, *stated):
        try:
            data = read_bounded(recording, name, MAX_PROOF_SIZE)
            found.append((name, parse_log_proof(data).checkpoint))
        except RecorderError:
            continue
    return found


def _statements(recording: RecordingReader) -> Iterator[SignedStatement]:
    for number in range(1, MAX_STATEMENTS + 1):
        try:
            data = read_bounded(recording, keys.statement(number), MAX_STATEMENT_SIZE)
        except BlobMissingError:
            return
        yield parse_statement(data)


def _read(recording: RecordingReader, name: str) -> bytes | None:
    try:
        return read_bounded(recording, name, MAX_NOTE_SIZE)
    except BlobMissingError:
        return None
