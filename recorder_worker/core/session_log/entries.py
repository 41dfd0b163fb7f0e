"""What an entry of the log of sessions says: 60 bytes, one encoding.

kind u32 ‖ session id (16 bytes) ‖ counter u64 ‖ digest (32 bytes). All numbers are big-endian. For
OPEN and SEAL the counter is the session's number, and the digest SHA-256 of its signed checkpoint.
AUDIT is of no session: its counter says how many audit events there are, its digest is over them.
HOLD, RELEASE, DELETE and TOMBSTONE have the session's number, and SHA-256 of a signed statement.
"""

from __future__ import annotations

import struct
import uuid
from enum import IntEnum

import msgspec

from recorder_worker.core.errors import FormatError, UnsupportedError
from recorder_worker.core.merkle.tree import HASH_SIZE, SHA256

ENTRY_SIZE = 60
_LAYOUT = struct.Struct(">I16sQ32s")
_BEAT = 2

NO_SESSION = str(uuid.UUID(int=0))
"""Stands for the session id in entries that are of none, and in facts about them."""


class EntryKind(IntEnum):
    """What became of a session, or AUDIT. The code 2 is kept for BEAT, which nobody writes yet."""

    OPEN = 1
    SEAL = 3
    AUDIT = 4
    HOLD = 5
    RELEASE = 6
    DELETE = 7
    TOMBSTONE = 8


class LogEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One entry.

    `note_sha256` (32 bytes) is of the session's signed checkpoint: of size 1 for OPEN, of the last
    one for SEAL; of HOLD and the kinds behind it, of a statement of retention. `counter` is the
    session's number, from 1. For AUDIT the one is the digest of the audit trail, the other the
    number of its last event, and the session `NO_SESSION`.
    """

    kind: EntryKind
    session_id: str
    counter: int
    note_sha256: bytes


def encode_entry(entry: LogEntry) -> bytes:
    """The bytes of an entry. Raises FormatError."""
    if not 1 <= entry.counter < 2**64 or len(entry.note_sha256) != HASH_SIZE:
        raise FormatError(
            f"log entry: expected a counter from 1 and a digest of {HASH_SIZE} bytes, got "
            f"{entry.counter} and {len(entry.note_sha256)} bytes"
        )
    try:
        session = uuid.UUID(entry.session_id)
    except ValueError as error:
        raise FormatError(f"log entry: expected a UUID, got {entry.session_id!r}") from error
    _check_session(entry.kind, session)
    return _LAYOUT.pack(entry.kind, session.bytes, entry.counter, entry.note_sha256)


def decode_entry(data: bytes) -> LogEntry:
    """Read an entry strictly: `encode_entry` gives the same bytes again.

    Raises:
        FormatError: the bytes are not an entry.
        UnsupportedError: it is of a kind that this program does not know.
    """
    if len(data) != ENTRY_SIZE:
        raise FormatError(f"log entry: expected {ENTRY_SIZE} bytes, found {len(data)}")
    code, session, counter, digest = _LAYOUT.unpack(data)
    if code == _BEAT:
        raise UnsupportedError("log entry: found a BEAT; use a program that knows it")
    if code not in set(EntryKind):
        known = " or ".join(str(kind.value) for kind in EntryKind)
        raise UnsupportedError(
            f"log entry: expected kind {known}, found {code}; use a program that knows it"
        )
    if counter == 0:
        raise FormatError("log entry: expected a counter from 1, found 0")
    _check_session(EntryKind(code), uuid.UUID(bytes=session))
    return LogEntry(
        kind=EntryKind(code),
        session_id=str(uuid.UUID(bytes=session)),
        counter=counter,
        note_sha256=digest,
    )


def _check_session(kind: EntryKind, session: uuid.UUID) -> None:
    if kind is EntryKind.AUDIT and session.int:
        raise FormatError(f"log entry: expected no session in AUDIT, found {session}")


def entry_hash(data: bytes) -> bytes:
    """The leaf hash of an entry's bytes (RFC 6962 §2.1)."""
    return SHA256.leaf(data)
