"""Chunks of an encrypted session as a replay has them that cannot open them: copied."""

from __future__ import annotations

from collections.abc import Sequence

from recorder_worker.core import keys
from recorder_worker.core.errors import BlobMissingError
from recorder_worker.core.events import ChunkPlanned
from recorder_worker.core.records.codec import decode_record
from recorder_worker.core.records.leaves import ChunkRecord
from recorder_worker.ports import BlobStore
from recorder_worker.stages.payload import CODEC_STORED, CODEC_ZSTD, StoredPayload
from recorder_worker.stages.payload_writer import Digests

TAKEN = (
    "plain bytes were not looked at: the session is encrypted, and without --identity their "
    "digests are those of the sealed records"
)


class CopiedPayloads:
    """Copies chunks from a store to another; what only the key can give is from `records`.

    `taken` says so once a chunk was copied.
    """

    def __init__(self, store: BlobStore, target: BlobStore, records: Sequence[bytes]) -> None:
        self._store = store
        self._target = target
        self._records = records
        self.taken = ""

    def copy(self, plan: ChunkPlanned) -> StoredPayload:
        """A stored chunk in the target, with its digests made anew.

        Raises:
            BlobMissingError: it is not there; its segments are of no use without the key.
        """
        self.taken = TAKEN
        for codec in (CODEC_ZSTD, CODEC_STORED):
            name = keys.chunk(plan.index, compressed=codec == CODEC_ZSTD, encrypted=True)
            key = keys.blob_key(plan.session_id, name)
            if self._store.size(key) is not None:
                return self._copied(plan, name, codec)
        raise BlobMissingError(
            f"chunk {plan.index} of session {plan.session_id} is gone, and cannot be made again "
            "without the session's key; give an identity of one of its recipients"
        )

    def _copied(self, plan: ChunkPlanned, name: str, codec: str) -> StoredPayload:
        key = keys.blob_key(plan.session_id, name)
        digests = Digests()
        writer = self._target.writer(key)
        try:
            for piece in digests.watch(self._store.stream(key)):
                writer.write(piece)
            writer.commit()
        finally:
            writer.abort()
        return StoredPayload(
            name=name,
            codec=codec,
            plain_blake3=self._plain_digest(plan.index),
            stored_size=digests.size,
            stored_blake3=digests.blake3,
            stored_sha256=digests.sha256,
        )

    def _plain_digest(self, index: int) -> str:
        """That of the sealed record; zeros, which differ, where that is of no chunk."""
        data = self._records[index] if index < len(self._records) else None
        record = decode_record(data) if data is not None else None
        return record.plain_blake3.hex() if isinstance(record, ChunkRecord) else bytes(32).hex()
