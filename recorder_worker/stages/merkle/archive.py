"""A recording's records and checkpoints in the blob store, while it grows and once it is sealed.

While a session grows, each record and each checkpoint is an object of its own, which any store
can write once and durably. The seal brings them together into `records` and `checkpoints` and
removes the single ones; a crash in between leaves both, which say the same.
"""

from __future__ import annotations

from itertools import islice

from recorder_worker.core import keys
from recorder_worker.core.errors import BlobMissingError, ImmutableConflictError, IncidentError
from recorder_worker.core.events import ChunkStored, CompressedEvent, MarkLeaf
from recorder_worker.core.records.codec import frame_record
from recorder_worker.core.records.file import unframed
from recorder_worker.core.signing.note import parse_notes
from recorder_worker.ports import BlobStore


class Archive:
    """One session's part of the store. Blocking; call it off the event loop."""

    def __init__(self, store: BlobStore, session_id: str) -> None:
        self._store = store
        self._session_id = session_id

    @property
    def location(self) -> str:
        """Where a person finds the recording."""
        return self._store.location(keys.session_prefix(self._session_id))

    def put_leaf(self, leaf: CompressedEvent, record: bytes) -> None:
        """Make a leaf record durable, with the body that it digests, if it has one."""
        if isinstance(leaf, MarkLeaf):
            self._put(keys.mark(leaf.index), leaf.body.encode())
        self._put(keys.leaf(leaf.index), record)

    def put_note(self, size: int, note: bytes) -> None:
        """Make a signed checkpoint durable; another one for this size is refused."""
        self._put(keys.note(size), note)

    def leaf(self, index: int) -> bytes:
        """The stored record of a leaf of a session that is not sealed. Raises BlobMissingError."""
        return self._store.get(self._key(keys.leaf(index)))

    def sealed_leaf(self, index: int) -> bytes | None:
        """The record of a leaf in `records`; None where there is no such file, or leaf.

        Raises:
            FormatError: the file does not hold records.
        """
        together = self._key(keys.RECORDS)
        if self._store.size(together) is None:
            return None
        return next(islice(unframed(self._store.stream(together)), index, None), None)

    def note(self, size: int) -> bytes | None:
        """The stored checkpoint for a size, also of a sealed recording; None where there is none.

        Raises:
            FormatError: what the seal brought together are not checkpoints.
        """
        try:
            return self._store.get(self._key(keys.note(size)))
        except BlobMissingError:
            pass
        try:
            together = self._store.get(self._key(keys.CHECKPOINTS))
        except BlobMissingError:
            return None
        return next((n.raw for n in parse_notes(together) if n.head.tree_size == size), None)

    def records(self, size: int) -> list[bytes]:
        """The first `size` leaf records. Raises BlobMissingError."""
        together = self._key(keys.RECORDS)
        if self._store.size(together) is None:
            try:
                return [self._store.get(self._key(keys.leaf(index))) for index in range(size)]
            except BlobMissingError:
                # Another worker may have sealed meanwhile, and removed the rest under our hands.
                if self._store.size(together) is None:
                    raise
        return list(unframed(self._store.stream(together)))[:size]

    def put_records(self, size: int) -> None:
        """Bring the first `size` leaf records together into one file."""
        self._put(keys.RECORDS, b"".join(map(frame_record, self.records(size))))

    def seal(self, size: int, note: bytes) -> None:
        """Bring records and checkpoints together; the seal comes last.

        Raises:
            IncidentError: there is another seal; whoever made it, nothing may be removed now.
        """
        if self._is_sealed(note):
            return
        try:
            self.put_records(size)
            notes = self._store.keys(self._key(keys.NOTES))
            self._put(keys.CHECKPOINTS, b"".join(map(self._store.get, notes)))
            self._put(keys.SEAL, note)
        except (BlobMissingError, ImmutableConflictError):
            # As above: the other worker's seal, if it is the same, is as good as ours.
            if not self._is_sealed(note):
                raise

    def _is_sealed(self, note: bytes) -> bool:
        try:
            held = self._store.get(self._key(keys.SEAL))
        except BlobMissingError:
            return False
        if held != note:
            raise IncidentError(
                f"session {self._session_id}: expected no seal, or the one of the last signed "
                f"checkpoint, at {self.location}/{keys.SEAL}; found another one of {len(held)} "
                "bytes; nothing was removed: copy the folder, and find out who wrote there"
            )
        return True

    def clear_journal(self) -> None:
        """Remove what a sealed recording does not need: the single objects and the spool."""
        self._store.delete_below(self._key(keys.JOURNAL))
        self._store.delete_below(self._key(keys.SEGMENTS))

    def tidy(self, note: bytes) -> None:
        """Behind our seal, remove what a worker has written that had stood still until then.

        As `clear_journal`. Where there is no seal, the journal may be all that there is.

        Raises:
            IncidentError: there is another seal than `note`; nothing was removed.
        """
        if self._is_sealed(note):
            self.clear_journal()

    def clear_spool(self, chunk: ChunkStored) -> None:
        """Remove the segments that a chunk under a signed checkpoint was made of."""
        first, end = chunk.span.first_unit, chunk.span.first_unit + chunk.span.unit_count
        for key in list(self._store.keys(self._key(keys.SEGMENTS))):
            if first <= keys.segment_unit(key) < end:
                self._store.delete(key)

    def _put(self, name: str, data: bytes) -> None:
        self._store.put(self._key(name), data)

    def _key(self, name: str) -> str:
        return keys.blob_key(self._session_id, name)
