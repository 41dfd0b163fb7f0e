"""A blob store that fails as it is told to, in front of one that does not."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from memory_store import MemoryStore, MemoryWriter

from recorder_worker.core.errors import StoreError
from recorder_worker.ports import StoredDigest


class FaultyStore:
    """A `BlobStore`. `fault` is asked before every call, with its name and key, and may raise.

    What is in `spoilt` comes back with another first byte, so often: a wire, or a disk, that
    changes bytes on their way.
    """

    def __init__(self) -> None:
        self.held = MemoryStore()
        self.fault: Callable[[str, str], None] = lambda _call, _key: None
        self.spoilt: dict[str, int] = {}
        self.calls: list[tuple[str, str]] = []

    def away(self) -> None:
        """From now on nothing answers."""

        def fail(call: str, key: str) -> None:
            raise StoreError(f"cannot {call} {key}: no answer")

        self.fault = fail

    def back(self) -> None:
        """It answers again."""
        self.fault = lambda _call, _key: None

    def _ask(self, call: str, key: str) -> None:
        self.calls.append((call, key))
        self.fault(call, key)

    def put(self, key: str, data: bytes) -> None:
        self._ask("put", key)
        self.held.put(key, data)

    def replace(self, key: str, data: bytes) -> None:
        self._ask("replace", key)
        self.held.replace(key, data)

    def writer(self, key: str) -> FaultyWriter:
        self._ask("writer", key)
        return FaultyWriter(self, self.held.writer(key), key)

    def get(self, key: str) -> bytes:
        self._ask("get", key)
        return self.held.get(key)

    def stream(self, key: str, start: int = 0) -> Iterator[bytes]:
        self._ask("stream", key)
        return self.held.stream(key, start)

    def digest(self, key: str, *, read_back: bool = False) -> StoredDigest:
        self._ask("digest", key)
        found = self.held.digest(key, read_back=read_back)
        if self.spoilt.get(key, 0) > 0:
            self.spoilt[key] -= 1
            return StoredDigest(size=found.size, sha256="00" * 32, checked=found.checked)
        return found

    def size(self, key: str) -> int | None:
        self._ask("size", key)
        return self.held.size(key)

    def keys(self, prefix: str) -> Iterable[str]:
        self._ask("keys", prefix)
        return self.held.keys(prefix)

    def children(self, prefix: str) -> Iterable[str]:
        self._ask("children", prefix)
        return self.held.children(prefix)

    def delete(self, key: str) -> None:
        self._ask("delete", key)
        self.held.delete(key)

    def delete_below(self, prefix: str) -> None:
        self._ask("delete_below", prefix)
        self.held.delete_below(prefix)

    def free_bytes(self) -> int | None:
        return None

    def location(self, prefix: str) -> str:
        return f"faulty:{prefix}"


class FaultyWriter:
    """A `BlobWriter`, as its store."""

    def __init__(self, store: FaultyStore, inner: MemoryWriter, key: str) -> None:
        self._store = store
        self._inner = inner
        self._key = key

    def write(self, data: bytes | memoryview) -> None:
        self._store._ask("write", self._key)
        self._inner.write(data)

    def commit(self) -> None:
        self._store._ask("commit", self._key)
        self._inner.commit()

    def abort(self) -> None:
        self._inner.abort()
