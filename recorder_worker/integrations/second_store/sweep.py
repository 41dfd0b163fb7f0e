"""Looks, every now and then, for what no fact tells of: what came late, and what may go here.

* Statements of retention, proofs of the log of sessions and receipts, which come behind the seal;
  the log itself, and the audit trail.
* Sealed sessions that were never copied: from before there was a second store, or of whose facts
  the stream knows nothing any more. And those whose copy is whole, and was never told.
* Chunks that are in the second store and may leave this disk.
* What killed writers left in the second store.

Any number of workers may do this at once; what one has done the next one finds. Blocking, but for
`Sweep.turn`.
"""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256

import structlog

from recorder_worker.core import keys
from recorder_worker.core.copy_marker import CopyMarker
from recorder_worker.core.errors import (
    BlobMissingError,
    ImmutableConflictError,
    PermanentError,
    SecondStoreError,
    StoreError,
)
from recorder_worker.integrations.second_store.archiver import Archiver, marker_of
from recorder_worker.integrations.second_store.copier import Copier, of_second
from recorder_worker.integrations.second_store.leftovers import Leftovers
from recorder_worker.integrations.second_store.offload import Offload
from recorder_worker.integrations.second_store.patience import Patience
from recorder_worker.integrations.second_store.removal import is_gone
from recorder_worker.integrations.second_store.replacing import (
    CHECKPOINT,
    HEADS,
    Kept,
    Ours,
    Replacing,
    is_replaced,
)
from recorder_worker.ports import Clock

log = structlog.get_logger(__name__)

LATE = (keys.RETENTION, keys.PROOFS, keys.RECEIPTS)
LATE_NS = 30 * 86_400 * 1_000_000_000
"""So long behind the seal it is looked for what comes late: receipts are asked for as long."""
AGAIN_NS = 3_600 * 1_000_000_000
"""A session that cannot be copied is tried again after this."""


