"""A recording in the blob store, as those who prove and verify read one."""

from __future__ import annotations

from collections.abc import Iterator

from recorder_worker.core import keys
from recorder_worker.core.errors import BlobMissingError
from recorder_worker.ports import BlobStore


class StoredRecording:
    """One session in a store; satisfies `RecordingReader`. Blocking; threads may share it."""

    def __init__(self, store: BlobStore, session_id: str) -> None:
        self._store = store
        self._prefix = keys.session_prefix(session_id)

    def names(self) -> Iterator[str]:
        """Every file, relative to the recording."""
        for key in self._store.keys(self._prefix):
            yield key.removeprefix(f"{self._prefix}/")

    def read(self, name: str) -> bytes:
        """All bytes of a file. Raises BlobMissingError or StoreError."""
        return self._store.get(f"{self._prefix}/{name}")

    def stream(self, name: str) -> Iterator[bytes]:
        """The bytes of a file in pieces. Raises BlobMissingError or StoreError."""
        return self._store.stream(f"{self._prefix}/{name}")

    def size(self, name: str) -> int:
        """Length in bytes. Raises BlobMissingError or StoreError."""
        size = self._store.size(f"{self._prefix}/{name}")
        if size is None:
            raise BlobMissingError(f"{name}: expected a file, found none")
        return size
