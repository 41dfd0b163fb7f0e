"""The stream of audit events, message by message, as the server stores it."""

from __future__ import annotations

from typing import Protocol

import msgspec


class StoredMessage(msgspec.Struct, frozen=True, kw_only=True):
    """A message as it lies in the stream: its exact bytes, and when it was stored."""

    subject: str
    sequence: int
    stored_ns: int
    message_id: str
    body: bytes


class AuditStream(Protocol):
    """Reads, by sequence. Each may raise BusUnavailableError.

    What is said is what the server knows last, not what a copy knew a moment before: a message
    that only a copy lacks would look like one that was lost.
    """

    async def last_sequence(self) -> int:
        """The last sequence that the stream gave out; 0: none."""
        ...

    async def at(self, sequence: int) -> StoredMessage | None:
        """The message with a sequence; None where there is none, or none any more."""
        ...

    async def behind(self, sequence: int) -> StoredMessage | None:
        """The first message behind a sequence; None where there is none yet."""
        ...
