"""Where the entries of sessions are kept, for whoever wants to look one up or watch."""

from __future__ import annotations

from typing import Protocol

from recorder_worker.core.session_entry import SessionEntry


class EntryTable(Protocol):
    """One entry for each session. What is lost of it can be made again from the facts."""

    async def get(self, session_id: str) -> tuple[SessionEntry | None, int]:
        """A session's entry, None where there is none, and its revision, a fence for `put`.

        Raises:
            BusUnavailableError: no answer.
        """
        ...

    async def put(self, entry: SessionEntry, *, after: int) -> int:
        """Store an entry in the place of the one of that revision; its own.

        Raises:
            FencedError: there is a newer one.
            BusUnavailableError: no answer.
        """
        ...

    async def all(self) -> list[SessionEntry]:
        """Every entry, in no order. Raises BusUnavailableError."""
        ...
