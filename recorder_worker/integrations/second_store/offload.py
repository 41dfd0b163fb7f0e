"""Removes chunks here that are in the second store, where the settings ask for that.

Only of sealed sessions whose copy is whole, and each chunk is looked at once more before the first
one goes: what the second store attests, or gives back, must be what is signed in the records. The
rest of the folder stays, so that the log of sessions verifies as before. A hold does not keep
chunks here: it keeps them from being deleted, and their copy is not.

Killed before the marker says that chunks leave: nothing is gone. Behind it: some are, and the next
turn takes the rest. Behind the last one, before the marker says that they have left: the next turn
finds nothing to take, and tells it again under the same id.
"""

from __future__ import annotations

import msgspec
import structlog

from recorder_worker.core import keys
from recorder_worker.core.copy_marker import CopyMarker
from recorder_worker.core.errors import BlobDamagedError
from recorder_worker.core.events import SessionOffloaded
from recorder_worker.core.ids import event_key
from recorder_worker.core.subjects import Fact
from recorder_worker.integrations.second_store.archiver import (
    marker_of,
    signed_chunks,
    write_marker,
)
from recorder_worker.integrations.second_store.copier import Copier
from recorder_worker.integrations.second_store.patience import Patience
from recorder_worker.integrations.storage import StorageReports
from recorder_worker.ports import Clock, CopyMetrics, EventLog

log = structlog.get_logger(__name__)


class Offload:
    """Takes the chunks of sessions away, some time behind their copy."""

    def __init__(
        self,
        events: EventLog,
        copier: Copier,
        patience: Patience,
        reports: StorageReports,
        clock: Clock,
        metrics: CopyMetrics,
        *,
        node: str,
        keep_ns: int,
    ) -> None:
        self._events = events
        self._copier = copier
        self._patience = patience
        self._reports = reports
        self._clock = clock
        self._metrics = metrics
        self._node = node
        self._keep_ns = keep_ns

    def is_due(self, marker: CopyMarker | None) -> bool:
        """Whether chunks are still here that may go."""
        if marker is None or marker.offloaded_wall_ns:
            return False
        return self._clock.wall_ns() - marker.archived_wall_ns >= self._keep_ns

    async def take_away(self, session_id: str) -> None:
        """Remove the chunks of one session here, once more sure of their copies.

        Raises:
            BlobDamagedError: a copy is not what is signed; told, and nothing was removed.
            StoreError, BusUnavailableError: try again.
        """
        try:
            await self._patience.until_done(session_id, lambda: self._check(session_id))
        except BlobDamagedError as error:
            await self._reports.failed(session_id, "upload", "damaged", str(error))
            raise
        done = await self._patience.until_done(session_id, lambda: self._remove(session_id))
        if done is not None:
            await self._events.emit(
                Fact.OFFLOADED,
                session_id,
                done,
                key=event_key(Fact.OFFLOADED.value, session_id),
            )
            await self._patience.until_done(session_id, lambda: self._has_left(session_id))
            self._metrics.offloaded(done.chunk_bytes)
            log.info("SessionOffloaded", session_id=session_id, bytes=done.chunk_bytes)

    def _check(self, session_id: str) -> None:
        for name, expected in signed_chunks(self._copier.local, session_id).items():
            key = keys.blob_key(session_id, name)
            found = self._copier.look(key)
            if found is None or (found.size, found.sha256) != (expected.size, expected.sha256):
                if self._copier.deletion_of(session_id) is not None:
                    return  # it is being deleted just now, there and here
                what = f"{found.size} bytes of {found.sha256}" if found else "none, or a part"
                raise BlobDamagedError(
                    f"{self._copier.second.location(key)}: expected {expected.size} bytes of "
                    f"SHA-256 {expected.sha256}, found {what}; the chunk here stays"
                )

    def _remove(self, session_id: str) -> SessionOffloaded | None:
        local = self._copier.local
        marker = marker_of(local, session_id)
        if marker is None or marker.offloaded_wall_ns or self._copier.deletion_of(session_id):
            return None
        chunks = signed_chunks(local, session_id)
        now_ns = self._clock.wall_ns()
        if not marker.leaving:
            marker = msgspec.structs.replace(marker, leaving_wall_ns=now_ns)
            write_marker(local, session_id, marker)
        # Those that were looked at there, and no other: what is in no record has no copy.
        for name in chunks:
            local.delete(keys.blob_key(session_id, name))
        return SessionOffloaded(
            session_id=session_id,
            location=marker.location,
            chunk_count=len(chunks),
            chunk_bytes=sum(expected.size for expected in chunks.values()),
            node=self._node,
            wall_ns=marker.leaving_wall_ns,
        )

    def _has_left(self, session_id: str) -> None:
        """Once it was told: there is nothing more to do about this session."""
        marker = marker_of(self._copier.local, session_id)
        if marker is not None and not marker.offloaded_wall_ns:
            now_ns = self._clock.wall_ns()
            left = msgspec.structs.replace(marker, offloaded_wall_ns=now_ns)
            write_marker(self._copier.local, session_id, left)
