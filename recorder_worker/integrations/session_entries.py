"""Keeps the table of sessions: facts about them → one entry each in `recorder-sessions`.

For whoever wants to look up a session, or to watch all, without reading a stream. What is lost of
the table is made again: remove the consumer `table`; it comes back, with all facts that the stream
has in front of it.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress

import msgspec

from recorder_worker.core.errors import StoreError
from recorder_worker.core.events import (
    Captured,
    Checkpoint,
    SessionFailed,
    SessionIncident,
    SessionPaused,
    SessionResumed,
    SessionSealed,
    SessionStarted,
)
from recorder_worker.core.session_entry import SessionEntry, described, merged, read_as
from recorder_worker.core.subjects import Fact
from recorder_worker.ports import BlobStore, EntryTable, EventLog, FactMessage
from recorder_worker.stages.capture.session.manifest import read_manifest

Told = (
    SessionStarted
    | SessionPaused
    | SessionResumed
    | SessionFailed
    | Checkpoint
    | SessionSealed
    | SessionIncident
)


class EntryKeeper:
    """Handles the facts that change what is known of a session."""

    def __init__(self, log: EventLog, store: BlobStore, table: EntryTable) -> None:
        self._log = log
        self._store = store
        self._table = table

    async def handle(self, message: FactMessage) -> None:
        """Merge one fact into the entry of its session.

        Raises:
            FencedError: another worker did meanwhile: try again on what it wrote.
            BusUnavailableError: try again.
        """
        event: Told = message.event  # type: ignore[assignment]  # the consumer takes no other
        known, revision = await self._table.get(event.session_id)
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
        if not entry.described:
            entry = await asyncio.to_thread(self._described, entry)
        if entry != known:
            await self._table.put(entry, after=revision)

    def _described(self, entry: SessionEntry) -> SessionEntry:
        """With what only the manifest says; where it cannot be read, the entry goes without."""
        with suppress(StoreError, msgspec.MsgspecError):
            manifest = read_manifest(self._store, entry.session_id)
            if manifest is not None:
                return described(entry, manifest.command)
        return entry
