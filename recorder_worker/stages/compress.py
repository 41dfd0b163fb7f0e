"""The compress stage: makes a chunk's payload durable and digests it; other leaves pass through.

Any worker may take any chunk at any time: the result depends on the segments alone.
"""

from __future__ import annotations

import asyncio

import msgspec

from recorder_worker.core import keys
from recorder_worker.core.cipher.names import CIPHER_NONE, CIPHER_SEALED
from recorder_worker.core.cipher.session_cipher import SessionCipher
from recorder_worker.core.errors import (
    BlobUnreadableError,
    PermanentError,
    SessionKeyMissingError,
    UnsupportedError,
)
from recorder_worker.core.events import (
    ChunkedEvent,
    ChunkPlanned,
    ChunkStored,
    CompressedEvent,
    GapLeaf,
)
from recorder_worker.core.ids import event_key
from recorder_worker.core.model import GapReason
from recorder_worker.core.subjects import Fact
from recorder_worker.ports import BlobStore, CipherKeys, EventLog, StageMetrics
from recorder_worker.stages.own_seal import is_sealed
from recorder_worker.stages.payload import StoredPayload, store_payload
from recorder_worker.stages.store_check import check_store


class CompressStage:
    """Handles `session.chunked.<id>`."""

    def __init__(
        self, log: EventLog, store: BlobStore, metrics: StageMetrics, cipher_keys: CipherKeys
    ) -> None:
        self._log = log
        self._store = store
        self._metrics = metrics
        self._cipher_keys = cipher_keys

    async def handle(self, event: ChunkedEvent) -> None:
        """Publish the leaf, a chunk's once its payload is durable.

        Raises:
            PermanentError: the payload cannot be made; a gap leaf stands in its place by then.
            TransientError: try again; also where the payload cannot be made because the whole
                store is away.
        """
        if not isinstance(event, ChunkPlanned):
            await self._publish(event)
            return
        try:
            payload = await asyncio.to_thread(self._payload, event)
        except (PermanentError, BlobUnreadableError) as error:
            await asyncio.to_thread(check_store, self._store)
            if isinstance(error, BlobUnreadableError):
                raise
            gone = isinstance(error, SessionKeyMissingError) or await self._is_elsewhere(event)
            if gone and await is_sealed(self._log, self._store, event.session_id):
                return  # comes again behind the seal: its leaf is in the tree, and the key erased
            await self.give_up(event, str(error))
            raise
        await self._publish(stored_chunk(event, payload))
        self._metrics.chunk_stored(payload.codec, event.plain_size, payload.stored_size)

    def _payload(self, plan: ChunkPlanned) -> StoredPayload:
        return store_payload(self._store, plan, self._cipher(plan))

    def _cipher(self, plan: ChunkPlanned) -> SessionCipher | None:
        if plan.cipher == CIPHER_NONE:
            return None
        if plan.cipher != CIPHER_SEALED:
            raise UnsupportedError(
                f"chunk {plan.index}: expected cipher {CIPHER_NONE} or {CIPHER_SEALED}, got "
                f"{plan.cipher!r}; update this worker"
            )
        return SessionCipher(plan.session_id, self._cipher_keys.get(plan.session_id))

    async def _is_elsewhere(self, plan: ChunkPlanned) -> bool:
        """Whether the session has a copy, behind which its chunks may leave this store."""
        marker = keys.copies(plan.session_id)
        return await asyncio.to_thread(self._store.size, marker) is not None

    async def give_up(self, event: ChunkedEvent, reason: str) -> None:
        """Put a gap where a chunk would have been, so that the session goes on without it."""
        if not isinstance(event, ChunkPlanned):
            return
        gap = GapLeaf(
            session_id=event.session_id,
            index=event.index,
            captured=event.captured,
            clock=event.clock,
            open_from=event.open_from,
            keyframe_index=event.keyframe_index,
            span=event.span,
            reason=GapReason.DEAD_LETTER,
            detail=reason,
            wall_ns=event.span.wall1_ns,
        )
        await self._publish(gap)
        self._metrics.gap_captured(GapReason.DEAD_LETTER.value, event.span.unit_count)

    async def _publish(self, leaf: CompressedEvent) -> None:
        key = event_key(Fact.COMPRESSED.value, leaf.session_id, leaf.index)
        await self._log.emit(Fact.COMPRESSED, leaf.session_id, leaf, key=key)


def stored_chunk(plan: ChunkPlanned, payload: StoredPayload) -> ChunkStored:
    """The leaf of a chunk whose payload is in the store."""
    return ChunkStored(
        session_id=plan.session_id,
        index=plan.index,
        captured=plan.captured,
        clock=plan.clock,
        open_from=plan.open_from,
        keyframe_index=plan.keyframe_index,
        span=plan.span,
        keyframe=plan.keyframe,
        frames=plan.frames,
        cipher=plan.cipher,
        raw_size=plan.raw_size,
        plain_size=plan.plain_size,
        **msgspec.structs.asdict(payload),
    )
