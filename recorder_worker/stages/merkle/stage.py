"""The merkle stage: leaf n after leaf n-1, each under a signed checkpoint, the last one sealed.

The order of effects is the whole point (docs/architecture.md, "One writer"):

1. the leaf record is durable in the blob store,
2. the head, with the size and root *to be signed*, is appended behind the head before it,
3. the checkpoint is signed and made durable,
4. the checkpoint is published; behind the end of an epoch its private keys are erased, and
   behind a SEAL the recording is closed.

A crash after any step is taken up by whoever handles the next message: it finds the head and
finishes what is missing. Of two workers the fence lets one append a head, so there is never a
second root for one size.

A worker that stood still while another went on finds keys erased and records gone, as they should
be. So whoever meets what looks like damage looks first whether he was overtaken: then it is his
view that is wrong, and nothing is said aloud.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

import structlog

from recorder_worker.core.errors import (
    FencedError,
    ImmutableConflictError,
    IncidentError,
    OutOfOrderError,
    PermanentError,
)
from recorder_worker.core.events import (
    Checkpoint,
    ChunkStored,
    CompressedEvent,
    EndLeaf,
    Head,
)
from recorder_worker.core.ids import event_key
from recorder_worker.core.records.codec import decode_record
from recorder_worker.core.records.ledger import (
    LedgerContext,
    LedgerState,
    advance,
    apply,
    state_from_head,
)
from recorder_worker.core.subjects import Fact
from recorder_worker.ports import BlobStore, CipherKeys, Clock, EventLog, Signer, StageMetrics
from recorder_worker.stages.merkle.archive import Archive
from recorder_worker.stages.merkle.facts import checkpoint_of, head_of, sealed_of
from recorder_worker.stages.merkle.head_check import check_head
from recorder_worker.stages.merkle.incidents import Incidents
from recorder_worker.stages.merkle.notary import Notary
from recorder_worker.stages.merkle.sealed_before import state_sealed_before
from recorder_worker.stages.merkle.session_keys import SessionKeys, same_but_for_signatures
from recorder_worker.stages.own_seal import is_sealed
from recorder_worker.stages.session_table import SessionTable, never_lost
from recorder_worker.stages.store_check import check_store

log = structlog.get_logger(__name__)

SECOND_NS = 1_000_000_000


@dataclass
class _Seen:
    """What this process knows of a session.

    Attributes:
        checked: whether it has held the records against the head.
        head, checkpoint: the sequences of the newest ones, as it saw or wrote them last; None: it
            has not looked yet.
        behind: the state behind the last leaf that it saw through all steps. While leaves come in
            order nothing is asked; where others have written since, the fence tells. None: it has
            to look, for this is its first leaf, or the last try went wrong.
    """

    checked: bool = False
    head: int = 0
    checkpoint: int | None = None
    behind: LedgerState | None = None


class MerkleStage:
    """Handles `session.compressed.<id>`."""

    def __init__(
        self,
        *,
        log: EventLog,
        store: BlobStore,
        signer: Signer,
        cipher_keys: CipherKeys,
        clock: Clock,
        metrics: StageMetrics,
        recorder: str,
        connection: Callable[[], int] = never_lost,
    ) -> None:
        self._log = log
        self._store = store
        self._signer = signer
        self._cipher_keys = cipher_keys
        self._clock = clock
        self._metrics = metrics
        self._recorder = recorder
        self._notary = Notary(signer, recorder)
        self._incidents = Incidents(log, clock)
        self._sessions = SessionTable(_Seen, connection)

    async def handle(self, leaf: CompressedEvent) -> None:
        """Apply a leaf if it is the next one; finish what an earlier try left unfinished.

        Raises:
            OutOfOrderError: an earlier leaf has not been applied yet.
            FencedError: another worker applies this session's leaves too.
            IncidentError: the stored record contradicts the head; nothing is signed any more.
            PermanentError: signing has stopped at an earlier leaf, which will never come.
            StoreError: the whole store is away, whatever seems to be missing in it.
        """
        async with self._sessions.entry(leaf.session_id) as seen:
            try:
                await self._handle(leaf, seen)
            except FencedError:
                await self._tidy(leaf.session_id)
                raise
            except PermanentError as error:
                await asyncio.to_thread(check_store, self._store)
                await self._refuse_overtaken(leaf.session_id, seen, error)
                if isinstance(error, IncidentError):
                    await self._incidents.report(leaf.session_id, str(error))
                raise

    async def give_up(self, leaf: CompressedEvent, reason: str) -> None:
        """Say that a session goes no further: its later leaves must not wait in silence."""
        if await self._is_done(leaf):
            return
        await self._incidents.report_first(
            leaf.session_id, f"leaf {leaf.index} cannot be brought into the tree: {reason}"
        )

    async def _handle(self, leaf: CompressedEvent, seen: _Seen) -> None:
        session_id = leaf.session_id
        state, seen.behind = seen.behind, None
        if state is None or state.size != leaf.index:
            state = await self._look(session_id, seen)
        if leaf.index < state.size:
            return
        if leaf.index > state.size:
            await self._incidents.refuse_behind_one(leaf)
            raise OutOfOrderError(
                f"session {session_id}: leaf {leaf.index} waits for leaf {state.size}"
            )
        seen.checked = True
        new = await self._append(leaf, state, seen)
        await self._finish(new, None, seen)
        if isinstance(leaf, ChunkStored):
            await asyncio.to_thread(Archive(self._store, session_id).clear_spool, leaf)
        seen.behind = None if new.sealed else state_from_head(new)

    async def _look(self, session_id: str, seen: _Seen) -> LedgerState:
        """The state of the newest head, with all that an earlier try of it left undone."""
        logged = await self._log.last(Fact.HEAD, session_id)
        head = logged.event if logged else None
        seen.head, seen.checkpoint = logged.sequence if logged else 0, None
        state = state_from_head(head) if isinstance(head, Head) else LedgerState()
        if isinstance(head, Head) and not seen.checked:
            archive = Archive(self._store, session_id)
            await asyncio.to_thread(check_head, archive, head)
            seen.checked = True
        last = await self._log.last(Fact.CHECKPOINT, session_id)
        seen.checkpoint = last.sequence if last else 0
        if isinstance(head, Head):
            signed = last.event if last else None
            await self._finish_up_to(head, signed if isinstance(signed, Checkpoint) else None, seen)
        return state

    async def _finish_up_to(self, head: Head, signed: Checkpoint | None, seen: _Seen) -> None:
        """Finish a head, and those before it whose checkpoints a server has lost meanwhile."""
        size = signed.tree_size if signed else 0
        if size < head.tree_size - 1:
            async for logged in self._log.read(Fact.HEAD, head.session_id, seen.checkpoint or 0):
                lost = logged.event
                if isinstance(lost, Head) and size < lost.tree_size < head.tree_size:
                    await self._finish(lost, None, seen)
        await self._finish(head, signed, seen)

    async def _refuse_overtaken(self, session_id: str, seen: _Seen, error: PermanentError) -> None:
        """Raises FencedError where another worker has written on since we looked."""
        head = await self._log.last(Fact.HEAD, session_id)
        checkpoint = await self._log.last(Fact.CHECKPOINT, session_id)
        now = checkpoint.sequence if checkpoint else 0
        went_on = seen.head != (head.sequence if head else 0)
        if went_on or seen.checkpoint not in (None, now):
            await self._tidy(session_id)
            raise FencedError(f"session {session_id}: another worker went on: {error}") from error

    async def _tidy(self, session_id: str) -> None:
        """What a worker that was overtaken by the seal has written behind it, and made of keys."""
        if await is_sealed(self._log, self._store, session_id):
            await asyncio.to_thread(Archive(self._store, session_id).clear_journal)
        if await self._log.last(Fact.SEALED, session_id) is not None:
            await self._erase_keys(session_id)

    async def _erase_keys(self, session_id: str) -> None:
        await asyncio.to_thread(self._cipher_keys.erase, session_id)
        await asyncio.to_thread(self._signer.close_session, session_id)

    async def _is_done(self, leaf: CompressedEvent) -> bool:
        """Whether all that a leaf brings about is there: a signed checkpoint over it, or a seal."""
        if isinstance(leaf, EndLeaf):
            return await self._log.last(Fact.SEALED, leaf.session_id) is not None
        last = await self._log.last(Fact.CHECKPOINT, leaf.session_id)
        signed = last.event if last else None
        return isinstance(signed, Checkpoint) and signed.tree_size > leaf.index

    async def _append(self, leaf: CompressedEvent, state: LedgerState, seen: _Seen) -> Head:
        """Steps 1 and 2: leaf durable, head stored."""
        session_id = leaf.session_id
        new = await asyncio.to_thread(self._write, leaf, state)
        head = head_of(leaf, new, self._clock.wall_ns() // SECOND_NS)
        key = event_key(
            Fact.HEAD.value, session_id, head.tree_size, head.root_hash, head.signed_at_s
        )
        seen.head = await self._log.append(Fact.HEAD, session_id, head, key=key, after=seen.head)
        return head

    def _write(self, leaf: CompressedEvent, state: LedgerState) -> LedgerState:
        """Step 1, blocking: the record is durable; the state behind it."""
        context = LedgerContext(
            session_id=leaf.session_id,
            recorder=self._recorder,
            keys=SessionKeys(self._signer, leaf.session_id),
        )
        archive = Archive(self._store, leaf.session_id)
        before = state_sealed_before(archive, state, leaf.index, self._signer, self._recorder)
        if before is not None:
            return before
        record, new = apply(context, state, leaf)
        try:
            archive.put_leaf(leaf, record)
        except ImmutableConflictError:
            held = archive.leaf(leaf.index)
            if not same_but_for_signatures(held, record):
                raise
            new = advance(state, decode_record(held), held)
        return new

    async def _finish(self, head: Head, signed: Checkpoint | None, seen: _Seen) -> None:
        """Steps 3 and 4, as far as they are not done, and what may be erased behind them.

        `signed` is the newest checkpoint that is known.
        """
        archive = Archive(self._store, head.session_id)
        if signed is None or signed.tree_size < head.tree_size:
            note = await asyncio.to_thread(self._notary.note, head, archive)
            signed = checkpoint_of(head, note)
            key = event_key(Fact.CHECKPOINT.value, head.session_id, head.tree_size)
            seen.checkpoint = await self._log.append(
                Fact.CHECKPOINT, head.session_id, signed, key=key, after=seen.checkpoint or 0
            )
            self._metrics.checkpoint_signed()
        if head.epoch.number != head.signing.number:
            await asyncio.to_thread(self._signer.close_epoch, head.session_id, head.signing.number)
        if head.sealed:
            await self._seal(head, signed.note.encode(), archive)
            await self._erase_keys(head.session_id)

    async def _seal(self, head: Head, note: bytes, archive: Archive) -> None:
        """Close the recording: the files, the tidying up, and then the fact.

        Whoever hears of the seal may verify at once, so nothing moves in the folder behind it.
        """
        if await self._log.last(Fact.SEALED, head.session_id) is not None:
            await asyncio.to_thread(archive.tidy, note)
        else:
            await asyncio.to_thread(archive.seal, head.tree_size, note)
            await asyncio.to_thread(archive.clear_journal)
            sealed = sealed_of(head, archive.location, self._clock.wall_ns())
            key = event_key(Fact.SEALED.value, head.session_id)
            await self._log.append(Fact.SEALED, head.session_id, sealed, key=key, after=0)
            self._metrics.session_sealed(head.reason)
            log.info(
                "SessionSealed",
                session_id=head.session_id,
                root_hash=head.root_hash,
                tree_size=head.tree_size,
                reason=head.reason,
            )
