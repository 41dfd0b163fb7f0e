"""Makes a session again from its captured events: chunks, records, root.

The same code as the stages, fed from the log instead of from deliveries, writing into another
store. Payload bytes come from the spool where it is still there, else out of the stored chunks,
segment by segment, each held against the digest in its event. What only a signer can give (salts,
public keys, signatures) is taken from the records that are compared with.

The key of an encrypted session is erased at its seal. With it (out of an identity) all is made
again, to the same stored bytes. Without it the stored chunks are copied and their digests made
anew, and what only the key can give, the digests of plain bytes, is taken from the records.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator

import msgspec

from recorder_worker.core import keys
from recorder_worker.core.chunker import advance, resume_state
from recorder_worker.core.cipher.names import CIPHER_NONE
from recorder_worker.core.cipher.session_cipher import SessionCipher
from recorder_worker.core.errors import (
    BlobMissingError,
    EventsMissingError,
    OutOfOrderError,
    RefusedError,
)
from recorder_worker.core.events import (
    Captured,
    ChunkedEvent,
    ChunkPlanned,
    ChunkStored,
    CompressedEvent,
    EndCaptured,
    GapLeaf,
    SessionSealed,
)
from recorder_worker.core.model import GapReason
from recorder_worker.core.records.codec import decode_record
from recorder_worker.core.records.leaves import GapRecord
from recorder_worker.core.records.ledger import LedgerContext, LedgerState, apply
from recorder_worker.core.subjects import Fact
from recorder_worker.ports import BlobStore, EventLog
from recorder_worker.stages.chunk import session_policy
from recorder_worker.stages.compress import stored_chunk
from recorder_worker.stages.copied_payloads import CopiedPayloads
from recorder_worker.stages.merkle.archive import Archive
from recorder_worker.stages.merkle.replayed_keys import ReplayedKeys
from recorder_worker.stages.newest_event import newest_event
from recorder_worker.stages.payload import (
    StoredPayload,
    find_payload,
    spooled_segments,
    stored_segments,
    write_payload,
)


class ReplayResult(msgspec.Struct, frozen=True, kw_only=True):
    """What came out, held against what was sealed.

    `difference` names the first leaf that is not the same and how, and is empty where all are;
    `taken` what was taken from the sealed records and so not compared, beside salts and signatures.
    """

    same: bool
    session_id: str
    root_hash: str
    sealed_root_hash: str
    tree_size: int
    difference: str
    taken: str = ""
    location: str


class Replay:
    """Replays one session from `store` into `target`; `cipher` is that of an encrypted one.

    `tell` is called behind every leaf, with how many there are.
    """

    def __init__(
        self,
        *,
        log: EventLog,
        store: BlobStore,
        target: BlobStore,
        session_id: str,
        cipher: SessionCipher | None = None,
        tell: Callable[[int], None] = lambda _leaves: None,
    ) -> None:
        self._log = log
        self._cipher = cipher
        self._copies: CopiedPayloads | None = None
        self._store = store
        self._target = target
        self._session_id = session_id
        self._context = LedgerContext(session_id=session_id, recorder="", keys=ReplayedKeys([]))
        self._ledger = LedgerState()
        self._records: list[bytes] = []
        self._dead: dict[int, GapLeaf] = {}
        self._tell = tell

    async def run(self) -> ReplayResult:
        """Replay; the sealed recording's signatures are taken over where the root is the same.

        Raises:
            RefusedError: the stream does not know the session, or it is not sealed.
            EventsMissingError: the stream has not all of its events any more.
            PermanentError: bytes that are needed are gone or damaged.
        """
        sealed = await newest_event(self._log, Fact.SEALED, self._session_id)
        if sealed is None or not isinstance(sealed.event, SessionSealed):
            raise RefusedError(
                field="SESSION",
                expected="a sealed session that the stream remembers",
                got=self._session_id,
                hint="`recorder ls` lists them with their state",
            )
        original = Archive(self._store, self._session_id)
        before = await asyncio.to_thread(original.records, sealed.event.tree_size)
        keys_of_record = ReplayedKeys(before)
        if self._cipher is None:
            self._copies = CopiedPayloads(self._store, self._target, before)
        self._context = LedgerContext(
            session_id=self._session_id, recorder=keys_of_record.recorder, keys=keys_of_record
        )
        await self._find_dead(before)
        await self._fold()
        root = self._ledger.frontier.root().hex()
        same = root == sealed.event.root_hash
        await asyncio.to_thread(self._take_over, same=same)
        return ReplayResult(
            same=same,
            session_id=self._session_id,
            root_hash=root,
            sealed_root_hash=sealed.event.root_hash,
            tree_size=self._ledger.size,
            difference="" if same else first_difference(before, self._records),
            taken=self._copies.taken if self._copies else "",
            location=Archive(self._target, self._session_id).location,
        )

    async def _find_dead(self, before: list[bytes]) -> None:
        """The gaps that stand where a chunk was planned and could not be made: they are events."""
        gaps = (record for record in map(decode_record, before) if isinstance(record, GapRecord))
        dead = {gap.index for gap in gaps if gap.reason is GapReason.DEAD_LETTER}
        if not dead:
            return
        async for logged in self._log.read(Fact.COMPRESSED, self._session_id):
            if isinstance(logged.event, GapLeaf) and logged.event.index in dead:
                self._dead[logged.event.index] = logged.event

    async def _fold(self) -> None:
        try:
            policy = await session_policy(self._log, self._session_id)
        except OutOfOrderError:
            raise self._missing("its first captured event") from None
        state, last = resume_state(None), None
        async for logged in self._log.read(Fact.CAPTURED, self._session_id):
            event = logged.event
            if not isinstance(event, Captured) or event.ordinal < state.applied:
                continue
            if event.ordinal > state.applied:
                raise self._missing(f"captured events {state.applied} to {event.ordinal - 1}")
            state, leaves = advance(state, event, policy)  # type: ignore[arg-type]
            last = event
            for leaf in leaves:
                await asyncio.to_thread(self._apply, leaf)
                self._tell(self._ledger.size)
        if not isinstance(last, EndCaptured):
            raise self._missing(f"what was captured behind event {state.applied - 1}")

    def _missing(self, what: str) -> EventsMissingError:
        return EventsMissingError(
            f"session {self._session_id}: expected all of its events in the stream, but {what} is "
            "gone: older than nats.max_age_s, or lost; what is in its folder is not touched by "
            "that: verify and copy it"
        )

    def _apply(self, leaf: ChunkedEvent) -> None:
        stored: CompressedEvent
        if isinstance(leaf, ChunkPlanned):
            stored = self._dead.get(leaf.index) or self._stored(leaf)
        else:
            stored = leaf
        record, self._ledger = apply(self._context, self._ledger, stored)
        self._records.append(record)
        Archive(self._target, self._session_id).put_leaf(stored, record)

    def _stored(self, plan: ChunkPlanned) -> ChunkStored:
        return stored_chunk(plan, self._payload(plan))

    def _payload(self, plan: ChunkPlanned) -> StoredPayload:
        cipher = None if plan.cipher == CIPHER_NONE else self._cipher
        if plan.cipher != CIPHER_NONE and self._copies is not None:
            return self._copies.copy(plan)
        return write_payload(self._target, plan, cipher, lambda: self._segments(plan, cipher))

    def _segments(self, plan: ChunkPlanned, cipher: SessionCipher | None) -> Iterator[bytes]:
        """The plain bytes of a plan's segments, from wherever they still are."""
        payload = find_payload(self._store, plan, cipher)
        if payload is not None:
            return stored_segments(self._store, plan, cipher, payload.codec)
        return spooled_segments(self._store, plan, cipher)

    def _take_over(self, *, same: bool) -> None:
        """What is not made again but taken: the manifest, and the signatures over this root."""
        self._copy(keys.MANIFEST)
        if not same:
            return
        seal = self._store.get(keys.blob_key(self._session_id, keys.SEAL))
        self._copy(keys.CHECKPOINTS)
        take_over_beside(self._store, self._target, self._session_id)
        target = Archive(self._target, self._session_id)
        target.put_records(self._ledger.size)
        self._target.put(keys.blob_key(self._session_id, keys.SEAL), seal)
        target.clear_journal()

    def _copy(self, name: str) -> None:
        key = keys.blob_key(self._session_id, name)
        try:
            self._target.put(key, self._store.get(key))
        except BlobMissingError as error:
            raise BlobMissingError(
                f"{name} of session {self._session_id} is gone from its store; it cannot be "
                "made again from events"
            ) from error


def take_over_beside(store: BlobStore, target: BlobStore, session_id: str) -> None:
    """Copy what stands beside the tree: proofs, receipts, and what was said of its retention.

    Without a hold that the log has, nothing could be said or removed of the session there.
    """
    for folder in (keys.RETENTION, keys.PROOFS, keys.RECEIPTS):
        for key in store.keys(keys.blob_key(session_id, folder)):
            target.put(key, store.get(key))


def first_difference(before: list[bytes], after: list[bytes]) -> str:
    """Which leaf record is the first that differs, in words."""
    for index, (old, new) in enumerate(zip(before, after, strict=False)):
        if old != new:
            return f"leaf {index} differs; was it recorded by another version of zstd?"
    return f"there were {len(before)} leaves, the replay makes {len(after)}"
