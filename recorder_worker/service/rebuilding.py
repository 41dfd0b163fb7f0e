"""Makes all sessions again in another data directory, as JetStream knows them, of bytes from here.

One that cannot be made again is said, and the others go on. Several processes may share the work.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path

from recorder_worker.adapters.directory_store import DirectoryStore
from recorder_worker.adapters.folder import FolderRecording
from recorder_worker.adapters.rebuild_folder import RebuildFolder
from recorder_worker.bus.connection.broker import Login
from recorder_worker.bus.sessions.known_sessions import known_sessions
from recorder_worker.core import keys
from recorder_worker.core.cipher.session_cipher import SessionCipher
from recorder_worker.core.command_parsing import is_session_id
from recorder_worker.core.errors import (
    BlobMissingError,
    BlobUnreadableError,
    FormatError,
    PermanentError,
    RefusedError,
)
from recorder_worker.core.events import SessionSealed
from recorder_worker.core.merkle.proofs import ProofError
from recorder_worker.core.records.ledger import replay_records
from recorder_worker.core.replay_outcome import Outcome, Rebuilt, SessionOutcome
from recorder_worker.core.subjects import Fact
from recorder_worker.core.verify.verdicts import Verdict
from recorder_worker.core.verify.verifier import verify
from recorder_worker.ports import BlobStore, EventLog
from recorder_worker.service.replaying import connected, event_log
from recorder_worker.service.settings.tree import Settings
from recorder_worker.service.signing import statements_here
from recorder_worker.stages.merkle.archive import Archive
from recorder_worker.stages.newest_event import newest_event
from recorder_worker.stages.replay import Replay, take_over_beside
from recorder_worker.stages.replayed_log import take_over_log
from recorder_worker.stages.retention.removal import FOLDERS

CipherOf = Callable[[str], SessionCipher | None]
"""What opens a session's chunks, by its id; None where nobody here can."""

Tell = Callable[[int, int], None]
"""Called with how many leaves are made again, of how many, over all sessions."""


async def rebuild(
    settings: Settings,
    login: Login,
    into: Path,
    *,
    cipher_of: CipherOf,
    jobs: int,
    tell: Tell = lambda _done, _all: None,
) -> Rebuilt:
    """Make all sessions again that the stream or the data directory knows, in another directory.

    What cannot be made again is said, and the others go on.

    Raises:
        RefusedError: `into` holds something else.
        BusUnavailableError: NATS is not there, or went away.
        StoreError: one of the directories fails.
    """
    folder = RebuildFolder(into)
    async with connected(login) as broker:
        known = await known_sessions(broker.jetstream)
        here = (path.name for path in (settings.data_path / keys.SESSIONS).glob("*"))
        store = DirectoryStore(settings.data_path)
        work = Rebuild(
            event_log(settings, broker),
            store,
            folder,
            is_deleted=statements_here(settings, store).is_deleted,
            cipher_of=cipher_of,
            tell=tell,
        )
        return await work.run(sorted(known | set(filter(is_session_id, here))), jobs)


