"""The log of sessions: an entry when a session opens, and one when it is sealed.

The order of effects, as in the merkle stage (docs/architecture.md, "One writer"):

1. the head, with the entry in it and the root *to be signed*, is appended behind the head before
   it, over all sessions,
2. the tiles are durable, and rebuild that root,
3. the checkpoint is signed, and takes the place of the one before,
4. the proof is put into the session's folder,
5. an anchor is requested.

A crash after any step is taken up by whoever handles the next message: it finds the head and
finishes what is missing, before anything is appended. Of two workers the fence lets one append a
head, so there is never a second root for one size. A register that was lost is no new begin: the
stored log, once it is verified, is gone on with.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable

import structlog

from recorder_worker.core.errors import IncidentError, PermanentError
from recorder_worker.core.events import Checkpoint, SessionIncident
from recorder_worker.core.ids import event_key
from recorder_worker.core.session_log.entries import EntryKind, LogEntry
from recorder_worker.core.session_log.log_head import LogHead
from recorder_worker.core.subjects import Fact
from recorder_worker.ports import BlobStore, Clock, EventLog, Signer
from recorder_worker.stages.session_log.log_writer import LogWriter
from recorder_worker.stages.session_table import never_lost
from recorder_worker.stages.store_check import check_store

log = structlog.get_logger(__name__)


class SessionLogStage:
    """Handles `session.checkpoint.<id>`: the first checkpoint of a session, and the sealed one."""

    def __init__(
        self,
        *,
        log: EventLog,
        store: BlobStore,
        signer: Signer,
        clock: Clock,
        recorder: str,
        connection: Callable[[], int] = never_lost,
    ) -> None:
        self._log = log
        self._store = store
        self._clock = clock
        self.writer = LogWriter(
            log=log, store=store, signer=signer, recorder=recorder, connection=connection
        )

    async def handle(self, signed: Checkpoint) -> None:
        """Enter a session in the log, unless it is entered; finish what an earlier try left.

        Raises:
            FencedError: another worker writes the log too.
            IncidentError: the stored log contradicts what was signed; nothing is signed any more.
            StoreError: the whole store is away, whatever seems to be missing in it.
        """
        if _kind_of(signed) is None:
            return
        async with self.writer.lock:
            try:
                await self._handle(signed)
            except PermanentError as error:
                await asyncio.to_thread(check_store, self._store)
                if isinstance(error, IncidentError):
                    await self._report(signed.session_id, str(error))
                raise

    async def give_up(self, signed: Checkpoint, reason: str) -> None:
        """Say that a session is not in the log, before its message is dead-lettered."""
        if _kind_of(signed) is not None:
            await self._report(signed.session_id, f"not in the log of sessions: {reason}")

    async def _handle(self, signed: Checkpoint) -> None:
        head, after = await self.writer.settled()
        opened = self.writer.known.find(signed.session_id, EntryKind.OPEN)
        if signed.sealed and opened is None:
            # The message of the first checkpoint was lost or is late; its event is there.
            head, after = await self._enter(await self._first(signed), head, after)
        await self._enter(signed, head, after)

    async def _first(self, signed: Checkpoint) -> Checkpoint:
        async for logged in self._log.read(Fact.CHECKPOINT, signed.session_id):
            first = logged.event
            if isinstance(first, Checkpoint) and first.tree_size == 1:
                return first
            break
        raise PermanentError(
            f"session {signed.session_id}: expected its first checkpoint in the stream before its "
            "seal can be entered in the log of sessions, found none"
        )

    async def _enter(self, signed: Checkpoint, head: LogHead, after: int) -> tuple[LogHead, int]:
        entry = _entry_of(signed)
        new, after, entered = await self.writer.enter_session(entry, head, after)
        if entered:
            log.info(
                "SessionLogged",
                session_id=entry.session_id,
                kind=entry.kind.name.lower(),
                counter=entry.counter,
                size=new.size,
            )
        return new, after

    async def _report(self, session_id: str, detail: str) -> None:
        log.error("SessionLogStopped", session_id=session_id, reason=detail)
        incident = SessionIncident(
            session_id=session_id, stage="log", detail=detail, wall_ns=self._clock.wall_ns()
        )
        key = event_key(Fact.INCIDENT.value, "log", session_id, detail)
        await self._log.emit(Fact.INCIDENT, session_id, incident, key=key)


def _kind_of(signed: Checkpoint) -> EntryKind | None:
    if signed.sealed:
        return EntryKind.SEAL
    return EntryKind.OPEN if signed.tree_size == 1 else None


def _entry_of(signed: Checkpoint) -> LogEntry:
    return LogEntry(
        kind=EntryKind.SEAL if signed.sealed else EntryKind.OPEN,
        session_id=signed.session_id,
        counter=signed.session_counter,
        note_sha256=hashlib.sha256(signed.note.encode()).digest(),
    )
