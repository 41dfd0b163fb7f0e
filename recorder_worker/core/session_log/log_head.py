"""The head of the log of sessions: all that is needed to append the next entry."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from recorder_worker.core.events import SessionLogged
from recorder_worker.core.events.register import LoggedKind
from recorder_worker.core.merkle.tree import HASH_SIZE, SHA256, Frontier
from recorder_worker.core.session_log.entries import (
    EntryKind,
    LogEntry,
    encode_entry,
    entry_hash,
)

NO_SEAL = bytes(HASH_SIZE)
"""Stands for the newest seal where there is none yet."""

_KINDS: dict[LoggedKind, EntryKind] = {
    "open": EntryKind.OPEN,
    "seal": EntryKind.SEAL,
    "audit": EntryKind.AUDIT,
    "hold": EntryKind.HOLD,
    "release": EntryKind.RELEASE,
    "delete": EntryKind.DELETE,
    "tombstone": EntryKind.TOMBSTONE,
}
_NAMES = {kind: name for name, kind in _KINDS.items()}


class LogHead(msgspec.Struct, frozen=True, kw_only=True):
    """A log's compact range, and what the next session's number is made of.

    `last_seal` is the SHA-256 (32 bytes) of the newest signed seal, `max_counter` the largest
    session number in the log.
    """

    frontier: Frontier = Frontier(hasher=SHA256)
    last_seal: bytes = NO_SEAL
    max_counter: int = 0

    @property
    def size(self) -> int:
        """How many entries the log has."""
        return self.frontier.size

    @property
    def root(self) -> bytes:
        """The root over them, 32 bytes."""
        return self.frontier.root()

    def append(self, entry: LogEntry) -> LogHead:
        """The head with one more entry. Raises FormatError."""
        number = 0 if entry.kind is EntryKind.AUDIT else entry.counter
        return LogHead(
            frontier=self.frontier.append(entry_hash(encode_entry(entry))),
            last_seal=entry.note_sha256 if entry.kind is EntryKind.SEAL else self.last_seal,
            max_counter=max(self.max_counter, number),
        )


def head_over(entries: Iterable[LogEntry]) -> LogHead:
    """The head of a log of these entries."""
    head = LogHead()
    for entry in entries:
        head = head.append(entry)
    return head


def to_event(head: LogHead, entry: LogEntry) -> SessionLogged:
    """The event that says that this entry, the last one, made this head."""
    return SessionLogged(
        session_id=entry.session_id,
        kind=_NAMES[entry.kind],
        counter=entry.counter,
        note_sha256=entry.note_sha256.hex(),
        size=head.size,
        root_hash=head.root.hex(),
        frontier=head.frontier.to_bytes().hex(),
        last_seal=head.last_seal.hex(),
        max_counter=head.max_counter,
    )


def head_in(event: SessionLogged) -> LogHead:
    """The head that an event says. Raises FormatError."""
    return LogHead(
        frontier=Frontier.from_bytes(bytes.fromhex(event.frontier), SHA256),
        last_seal=bytes.fromhex(event.last_seal),
        max_counter=event.max_counter,
    )


def entry_in(event: SessionLogged) -> LogEntry:
    """The entry that an event holds."""
    return LogEntry(
        kind=_KINDS[event.kind],
        session_id=event.session_id,
        counter=event.counter,
        note_sha256=bytes.fromhex(event.note_sha256),
    )
