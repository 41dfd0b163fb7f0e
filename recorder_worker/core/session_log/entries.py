"""What an entry of the log of sessions says: 60 bytes, one encoding.

kind u32 ‖ session id (16 bytes) ‖ session counter u64 ‖ SHA-256 of the session's signed checkpoint.
All numbers are big-endian.
"""

from __future__ import annotations

import struct
import uuid
from enum import IntEnum

import msgspec

from recorder_worker.core.errors import FormatError, UnsupportedError
from recorder_worker.core.tree import HASH_SIZE, SHA256

ENTRY_SIZE = 60
_LAYOUT = struct.Struct(">I16sQ32s")
_BEAT = 2


class EntryKind(IntEnum):
    """What became of a session. The code 2 is kept for BEAT, which nobody writes yet."""

    OPEN = 1
    SEAL = 3


class LogEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One entry.

    `note_sha256` (32 bytes) is of the session's signed checkpoint: of size 1 for OPEN, of the last
    one for SEAL. `counter` is the session's number, from 1.
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
        raise UnsupportedError(
            f"log entry: expected kind {EntryKind.OPEN} or {EntryKind.SEAL}, found {code}; "
            "use a program that knows it"
        )
    if counter == 0:
        raise FormatError("log entry: expected a session counter from 1, found 0")
    return LogEntry(
        kind=EntryKind(code),
        session_id=str(uuid.UUID(bytes=session)),
        counter=counter,
        note_sha256=digest,
    )


def entry_hash(data: bytes) -> bytes:
    """The leaf hash of an entry's bytes (RFC 6962 §2.1)."""
    return SHA256.leaf(data)
