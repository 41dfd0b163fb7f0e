"""The files of the log of sessions in the blob store."""

from __future__ import annotations

from hashlib import sha256

from recorder_worker.core import keys
from recorder_worker.core.errors import (
    BlobMissingError,
    FormatError,
    ImmutableConflictError,
    IncidentError,
)
from recorder_worker.core.records.codec import decode_record
from recorder_worker.core.records.file import unframed
from recorder_worker.core.records.leaves import OpenRecord
from recorder_worker.core.retention.statement import MAX_STATEMENTS
from recorder_worker.core.session_log.entries import LogEntry, encode_entry
from recorder_worker.core.session_log.growth import growth
from recorder_worker.core.session_log.stored_log import read_checkpoint
from recorder_worker.core.session_log.tile_names import (
    TILE_WIDTH,
    bundle_name,
    partial_names,
    tile_name,
)
from recorder_worker.core.session_log.tiled_tree import TiledTree
from recorder_worker.ports import BlobStore


class LogFiles:
    """Reads and writes the log. Blocking; call it off the event loop."""

    def __init__(self, store: BlobStore) -> None:
        self._store = store

    @property
    def location(self) -> str:
        """Where a person finds the log."""
        return self._store.location(keys.LOG)

    def read(self, name: str) -> bytes:
        """The bytes behind a name in the log. Raises BlobMissingError or StoreError."""
        return self._store.get(keys.log_key(name))

    def write(self, entry: LogEntry, size: int, root: bytes) -> None:
        """Make the tiles of a log of `size` entries, of which this one is the last, durable.

        A crash leaves some of them; the next try writes the same bytes. Whoever finds them all
        there, because another worker was quicker, writes nothing.

        Raises:
            IncidentError: the stored tiles are not those of the log that has this root.
        """
        try:
            if self._root(size) == root:
                return
            for name, data in growth(self.read, size - 1, [encode_entry(entry)]):
                self._store.put(keys.log_key(name), data)
            found = self._root(size)
        except (BlobMissingError, FormatError, ImmutableConflictError) as error:
            raise IncidentError(
                f"log of sessions: the tiles of size {size} cannot be made: {error}; nothing is "
                f"signed; restore {self.location} from a copy"
            ) from error
        if found != root:
            raise IncidentError(
                f"log of sessions: expected root {root.hex()} for size {size}, the stored tiles "
                f"give {found.hex() if found else 'none'}; {self.location} was changed, and "
                "nothing is signed"
            )

    def _root(self, size: int) -> bytes | None:
        """The root of the first `size` entries by the stored tiles; None where some are missing."""
        try:
            return TiledTree(self.read, size).root()
        except BlobMissingError:
            return None

    def publish(self, note: bytes, size: int) -> None:
        """Put a signed checkpoint in the place of the one before.

        A worker that was held up here can put back an older one; it looks again afterwards, and
        so does whoever gets its message.
        """
        held = read_checkpoint(self.read)
        if held is None or held.head.tree_size < size:
            self._store.replace(keys.log_key(keys.LOG_CHECKPOINT), note)

    def prune(self, size: int) -> None:
        """Remove the partial tiles, and the partial bundles, of what the last entry filled."""
        level, width = 0, size
        while width and width % TILE_WIDTH == 0:
            index = width // TILE_WIDTH - 1
            self._delete_partial(tile_name(level, index))
            if level == 0:
                self._delete_partial(bundle_name(index))
            level, width = level + 1, width // TILE_WIDTH

    def _delete_partial(self, full: str) -> None:
        for key in list(self._store.keys(keys.log_key(partial_names(full)))):
            self._store.delete(key)

    def put_audit_proof(self, tree_size: int, proof: bytes) -> None:
        """Put the proof of an AUDIT entry beside its bundle, unless there is one."""
        key = keys.audit_proof(tree_size)
        if self._store.size(key) is None:
            self._store.put(key, proof)

    def put_statement_proof(self, entry: LogEntry, proof: bytes) -> None:
        """Put the proof of a statement of retention into its session's folder, unless it has one.

        Which number it has says its digest.
        """
        for number in range(1, MAX_STATEMENTS + 1):
            key = keys.blob_key(entry.session_id, keys.statement(number))
            if self._store.size(key) is None:
                return
            if sha256(self._store.get(key)).digest() == entry.note_sha256:
                place = keys.blob_key(entry.session_id, keys.statement_proof(number))
                if self._store.size(place) is None:
                    self._store.put(place, proof)
                return

    def put_proof(self, session_id: str, name: str, proof: bytes, signer: bytes) -> None:
        """Put a proof into a session's folder, unless the folder is gone, or has one.

        Neither where the device's key was changed since the session began: the proof would not
        verify by what the recording says. `recorder log prove` makes it, and the statement of
        rotation ties the keys together.
        """
        key = keys.blob_key(session_id, name)
        manifest = keys.blob_key(session_id, keys.MANIFEST)
        if self._store.size(key) is not None or self._store.size(manifest) is None:
            return
        if self._device_key(session_id) in {None, signer}:
            self._store.put(key, proof)

    def _device_key(self, session_id: str) -> bytes | None:
        """The Ed25519 key of the device in a session's OPEN; None where there is none to read."""
        try:
            first = next(unframed(self._store.stream(keys.blob_key(session_id, keys.RECORDS))))
        except BlobMissingError:
            try:
                first = self._store.get(keys.blob_key(session_id, keys.leaf(0)))
            except BlobMissingError:
                return None
        except (StopIteration, FormatError):
            return None
        try:
            opened = decode_record(first)
        except FormatError:
            return None
        return opened.device_keys[0].data if isinstance(opened, OpenRecord) else None
