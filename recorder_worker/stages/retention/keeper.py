"""Removes what was deleted or is too old, and says so; of any number of workers, all may run it.

The order of effects for one session:

1. the deletion is signed, and stands in the log of sessions,
2. the key of an encrypted session goes, then its chunks and thumbnails, in every store,
3. the tombstone is signed, and stands in the log.

A crash between any two is taken up by whoever comes next: a deletion without a tombstone is gone on
with, whatever the rules say by then. Two that do it at once do the same; each statement has one
place in the store and one in the log. The log of sessions is the catalogue: no store is listed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence

import msgspec
import structlog

from recorder_worker.core.errors import IncidentError, StoreError
from recorder_worker.core.retention.sayings import KEEPER, Deletion, Saying, tombstone_of
from recorder_worker.core.retention.standing import Standing
from recorder_worker.core.session_log.entries import EntryKind
from recorder_worker.ports import BlobStore, Clock
from recorder_worker.stages.retention.aftercare import Aftercare, InThread
from recorder_worker.stages.retention.book import RetentionBook
from recorder_worker.stages.retention.doubts import Doubts
from recorder_worker.stages.retention.removal import deletion_of, remove_bytes
from recorder_worker.stages.retention.rules import (
    Due,
    RetentionLimits,
    due_by_size,
    due_by_time,
)
from recorder_worker.stages.retention.sealed_session import SealedSession, read_sealed
from recorder_worker.stages.sure_time import STEADY_S, SureTime, TimeWitness

log = structlog.get_logger(__name__)

REST = 3
"""So many times as long as it took to read a session, nothing is read behind it."""


class Tended(msgspec.Struct, frozen=True, kw_only=True):
    """What one round found.

    Attributes:
        sessions: sealed sessions of which nothing was removed, of `stored_bytes` in their chunks.
        held: how many of them are under hold.
        removed: how many were finished in this round.
        above_bytes: by so much they are above `max_total_bytes`, and nothing more may go.
        problems: where what is stored contradicts what was signed; a person has to look.
        postponed: what a store did not do; it is tried again.
        doubts: what is not removed because no clock can be believed about it; empty: nothing.
    """

    sessions: int = 0
    stored_bytes: int = 0
    held: int = 0
    removed: int = 0
    above_bytes: int = 0
    problems: tuple[str, ...] = ()
    postponed: tuple[str, ...] = ()
    doubts: str = ""


class RetentionKeeper:
    """Looks at all sealed sessions of a recorder, round by round.

    Args:
        stores: where the bytes of sessions are, that of the recorder first; all are cleared.
        book: what is said of sessions.
        limits: the rules.
        in_thread: where bytes are removed: a store across a network may take its time.
        steady_s: how long the clock has to go evenly before anything is too old by it.
    """

    def __init__(
        self,
        stores: Sequence[BlobStore],
        clock: Clock,
        book: RetentionBook,
        limits: RetentionLimits,
        in_thread: InThread = asyncio.to_thread,
        steady_s: float = STEADY_S,
    ) -> None:
        self._stores = tuple(stores)
        self._clock = clock
        self._book = book
        self._limits = limits
        self._in_thread = in_thread
        self._witness = TimeWitness(clock, stores[0], steady_s)
        self._doubts = Doubts(limits)
        self._known: dict[str, SealedSession | None] = {}
        self._problems: list[str] = []
        self._postponed: list[str] = []
        self._aftercare = Aftercare(self._stores, clock, book, in_thread)
        self._said: dict[str, str] = {}

    async def tend(self) -> Tended:
        """One round: finish what was begun, then remove what is due.

        Raises:
            FencedError, BusUnavailableError, StoreError: try again.
        """
        self._problems, self._postponed = [], []
        await self._book.settle()
        removed = 0
        kept: list[SealedSession] = []
        held: set[str] = set()
        for session_id in self._book.known.sealed():
            kinds = [entry.kind for entry in self._book.known.statements(session_id)]
            if EntryKind.TOMBSTONE in kinds:
                self._known.pop(session_id, None)
                await self._see_after(self._aftercare.removed(session_id, len(kinds)), session_id)
                continue
            if EntryKind.DELETE in kinds or await self._was_ordered(session_id, len(kinds)):
                removed += await self._try_to_finish(session_id)
                continue
            if kinds.count(EntryKind.HOLD) > kinds.count(EntryKind.RELEASE):
                held.add(session_id)
            session = await self._look(session_id)
            logged = self._book.known.find(session_id, EntryKind.SEAL)
            if session is not None and logged is not None:
                kept.append(session)
                if session_id not in held:  # of that no file goes, whatever it is
                    await self._see_after(self._aftercare.sealed(session_id, logged), session_id)
        newest_ns = max((session.sealed_ns for session in kept), default=0)
        time = await asyncio.to_thread(self._witness.look, newest_ns)
        gone = await self._remove_due(kept, held, time)
        kept = [session for session in kept if session.session_id not in gone]
        _, above = due_by_size(kept, self._limits, frozenset(held), time)
        return Tended(
            sessions=len(kept),
            stored_bytes=sum(session.chunk_bytes for session in kept),
            held=len(held),
            removed=removed + len(gone),
            above_bytes=above,
            problems=tuple(self._problems),
            postponed=tuple(self._postponed),
            doubts=self._doubts.say(kept, held, time),
        )

    async def _see_after(self, looking: Awaitable[None], session_id: str) -> None:
        """Look at a session that is done with; its trouble is not another one's."""
        try:
            await looking
        except (IncidentError, StoreError) as error:
            self._problem(session_id, error)

    async def _look(self, session_id: str) -> SealedSession | None:
        """What is sealed does not change: it is read once. None: its folder is not here."""
        logged = self._book.known.find(session_id, EntryKind.SEAL)
        if session_id not in self._known and logged is not None:
            begin_ns = self._clock.monotonic_ns()
            try:
                found = await asyncio.to_thread(read_sealed, self._stores[0], session_id, logged)
            except (IncidentError, StoreError) as error:
                self._problem(session_id, error)
                return None
            # A store of many sessions is read from end to end at the first look: not at once.
            took_ns = self._clock.monotonic_ns() - begin_ns
            await asyncio.sleep(REST * took_ns / 1_000_000_000)
            if found is None:
                return None
            self._known[session_id] = found
        return self._known.get(session_id)

    async def _was_ordered(self, session_id: str, entered: int) -> bool:
        """Whether a deletion is stored that nobody has entered: its worker was killed."""
        files = self._book.files
        if not await asyncio.to_thread(files.has_more, session_id, entered):
            return False
        try:
            standing = await self._book.say(session_id, lambda _: None)
        except (IncidentError, StoreError) as error:
            self._problem(session_id, error)
            return False
        return standing.deletion is not None

    async def _remove_due(
        self, kept: Sequence[SealedSession], held: set[str], time: SureTime
    ) -> set[str]:
        """Remove what the rules say; gives what is gone."""
        gone: set[str] = set()
        for due in due_by_time(kept, self._limits, time):
            if due.session.session_id not in held and await self._try_to_remove(due):
                gone.add(due.session.session_id)
        left = [session for session in kept if session.session_id not in gone]
        by_size, _ = due_by_size(left, self._limits, frozenset(held), time)
        for due in by_size:
            if await self._try_to_remove(due):
                gone.add(due.session.session_id)
        return gone

    async def _try_to_remove(self, due: Due) -> bool:
        session = due.session

        def decide(standing: Standing) -> Saying | None:
            if standing.deletion is not None or standing.holds:
                return None  # somebody was quicker, or has put it under hold meanwhile
            return deletion_of(
                session,
                by=KEEPER,
                reason=due.reason,
                rule=due.rule,
                limit=due.limit,
                now_ns=self._clock.wall_ns(),
            )

        try:
            standing = await self._book.say(session.session_id, decide)
        except (IncidentError, StoreError) as error:
            self._problem(session.session_id, error)
            return False
        return standing.deletion is not None and await self._try_to_finish(session.session_id)

    async def _try_to_finish(self, session_id: str) -> bool:
        """Go on with a deletion; another session's trouble is not this one's."""
        try:
            await self.finish(session_id)
        except (StoreError, IncidentError) as error:
            self._problem(session_id, error)
            return False
        self._known.pop(session_id, None)
        self._said.pop(session_id, None)
        return True

    async def finish(self, session_id: str) -> None:
        """Remove the bytes of a session whose deletion stands in the log, and say that it is done.

        Raises:
            FencedError, StoreError, BusUnavailableError: try again.
            IncidentError: statements and log contradict each other; nothing is removed.
        """
        standing = await self._book.say(session_id, lambda _: None)
        deletion = standing.deletion
        if deletion is None or standing.tombstone is not None:
            return
        await self._in_thread(lambda: remove_bytes(self._stores, session_id, deletion))
        await self._book.say(session_id, self._end)
        log.info(
            "SessionRemoved",
            session_id=session_id,
            by=deletion.by,
            rule=deletion.rule.value,
            chunks=deletion.chunk_count,
            stored_bytes=deletion.chunk_bytes,
        )

    def _end(self, standing: Standing) -> Saying | None:
        deletion: Deletion | None = standing.deletion
        if deletion is None or standing.tombstone is not None:
            return None
        return tombstone_of(deletion, self._clock.wall_ns())

    def _problem(self, session_id: str, error: Exception) -> None:
        if isinstance(error, IncidentError):
            self._problems.append(str(error))
            log.error("RetentionStopped", session_id=session_id, reason=str(error))
            return
        self._postponed.append(str(error))
        # A store that is away for a night is said once for each session, and not at every try.
        if self._said.get(session_id) != str(error):
            self._said[session_id] = str(error)
            log.warning("RetentionPostponed", session_id=session_id, error=str(error))
