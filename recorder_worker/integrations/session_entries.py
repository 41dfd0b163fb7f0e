"""Keeps the table of sessions: facts about them → one entry each in `recorder-sessions`.

For whoever wants to look up a session, or to watch all, without reading a stream. What is lost of
the table is made again: remove the consumer `table`; it comes back, with all facts that the stream
has in front of it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

import msgspec

from recorder_worker.core.errors import StoreError
from recorder_worker.core.events import (
    Captured,
    Checkpoint,
    SessionFailed,
    SessionIncident,
    SessionPaused,
    SessionResumed,
    SessionRetention,
    SessionSealed,
    SessionStarted,
)
from recorder_worker.core.session_entry import SessionEntry, described, merged, read_as
from recorder_worker.core.subjects import Fact
from recorder_worker.ports import BlobStore, EntryTable, EventLog, FactMessage
from recorder_worker.stages.capture.session.manifest import read_manifest
from recorder_worker.stages.session_table import SessionTable, never_lost

Told = (
    SessionStarted
    | SessionPaused
    | SessionResumed
    | SessionFailed
    | Checkpoint
    | SessionSealed
    | SessionIncident
    | SessionRetention
)


@dataclass
class _Written:
    """The entry that this process wrote last, and its revision; None: it has to look."""

    entry: SessionEntry | None = None
    revision: int | None = None


class EntryKeeper:
    """Handles the facts that change what is known of a session."""

    def __init__(
        self,
        log: EventLog,
        store: BlobStore,
        table: EntryTable,
        connection: Callable[[], int] = never_lost,
    ) -> None:
        self._log = log
        self._store = store
        self._table = table
        self._sessions = SessionTable(_Written, connection)

    async def handle(self, message: FactMessage) -> None:
        """Merge one fact into the entry of its session.

        Raises:
            FencedError: another worker did meanwhile: try again on what it wrote.
            BusUnavailableError: try again.
        """
        event: Told = message.event  # type: ignore[assignment]  # the consumer takes no other
        async with self._sessions.entry(event.session_id) as written:
            known, revision = written.entry, written.revision
            written.revision = None
            if revision is not None:
                entry = await self._merged(known, event)
            if revision is None or entry == known:
                # What changes nothing came before: perhaps somebody has the table made again.
                known, revision = await self._table.get(event.session_id)
                entry = await self._merged(known, event)
            if entry != known:
                revision = await self._table.put(entry, after=revision)
            written.entry, written.revision = entry, revision

    async def _merged(self, known: SessionEntry | None, event: Told) -> SessionEntry:
        """What is known of a session, and what an event says of it."""
        before = known or SessionEntry(session_id=event.session_id)
        entry = merged(before, event)
        if not entry.started_wall_ns:
            # An incident of the log of sessions may even name none that was started.
            started = await self._log.last(Fact.STARTED, event.session_id)
            entry = entry if started is None else merged(entry, started.event)
        if isinstance(event, Checkpoint) and not event.sealed:
            captured = await self._log.last(Fact.CAPTURED, event.session_id)
            if captured is not None and isinstance(captured.event, Captured):
                entry = read_as(entry, captured.event)
        return entry if entry.described else await asyncio.to_thread(self._described, entry)

    def _described(self, entry: SessionEntry) -> SessionEntry:
        """With what only the manifest says; where it cannot be read, the entry goes without."""
        with suppress(StoreError, msgspec.MsgspecError):
            manifest = read_manifest(self._store, entry.session_id)
            if manifest is not None:
                return described(entry, manifest.command)
        return entry
