"""Tells those who keep recordings what is stored and whole, and what turned out not to be.

`integration.storage.stored` comes once for each sealed session, when its folder has all that its
seal counts. `integration.storage.integrity_failed` comes wherever a stage finds a blob that is
missing, damaged or unreadable; it is told beside the work, whose outcome it does not change.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from hashlib import sha256
from typing import Any, Literal

import structlog

from recorder_worker.core import keys
from recorder_worker.core.copy_marker import parse_marker
from recorder_worker.core.errors import (
    BlobDamagedError,
    BlobMissingError,
    BlobUnreadableError,
    ImmutableConflictError,
    RecorderError,
)
from recorder_worker.core.events import IntegrityFailed, SessionSealed, SessionStored
from recorder_worker.core.ids import event_key
from recorder_worker.core.subjects import Fact
from recorder_worker.ports import BlobStore, Clock, EventLog
from recorder_worker.stages.patrol.patrol import DamageFound
from recorder_worker.stages.store_check import check_store

log = structlog.get_logger(__name__)

NAME = "storage"
"""Of its durable consumer, and in dead letters."""

PATROL = "patrol"
"""Who found it, where that was neither a stage nor a look at a folder."""

TELL_S = 5.0
"""How long a stage may wait for the bus to take a report, before it goes on without."""

Problem = Literal["missing", "damaged", "unreadable", "conflict", "incomplete"]

PROBLEMS: tuple[tuple[type[RecorderError], Problem], ...] = (
    (BlobMissingError, "missing"),
    (BlobDamagedError, "damaged"),
    (BlobUnreadableError, "unreadable"),
    (ImmutableConflictError, "conflict"),
)


class StorageReports:
    """Tells about the store, in the name of one node."""

    def __init__(self, events: EventLog, clock: Clock, node: str) -> None:
        self._events = events
        self._clock = clock
        self._node = node

    def watching(
        self, stage: str, handle: Callable[[Any], Awaitable[None]]
    ) -> Callable[[Any], Awaitable[None]]:
        """A stage's handler that also tells of blobs that are not what they were."""

        async def handle_and_tell(event: Any) -> None:  # noqa: ANN401  (as the stage's own)
            try:
                await handle(event)
            except tuple(kind for kind, _ in PROBLEMS) as error:
                problem = next(name for kind, name in PROBLEMS if isinstance(error, kind))
                await self._try_to_tell(event.session_id, stage, problem, str(error))
                raise

        return handle_and_tell

    async def chunk_failed(self, damage: DamageFound) -> None:
        """Tell of a chunk that the patrol found damaged. Raises BusUnavailableError."""
        fault = damage.fault
        end = "; another store's copy is in its place now" if damage.repaired else ""
        detail = f"{damage.chunk.key}: expected {fault.expected}, found {fault.found}{end}"
        await self.failed(
            damage.session_id,
            PATROL,
            fault.problem,
            detail,
            chunk=damage.chunk.key,
            expected=fault.expected,
            found=fault.found,
            repaired=damage.repaired,
        )

    async def failed(
        self,
        session_id: str,
        stage: str,
        problem: Problem,
        detail: str,
        **chunk: Any,  # noqa: ANN401  (the fields that the patrol adds)
    ) -> None:
        """Tell of one problem. Raises BusUnavailableError."""
        fact = IntegrityFailed(
            session_id=session_id,
            stage=stage,
            problem=problem,
            detail=detail[:4096],
            **chunk,
            node=self._node,
            wall_ns=self._clock.wall_ns(),
        )
        digest = sha256(detail.encode()).hexdigest()[:32]
        key = event_key(Fact.INTEGRITY_FAILED.value, session_id, stage, digest)
        await self._events.emit(Fact.INTEGRITY_FAILED, session_id, fact, key=key)

    async def _try_to_tell(
        self, session_id: str, stage: str, problem: Problem, detail: str
    ) -> None:
        try:
            async with asyncio.timeout(TELL_S):
                await self.failed(session_id, stage, problem, detail)
        except Exception as error:  # noqa: BLE001  (the stage's own error is what counts)
            log.warning("IntegrityFailureNotTold", detail=detail, error=repr(error))


class StoredSessions:
    """The handler of `session.sealed.<id>`: looks at the folder, and tells what it has.

    `is_deleted` says whether this device has signed that a session's bytes go: what somebody else
    has put there excuses nothing. Blocking.
    """

    def __init__(
        self,
        events: EventLog,
        store: BlobStore,
        reports: StorageReports,
        is_deleted: Callable[[str], bool],
    ) -> None:
        self._events = events
        self._store = store
        self._reports = reports
        self._is_deleted = is_deleted

    async def handle(self, sealed: SessionSealed) -> None:
        """Tell once that a session is stored, or what is missing of it.

        Raises:
            BusUnavailableError, StoreError: try again.
        """
        if await asyncio.to_thread(self._is_deleted, sealed.session_id):
            return  # told again behind its deletion: what is missing has been signed for
        try:
            stored = await asyncio.to_thread(self._look, sealed)
            if stored is None:
                return
        except BlobMissingError as error:
            await asyncio.to_thread(check_store, self._store)
            await self._reports.failed(sealed.session_id, NAME, "missing", str(error))
            return
        count, size = stored.chunk_count, stored.chunk_bytes
        # There may be more: a chunk that was stored, and whose leaf became a gap all the same.
        if count < sealed.chunk_count or size < sealed.stored_bytes:
            detail = (
                f"{sealed.location}/{keys.CHUNKS}: expected {sealed.chunk_count} files of "
                f"{sealed.stored_bytes} bytes in all, found {count} of {size}; run recorder "
                "verify on the folder, which names them"
            )
            await self._reports.failed(sealed.session_id, NAME, "incomplete", detail)
            return
        key = event_key(Fact.STORED.value, sealed.session_id)
        await self._events.emit(Fact.STORED, sealed.session_id, stored, key=key)

    def _look(self, sealed: SessionSealed) -> SessionStored | None:
        """None: it was whole, and its chunks are in the second store alone since."""
        marker = keys.copies(sealed.session_id)
        if self._store.size(marker) is not None and parse_marker(self._store.get(marker)).leaving:
            return None
        seal = self._store.get(keys.blob_key(sealed.session_id, keys.SEAL))
        chunks = self._sizes(sealed.session_id, keys.CHUNKS)
        return SessionStored(
            session_id=sealed.session_id,
            location=sealed.location,
            root_hash=sealed.root_hash,
            tree_size=sealed.tree_size,
            reason=sealed.reason,
            seal_sha256=sha256(seal).hexdigest(),
            seal_size=len(seal),
            records_size=self._size(sealed.session_id, keys.RECORDS),
            checkpoints_size=self._size(sealed.session_id, keys.CHECKPOINTS),
            chunk_count=len(chunks),
            chunk_bytes=sum(chunks),
            mark_count=len(self._sizes(sealed.session_id, keys.MARKS)),
            sealed_wall_ns=sealed.wall_ns,
        )

    def _sizes(self, session_id: str, folder: str) -> list[int]:
        names = self._store.keys(keys.blob_key(session_id, folder))
        return [size for name in names if (size := self._store.size(name)) is not None]

    def _size(self, session_id: str, name: str) -> int:
        size = self._store.size(keys.blob_key(session_id, name))
        if size is None:
            raise BlobMissingError(f"{name}: expected a file in the sealed folder, found none")
        return size