class Sweep:
    """What is done at each turn; `turn` on the event loop, one at a time."""

    def __init__(
        self,
        copier: Copier,
        archiver: Archiver,
        offload: Offload | None,
        patience: Patience,
        clock: Clock,
        ours: Callable[[], Ours],
    ) -> None:
        self._copier = copier
        self._archiver = archiver
        self._offload = offload
        self._patience = patience
        self._clock = clock
        self._leftovers = Leftovers(copier, clock)
        self._replacing = Replacing(copier.local, ours)
        self._sent: dict[str, int | bytes] = {}
        self._said_unreadable: dict[str, str] = {}
        self._settled: dict[str, int] = {}
        self._not_before_ns: dict[str, int] = {}

    async def turn(self, *, idle: bool) -> None:
        """Do all of it once; `idle`: no facts wait, so what was not copied has none."""
        await self._patience.until_done("late files", self._late)
        if idle:
            for session_id in await self._patience.until_done("sessions", self._not_done):
                await self._archive(session_id)
        if self._offload is not None:
            for session_id in await self._patience.until_done("offload", self._due):
                await self._take_away(session_id)
        await self._patience.until_done("leftovers", self._leftovers.clear)

    def _late(self) -> None:
        """Copy what is new or was replaced, beside sealed sessions and in the log."""
        local = self._copier.local
        now_ns = self._clock.wall_ns()
        for session_id in local.children(keys.COPIES):
            if session_id in self._settled and not self._says_more(session_id):
                continue
            marker = self._marker(session_id)
            if marker is None:
                continue
            said = self._said(session_id)
            for folder in LATE:
                self._mirror(keys.blob_key(session_id, folder))
            late = now_ns - marker.archived_wall_ns > LATE_NS
            if late and said is not None and self._rests(session_id, marker):
                self._settled[session_id] = said
        for folder in (keys.AUDIT, keys.LOG):
            self._mirror(folder)

    def _mirror(self, prefix: str) -> None:
        """The log's checkpoint comes last, as its tiles are there before it here.

        What never changes is not written over: of two that differ one is damaged, and nobody here
        knows which. `recorder verify` and `recorder log verify` tell, of the folder and of the
        copy. What changes is written over by what is better alone (`replacing.py`).
        """
        found = sorted(self._copier.local.keys(prefix), key=lambda key: (key == CHECKPOINT, key))
        for key in found:
            try:
                state = self._state(key)
                if self._sent.get(key) == state and key not in HEADS:
                    continue
                kept = self._bring(key)
            except BlobMissingError:
                continue  # a partial tile that was filled meanwhile, an old bundle
            except SecondStoreError:
                raise
            except StoreError as error:
                self._unreadable(key, error)
                continue
            if kept is not None and self._sent.get(key) != state:
                _tell(key, kept)
            self._sent[key] = state

    def _marker(self, session_id: str) -> CopyMarker | None:
        """None: there is none, or it cannot be read now."""
        try:
            return marker_of(self._copier.local, session_id)
        except StoreError as error:
            self._unreadable(f"{keys.COPIES}/{session_id}", error)
            return None

    def _unreadable(self, key: str, error: StoreError) -> None:
        """One bad block of this disk holds up nothing else; it is tried again, and told once."""
        if self._said_unreadable.get(key) != str(error):
            self._said_unreadable[key] = str(error)
            log.warning("LateFileUnreadable", key=key, error=str(error))

    def _bring(self, key: str) -> Kept | None:
        """Have a late file there; or say why what is there stays."""
        try:
            self._copier.mirror(key, replaced=False)
        except ImmutableConflictError as error:
            if not is_replaced(key):
                return Kept(str(error))
            with of_second():
                there = self._copier.second.get(key)
            kept = self._replacing.kept(key, there)
            if kept is None:
                self._copier.mirror(key, replaced=True)
            return kept
        return None

    def _state(self, key: str) -> int | bytes:
        """By which it is known whether a file is another one than the last time.

        Raises:
            BlobMissingError: it is there no more.
        """
        local = self._copier.local
        if is_replaced(key):
            return sha256(local.get(key)).digest()
        size = local.size(key)
        if size is None:
            raise BlobMissingError(f"{key}: it is there no more")
        return size

    def _said(self, session_id: str) -> int | None:
        """How many statements there are of a session; None where one has no proof yet."""
        local, count = self._copier.local, 0
        while local.size(keys.blob_key(session_id, keys.statement(count + 1))) is not None:
            count += 1
            if local.size(keys.blob_key(session_id, keys.statement_proof(count))) is None:
                return None
        return count

    def _says_more(self, session_id: str) -> bool:
        """A session is put under hold, or deleted, years behind its seal."""
        following = keys.statement(self._settled[session_id] + 1)
        if self._copier.local.size(keys.blob_key(session_id, following)) is None:
            return False
        del self._settled[session_id]
        return True

    def _rests(self, session_id: str, marker: CopyMarker) -> bool:
        if self._offload is None or marker.offloaded_wall_ns > 0:
            return True
        return self._copier.deletion_of(session_id) is not None

    def _not_done(self) -> list[str]:
        local, now_ns = self._copier.local, self._clock.monotonic_ns()
        done = set(local.children(keys.COPIES)) - self._not_told()
        return [
            session_id
            for session_id in local.children(keys.SESSIONS)
            if session_id not in done
            and self._not_before_ns.get(session_id, 0) <= now_ns
            and local.size(keys.blob_key(session_id, keys.SEAL)) is not None
            and (not is_gone(local, session_id) or self._copier.deletion_of(session_id) is not None)
        ]

    def _not_told(self) -> set[str]:
        """Copies that are whole since not too long, and of which no fact is known to tell.

        Where somebody tells it just now, it is told under one id.
        """
        local, now_ns = self._copier.local, self._clock.wall_ns()
        told = set(local.children(keys.COPIES_TOLD))
        found = set()
        for session_id in set(local.children(keys.COPIES)) - told - self._settled.keys():
            marker = self._marker(session_id)
            if marker is not None and now_ns - marker.archived_wall_ns <= LATE_NS:
                found.add(session_id)
        return found

    async def _archive(self, session_id: str) -> None:
        try:
            await self._archiver.archive(session_id)
        except (PermanentError, StoreError) as error:
            self._not_before_ns[session_id] = self._clock.monotonic_ns() + AGAIN_NS
            log.warning("SessionNotArchived", session_id=session_id, error=str(error))

    def _due(self) -> list[str]:
        local = self._copier.local
        offload, now_ns = self._offload, self._clock.monotonic_ns()
        if offload is None:
            return []
        return [
            session_id
            for session_id in local.children(keys.COPIES)
            if session_id not in self._settled
            and self._not_before_ns.get(session_id, 0) <= now_ns
            and not is_gone(local, session_id)
            and offload.is_due(self._marker(session_id))
            and self._copier.deletion_of(session_id) is None
        ]

    async def _take_away(self, session_id: str) -> None:
        if self._offload is None:
            return
        try:
            await self._offload.take_away(session_id)
        except (PermanentError, StoreError) as error:
            self._not_before_ns[session_id] = self._clock.monotonic_ns() + AGAIN_NS
            log.warning("SessionNotOffloaded", session_id=session_id, error=str(error))


def _tell(key: str, kept: Kept) -> None:
    if kept.rolled_back:
        log.error("LogRolledBack", key=key, error=kept.why)
    else:
        log.warning("LateFileDiffers", key=key, error=kept.why)
