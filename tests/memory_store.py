"""A strict blob store in memory for tests of the stages: it raises where a directory would."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from hashlib import sha256

from recorder_worker.core import keys as blob_keys
from recorder_worker.core.errors import BlobMissingError, ImmutableConflictError, StoreFullError
from recorder_worker.ports import Checked, StoredDigest

_PIECE_BYTES = 1 << 20


class MemoryStore:
    """A `BlobStore`.

    `limit_bytes` makes it full; `puts` counts the commits per key, so that a test can see what
    was written twice.
    """

    def __init__(self, limit_bytes: int | None = None) -> None:
        self._blobs: dict[str, bytes] = {}
        self._lock = threading.Lock()
        self.limit_bytes = limit_bytes
        self.puts: dict[str, int] = {}

    def put(self, key: str, data: bytes) -> None:
        writer = self.writer(key)
        writer.write(data)
        writer.commit()

    def replace(self, key: str, data: bytes) -> None:
        blob_keys.key_parts(key)
        with self._lock:
            self._blobs[key] = data

    def writer(self, key: str) -> MemoryWriter:
        return MemoryWriter(self, "/".join(blob_keys.key_parts(key)))

    def get(self, key: str) -> bytes:
        blob_keys.key_parts(key)
        with self._lock:
            if key not in self._blobs:
                raise BlobMissingError(f"{key}: expected a blob, found none; store it first")
            return self._blobs[key]

    def stream(self, key: str, start: int = 0) -> Iterator[bytes]:
        data = self.get(key)[start:]
        for at in range(0, len(data), _PIECE_BYTES):
            yield data[at : at + _PIECE_BYTES]

    def digest(self, key: str, *, read_back: bool = False) -> StoredDigest:
        data = self.get(key)
        checked: Checked = "read_back" if read_back else "attested"
        return StoredDigest(size=len(data), sha256=sha256(data).hexdigest(), checked=checked)

    def size(self, key: str) -> int | None:
        blob_keys.key_parts(key)
        with self._lock:
            return len(self._blobs[key]) if key in self._blobs else None

    def keys(self, prefix: str) -> list[str]:
        folder = prefix.rstrip("/")
        with self._lock:
            return sorted(key for key in self._blobs if not folder or key.startswith(f"{folder}/"))

    def children(self, prefix: str) -> list[str]:
        start = len(blob_keys.folder_prefix(prefix))
        return sorted({key[start:].partition("/")[0] for key in self.keys(prefix)})

    def delete(self, key: str) -> None:
        blob_keys.key_parts(key)
        with self._lock:
            self._blobs.pop(key, None)

    def delete_below(self, prefix: str) -> None:
        for key in self.keys(prefix):
            self.delete(key)

    def free_bytes(self) -> int | None:
        if self.limit_bytes is None:
            return None
        with self._lock:
            return max(0, self.limit_bytes - sum(map(len, self._blobs.values())))

    def location(self, prefix: str) -> str:
        return f"memory:{prefix}"

    def tamper(self, key: str, data: bytes) -> None:
        """What an attacker does: change bytes that must never change."""
        with self._lock:
            assert key in self._blobs, key
            self._blobs[key] = data

    def _commit(self, key: str, data: bytes) -> None:
        free = self.free_bytes()
        with self._lock:
            held = self._blobs.get(key)
            if held is not None and held != data:
                raise ImmutableConflictError(f"{key}: expected the bytes that are there, got other")
            if held is None and free is not None and len(data) > free:
                raise StoreFullError(f"{key}: expected room for {len(data)} bytes, found {free}")
            self._blobs[key] = data
            self.puts[key] = self.puts.get(key, 0) + 1


class MemoryWriter:
    """A `BlobWriter` that fails the test when it is used after its end."""

    def __init__(self, store: MemoryStore, key: str) -> None:
        self._store = store
        self._key = key
        self._data = bytearray()
        self._open = True

    def write(self, data: bytes | memoryview) -> None:
        assert self._open, f"{self._key}: written after commit or abort"
        self._data += data

    def commit(self) -> None:
        assert self._open, f"{self._key}: committed twice, or after abort"
        self._open = False
        self._store._commit(self._key, bytes(self._data))

    def abort(self) -> None:
        self._open = False
        self._data.clear()
