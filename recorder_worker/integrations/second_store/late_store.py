"""The second store for those who remove and repair: opened late, and asked with restraint.

Where it has just failed it is not asked again at once: who goes through many sessions would wait
for each of them as long as a server that does not answer takes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from recorder_worker.core.errors import SecondStoreError
from recorder_worker.integrations.second_store.copier import Copier, of_second
from recorder_worker.ports import BlobStore, BlobWriter, Clock, StoredDigest

REST_NS = 5_000_000_000

T = TypeVar("T")


class LateStore:
    """A blob store; every call raises SecondStoreError where the second store is away. Blocking."""

    def __init__(self, copier: Copier, clock: Clock) -> None:
        self._copier = copier
        self._clock = clock
        self._failed: tuple[int, SecondStoreError] | None = None

    def put(self, key: str, data: bytes) -> None:
        """As `BlobStore`, as all the others."""
        self._ask(lambda store: store.put(key, data))

    def replace(self, key: str, data: bytes) -> None:
        """Replace a blob."""
        self._ask(lambda store: store.replace(key, data))

    def writer(self, key: str) -> BlobWriter:
        """Begin a blob."""
        return self._ask(lambda store: store.writer(key))

    def get(self, key: str) -> bytes:
        """All bytes of a blob."""
        return self._ask(lambda store: store.get(key))

    def stream(self, key: str, start: int = 0) -> Iterator[bytes]:
        """The bytes of a blob, in pieces."""
        pieces = self._ask(lambda store: store.stream(key, start))
        while (piece := self._ask(lambda _: next(pieces, None))) is not None:
            yield piece

    def digest(self, key: str, *, read_back: bool = False) -> StoredDigest:
        """What is stored."""
        return self._ask(lambda store: store.digest(key, read_back=read_back))

    def size(self, key: str) -> int | None:
        """Length in bytes."""
        return self._ask(lambda store: store.size(key))

    def keys(self, prefix: str) -> Iterable[str]:
        """All keys below a prefix."""
        return self._ask(lambda store: list(store.keys(prefix)))

    def children(self, prefix: str) -> Iterable[str]:
        """The first names below a prefix."""
        return self._ask(lambda store: list(store.children(prefix)))

    def delete(self, key: str) -> None:
        """Remove a blob."""
        self._ask(lambda store: store.delete(key))

    def delete_below(self, prefix: str) -> None:
        """Remove all blobs below a prefix."""
        self._ask(lambda store: store.delete_below(prefix))

    def free_bytes(self) -> int | None:
        """Room that is left."""
        return self._ask(lambda store: store.free_bytes())

    def location(self, prefix: str) -> str:
        """Where a person finds it."""
        return self._ask(lambda store: store.location(prefix))

    def _ask(self, call: Callable[[BlobStore], T]) -> T:
        now_ns = self._clock.monotonic_ns()
        if self._failed is not None and now_ns - self._failed[0] < REST_NS:
            raise SecondStoreError(str(self._failed[1]))
        try:
            with of_second():
                found = call(self._copier.second)
        except SecondStoreError as error:
            self._failed = (self._clock.monotonic_ns(), error)
            raise
        self._failed = None
        return found
