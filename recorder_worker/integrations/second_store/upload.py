"""Copies what is durable here to the second store, fact by fact, while sessions are recorded.

A consumer of its own: where the second store is away it falls behind, and nothing else does. The
bytes wait where the stages have put them, the facts in their stream.
"""

from __future__ import annotations

from contextlib import suppress

from recorder_worker.core import keys
from recorder_worker.core.copy_marker import expected_of
from recorder_worker.core.errors import BlobMissingError
from recorder_worker.core.events import (
    BlobCopied,
    Checkpoint,
    ChunkStored,
    OpenLeaf,
    SessionSealed,
)
from recorder_worker.core.ids import event_key
from recorder_worker.core.subjects import Fact
from recorder_worker.integrations.second_store.archiver import Archiver, marker_of
from recorder_worker.integrations.second_store.copier import Copied, Copier, of_second
from recorder_worker.integrations.second_store.patience import Patience
from recorder_worker.integrations.second_store.removal import is_gone, stays
from recorder_worker.ports import Clock, EventLog, FactMessage

NAME = "upload"


class Upload:
    """The handler of leaves, checkpoints and seals."""

    def __init__(
        self,
        events: EventLog,
        copier: Copier,
        archiver: Archiver,
        patience: Patience,
        clock: Clock,
        *,
        node: str,
    ) -> None:
        self._events = events
        self._copier = copier
        self._archiver = archiver
        self._patience = patience
        self._clock = clock
        self._node = node

    async def handle(self, message: FactMessage) -> None:
        """Copy what a fact tells of.

        Raises:
            BlobMissingError, BlobDamagedError: what was told of is not here any more.
            ImmutableConflictError: the second store holds other bytes, which we did not send.
            StoreError, BusUnavailableError: try again.
        """
        event = message.event
        if isinstance(event, SessionSealed):
            await self._archiver.archive(event.session_id, event.root_hash)
        elif isinstance(event, ChunkStored):
            await self._chunk(event)
        elif isinstance(event, OpenLeaf):
            await self._manifest(event.session_id)
        elif isinstance(event, Checkpoint) and not event.sealed:
            await self._journal(event)

    async def _chunk(self, leaf: ChunkStored) -> None:
        key = keys.blob_key(leaf.session_id, leaf.name)
        copied = await self._patience.until_done(key, lambda: self._bring_chunk(leaf, key))
        if copied is None:
            return
        await self._events.emit(
            Fact.BLOB_COPIED,
            leaf.session_id,
            BlobCopied(
                session_id=leaf.session_id,
                index=leaf.index,
                name=leaf.name,
                location=self._copier.second.location(key),
                size=copied.size,
                sha256=copied.sha256,
                checked=copied.checked,
                node=self._node,
                wall_ns=self._clock.wall_ns(),
            ),
            key=event_key(Fact.BLOB_COPIED.value, leaf.session_id, leaf.index),
        )

    def _bring_chunk(self, leaf: ChunkStored, key: str) -> Copied | None:
        """None: its session was deleted, perhaps while this chunk was sent, or its folder is gone.

        Where the fact comes again behind the seal, and the chunk is gone here, its copy is enough.
        """
        session_id = leaf.session_id
        copied = None
        if self._copier.deletion_of(session_id) is None:
            try:
                copied = self._copier.copy(key, expected_of(leaf))
            except BlobMissingError:
                gone = is_gone(self._copier.local, session_id)
                if not gone and self._copier.deletion_of(session_id) is None:
                    raise
            if self._copier.deletion_of(session_id) is None:
                return copied
        with of_second():
            self._copier.second.delete(key)
        self._copier.forget(keys.session_prefix(session_id))
        return None

    async def _manifest(self, session_id: str) -> None:
        key = keys.blob_key(session_id, keys.MANIFEST)
        await self._patience.until_done(key, lambda: self._bring(session_id, (keys.MANIFEST,)))

    async def _journal(self, checkpoint: Checkpoint) -> None:
        index = checkpoint.tree_size - 1
        names = (keys.mark(index), keys.leaf(index), keys.note(checkpoint.tree_size))
        session_id = checkpoint.session_id
        await self._patience.until_done(
            keys.blob_key(session_id, keys.JOURNAL), lambda: self._bring(session_id, names)
        )

    def _bring(self, session_id: str, names: tuple[str, ...]) -> None:
        """Copy what there is of some files: not every leaf has a mark, and the seal takes others.

        One that the seal, or a deletion, took away here while we sent it is taken away there, too:
        by the seal alone once the whole session is there, held against what is signed of it. Before
        that its archiver does it, or nobody: it may be the only good one. What somebody else took
        away here stays there.
        """
        local = self._copier.local
        for name in names:
            key = keys.blob_key(session_id, name)
            if local.size(key) is None or not stays(name, self._copier.deletion_of(session_id)):
                continue
            with suppress(BlobMissingError):
                self._copier.copy(key)
            brought = name.startswith(f"{keys.JOURNAL}/") and local.size(key) is None
            archived = brought and marker_of(local, session_id) is not None
            if archived or not stays(name, self._copier.deletion_of(session_id)):
                with of_second():
                    self._copier.second.delete(key)
                self._copier.forget(keys.session_prefix(session_id))
