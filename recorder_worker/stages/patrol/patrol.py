"""The patrol: every stored chunk of every sealed session is read again, one after the other.

Sessions come in the order of their seals, chunks in that of their records, and a round begins when
the last one is over: so each is read once a round, however large the others are. The rate is kept
by waiting behind each piece; a thread of the machine's is used for no longer than one piece takes.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass

import msgspec
import structlog

from recorder_worker.core import keys
from recorder_worker.core.errors import PermanentError, StoreError
from recorder_worker.core.session_log.entries import EntryKind
from recorder_worker.ports import BlobStore, Clock
from recorder_worker.stages.patrol.chunk_check import (
    ChunkReading,
    Fault,
    StoredChunk,
    check,
    chunks_behind,
    put_back,
    take_back,
)
from recorder_worker.stages.patrol.place import Damage, Place, read_place, write_place
from recorder_worker.stages.retention.book import RetentionBook

log = structlog.get_logger(__name__)

SECOND_NS = 1_000_000_000
SAVE_NS = 5 * SECOND_NS
"""So often is written down how far it came: behind a crash no more is read twice."""


class Patrolled(msgspec.Struct, frozen=True, kw_only=True):
    """What was found of one chunk: `good`, `damaged` or `repaired`; and its bytes."""

    outcome: str
    size: int


class DamageFound(msgspec.Struct, frozen=True, kw_only=True):
    """One damaged chunk, to be told once."""

    session_id: str
    chunk: StoredChunk
    fault: Fault
    repaired: bool


Tell = Callable[[DamageFound], Awaitable[None]]
Count = Callable[[Patrolled, int], None]


@dataclass(frozen=True)
class SecondCopies:
    """Copies under the same keys: where they are, if there is such a store here.

    `alone` says whether it alone has a session's chunks, on purpose: they are not read here.
    """

    store: BlobStore | None = None
    alone: Callable[[str], bool] = lambda _session_id: False


class Patrol:
    """One of any number; one of them walks.

    Args:
        store: of the recorder.
        second: what is known of copies.
        book: what is known of sessions: the log of sessions is the catalogue.
        worker: a name of this process that no other has.
        bytes_per_s: the rate.
        tell: called once for each damage, before it is written down as told.
        count: called for each chunk, with how many are damaged by now.
    """

    def __init__(
        self,
        store: BlobStore,
        clock: Clock,
        book: RetentionBook,
        *,
        worker: str,
        bytes_per_s: int,
        second: SecondCopies,
        tell: Tell,
        count: Count,
    ) -> None:
        self._store = store
        self._clock = clock
        self._book = book
        self._worker = worker
        self._bytes_per_s = bytes_per_s
        self._second = second
        self._tell = tell
        self._count = count
        self.place = Place()

    async def walk(self, pause_s: float) -> float:
        """Go on with the round, or begin one; gives the seconds until there is more to do.

        Ends at the end of the round, or where another worker has taken it over.

        Raises:
            BusUnavailableError, StoreError: try again; nothing is forgotten.
        """
        self.place = await asyncio.to_thread(read_place, self._store)
        now_ns = self._clock.wall_ns()
        if not self.place.is_mine(self._worker, now_ns):
            return pause_s
        # A round that ends later than now was ended by a clock that was wrong, or by a forger.
        rested_ns, pause_ns = now_ns - self.place.finished_ns, round(pause_s * SECOND_NS)
        if not self.place.session_id and 0 <= rested_ns < pause_ns:
            return (pause_ns - rested_ns) / SECOND_NS
        if not self.place.session_id:
            self._move(round=self.place.round + 1)
        await self._save()
        await self._book.settle()
        async for chunk, session_id in self._chunks():
            await self._look(session_id, chunk)
            if self._clock.wall_ns() - self.place.moved_ns >= SAVE_NS and not await self._save():
                return pause_s
        self._move(session_id="", index=0, finished_ns=self._clock.wall_ns())
        await self._save()
        return pause_s

    async def _chunks(self) -> AsyncIterator[tuple[StoredChunk, str]]:
        """What is left of this round. Sessions that are sealed meanwhile are of it, too."""
        sessions = self._book.known.sealed()
        begin = self.place.session_id
        at = sessions.index(begin) if begin in sessions else 0
        while at < len(sessions):
            session_id = sessions[at]
            behind = self.place.index if session_id == begin else 0
            self._move(session_id=session_id, index=behind)
            async for chunk in self._of_session(session_id, behind):
                yield chunk, session_id
                self._move(index=chunk.index)
            at += 1
            sessions = self._book.known.sealed()

    async def _of_session(self, session_id: str, behind: int) -> AsyncIterator[StoredChunk]:
        if await self._is_away(session_id):
            self._forget(session_id)
            return
        chunks = chunks_behind(self._store, session_id, behind)
        while True:
            try:
                chunk = await asyncio.to_thread(next, chunks, None)
            except (PermanentError, StoreError) as error:
                # Its folder was taken elsewhere, or is damaged, or on a bad block: `recorder log
                # verify` tells that. Where all of the store is away, the place cannot be saved.
                log.warning("PatrolSessionUnreadable", session_id=session_id, error=str(error))
                return
            if chunk is None or self._is_removed(session_id):
                return
            yield chunk

    async def _is_away(self, session_id: str) -> bool:
        """Whether its chunks need not be here."""
        if self._is_removed(session_id):
            return True
        return await asyncio.to_thread(self._second.alone, session_id)

    def _is_removed(self, session_id: str) -> bool:
        kinds = {entry.kind for entry in self._book.known.statements(session_id)}
        return EntryKind.DELETE in kinds

    async def _look(self, session_id: str, chunk: StoredChunk) -> None:
        fault = await self._read(chunk)
        if fault is not None:
            # It may be going just now, or have been read while the disk was busy: look again.
            await self._book.settle()
            if await self._is_away(session_id):
                return
            fault = await asyncio.to_thread(check, self._store, chunk)
        known = self.place.damage_of(chunk.key)
        outcome = "good"
        if fault is not None:
            repaired = await self._mend(session_id, chunk, fault)
            if await self._is_gone_meanwhile(session_id, chunk, repaired=repaired):
                return
            outcome = "repaired" if repaired else "damaged"
        elif known is not None and not known.told:
            # Whoever put it back died, or met an error, before he had told it.
            fault = Fault(problem=known.problem, expected=chunk.expected, found=known.found)
            outcome = "repaired" if self._second.store is not None else "good"
        if fault is not None:
            await self._say(session_id, chunk, fault, repaired=outcome == "repaired")
        elif known is not None:
            self.place = self.place.without(chunk.key)
        self._count(Patrolled(outcome=outcome, size=chunk.size), len(self.place.damaged))

    async def _mend(self, session_id: str, chunk: StoredChunk, fault: Fault) -> bool:
        """Write down a damage that is new, and repair it; whether the chunk is whole then.

        In this order: behind the repair nothing of it is to be seen, and it has to be told.
        """
        known = self.place.damage_of(chunk.key)
        if known is None or known.found != fault.found:
            damage = Damage(key=chunk.key, found=fault.found, problem=fault.problem, told=False)
            self.place = self.place.with_damage(damage)
            await self._save()
        return await self._try_to_repair(session_id, chunk)

    async def _is_gone_meanwhile(
        self, session_id: str, chunk: StoredChunk, *, repaired: bool
    ) -> bool:
        """Whether the session was deleted, or its chunks have left, while one was put back."""
        await self._book.settle()
        if not await self._is_away(session_id):
            return False
        second = self._second.store
        if repaired and second is not None and not self._is_removed(session_id):
            await asyncio.to_thread(take_back, self._store, second, chunk)
        self._forget(session_id)
        return True

    async def _say(
        self, session_id: str, chunk: StoredChunk, fault: Fault, *, repaired: bool
    ) -> None:
        """Tell a damage once; and once more where it was told as damaged, and is repaired now."""
        known = self.place.damage_of(chunk.key)
        if known is None or not known.told or repaired:
            await self._tell(
                DamageFound(session_id=session_id, chunk=chunk, fault=fault, repaired=repaired)
            )
        if known is not None and not repaired:
            self.place = self.place.with_damage(msgspec.structs.replace(known, told=True))
        else:
            self.place = self.place.without(chunk.key)
        await self._save()

    async def _read(self, chunk: StoredChunk) -> Fault | None:
        reading = ChunkReading(self._store, chunk)
        size = await asyncio.to_thread(reading.next)
        while size:
            await asyncio.sleep(size / self._bytes_per_s)
            size = await asyncio.to_thread(reading.next)
        return reading.fault()

    async def _try_to_repair(self, session_id: str, chunk: StoredChunk) -> bool:
        second = self._second.store
        if second is None:
            return False
        try:
            is_deleted = self._book.files.is_deleted
            lost = await asyncio.to_thread(
                put_back, self._store, second, session_id, chunk, is_deleted
            )
        except StoreError as error:
            lost = str(error)
            # A store that says that it failed may have done it all the same.
            if await asyncio.to_thread(check, self._store, chunk) is None:
                lost = ""
        if lost:
            log.warning("PatrolRepairFailed", key=chunk.key, error=lost)
        return not lost

    def _forget(self, session_id: str) -> None:
        """Of chunks that need not be here nothing is known as damaged."""
        self.place = self.place.without(keys.session_prefix(session_id))

    def _move(self, **fields: object) -> None:
        self.place = msgspec.structs.replace(self.place, **fields)

    async def _save(self) -> bool:
        """Write down how far it came; whether this worker still walks."""
        now_ns = self._clock.wall_ns()
        held = await asyncio.to_thread(read_place, self._store)
        if not held.is_mine(self._worker, now_ns):
            return False
        self._move(worker=self._worker, moved_ns=now_ns)
        await asyncio.to_thread(write_place, self._store, self.place)
        return True