class Rebuild:
    """Many replays into one directory, some at once."""

    def __init__(
        self,
        log: EventLog,
        store: BlobStore,
        folder: RebuildFolder,
        *,
        is_deleted: Callable[[str], bool],
        cipher_of: CipherOf,
        tell: Tell,
    ) -> None:
        self._log = log
        self._store = store
        self._folder = folder
        self._target = DirectoryStore(folder.path)
        self._is_deleted = is_deleted
        self._cipher_of = cipher_of
        self._tell = tell
        self._sealed: dict[str, SessionSealed] = {}
        self._made: dict[str, int] = {}

    async def run(self, session_ids: Sequence[str], jobs: int) -> Rebuilt:
        """All of them, at most `jobs` at once; those that another process works on come last."""
        for session_id in session_ids:
            sealed = await newest_event(self._log, Fact.SEALED, session_id)
            if sealed is not None and isinstance(sealed.event, SessionSealed):
                self._sealed[session_id] = sealed.event
        found: dict[str, SessionOutcome] = {}
        for wait in (False, True):
            left = [one for one in session_ids if one not in found]
            for outcome in await _some_at_once(partial(self._one, wait=wait), left, jobs):
                found[outcome.session_id] = outcome
        entries, problem = 0, ""
        try:
            entries = await asyncio.to_thread(take_over_log, self._store, self._target)
        except (FormatError, ProofError, PermanentError) as error:
            problem = str(error)
        return Rebuilt(
            into=str(self._folder.path),
            sessions=tuple(found[one] for one in session_ids if one in found),
            log_entries=entries,
            log_problem=problem,
        )

    async def _one(self, session_id: str, *, wait: bool) -> SessionOutcome | None:
        """One session; None where another process works on it, and nobody waits for that."""
        sealed = self._sealed.get(session_id)
        if sealed is None:
            return await self._unsealed(session_id)
        held = await asyncio.to_thread(self._folder.take, session_id, wait=wait)
        if held is None:
            return None
        try:
            return await self._held(sealed)
        finally:
            self._leaves(session_id, sealed.tree_size)
            held.release()

    async def _unsealed(self, session_id: str) -> SessionOutcome | None:
        """What is known of it all the same; None: a name that somebody made up."""
        for fact in (Fact.STARTED, Fact.CAPTURED, Fact.CHECKPOINT):
            if await newest_event(self._log, fact, session_id) is not None:
                return SessionOutcome(session_id=session_id, outcome=Outcome.UNSEALED)
        folder = self._store.keys(keys.session_prefix(session_id))
        if next(iter(folder), None) is None:
            return None
        return SessionOutcome(session_id=session_id, outcome=Outcome.FORGOTTEN)

    async def _held(self, sealed: SessionSealed) -> SessionOutcome:
        session_id = sealed.session_id
        if await asyncio.to_thread(self._is_deleted, session_id):
            return await asyncio.to_thread(self._take_over_removed, sealed)
        if await asyncio.to_thread(self._is_there, sealed):
            await asyncio.to_thread(take_over_beside, self._store, self._target, session_id)
            return SessionOutcome(
                session_id=session_id,
                outcome=Outcome.SAME,
                root_hash=sealed.root_hash,
                tree_size=sealed.tree_size,
                detail="it was there already",
            )
        try:
            cipher = await asyncio.to_thread(self._cipher_of, session_id)
            result = await Replay(
                log=self._log,
                store=self._store,
                target=self._target,
                session_id=session_id,
                cipher=cipher,
                tell=partial(self._leaves, session_id),
            ).run()
        except (PermanentError, BlobUnreadableError, RefusedError, ProofError) as error:
            return SessionOutcome(
                session_id=session_id, outcome=Outcome.INCOMPLETE, detail=str(error)
            )
        return SessionOutcome(
            session_id=session_id,
            outcome=Outcome.SAME if result.same else Outcome.DIFFERENT,
            root_hash=result.root_hash,
            tree_size=result.tree_size,
            detail=result.difference,
            taken=result.taken,
        )

    def _take_over_removed(self, sealed: SessionSealed) -> SessionOutcome:
        """Its bytes are gone by order: what proves it is copied, and verified there; blocking."""
        prefix = keys.session_prefix(sealed.session_id)
        for key in list(self._store.keys(prefix)):
            if key.removeprefix(f"{prefix}/").split("/", 1)[0] not in FOLDERS:
                self._target.replace(key, self._store.get(key))
        found = verify(FolderRecording(self._folder.path / prefix))
        return SessionOutcome(
            session_id=sealed.session_id,
            outcome=Outcome.REMOVED if found.verdict is Verdict.REDACTED else Outcome.INCOMPLETE,
            root_hash=sealed.root_hash,
            tree_size=sealed.tree_size,
            detail=f"its record was taken over, and verifies as {found.verdict.value}",
        )

    def _is_there(self, sealed: SessionSealed) -> bool:
        """Whether an earlier run has made it, whole; blocking."""
        seal = keys.blob_key(sealed.session_id, keys.SEAL)
        try:
            if self._target.size(seal) is None or self._target.get(seal) != self._store.get(seal):
                return False
            records = Archive(self._target, sealed.session_id).records(sealed.tree_size)
            return replay_records(records).frontier.root().hex() == sealed.root_hash
        except (BlobMissingError, FormatError):
            return False

    def _leaves(self, session_id: str, leaves: int) -> None:
        self._made[session_id] = leaves
        self._tell(sum(self._made.values()), sum(s.tree_size for s in self._sealed.values()))


async def _some_at_once(
    work: Callable[[str], Awaitable[SessionOutcome | None]], names: Sequence[str], jobs: int
) -> list[SessionOutcome]:
    """What became of each name, at most `jobs` at once; the first error ends all."""
    waiting, found = iter(names), []

    async def take() -> None:
        for name in waiting:
            outcome = await work(name)
            if outcome is not None:
                found.append(outcome)

    tasks = [asyncio.create_task(take()) for _ in range(jobs)]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    return found
