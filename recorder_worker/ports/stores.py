"""Where bytes are kept."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Protocol


class BlobWriter(Protocol):
    """A blob being written; nothing is visible under its key until `commit` returns."""

    def write(self, data: bytes | memoryview) -> None:
        """Append bytes. Raises StoreError."""
        ...

    def commit(self) -> None:
        """Make the blob durable and visible.

        Raises:
            ImmutableConflictError: the key already holds other bytes. The same bytes succeed.
            StoreError: it could not be made durable.
        """
        ...

    def abort(self) -> None:
        """Forget what was written; harmless after `commit`."""
        ...


class BlobStore(Protocol):
    """Bytes by key, immutable but for `replace`. Blocking; stages call it off the event loop."""

    def put(self, key: str, data: bytes) -> None:
        """Store bytes durably; the same bytes again succeed. Raises as `BlobWriter.commit`."""
        ...

    def replace(self, key: str, data: bytes) -> None:
        """Store bytes durably in the place of what is there, at once and as a whole.

        For the few names that are not immutable, such as a log's newest checkpoint. Raises
        StoreError.
        """
        ...

    def writer(self, key: str) -> BlobWriter:
        """Begin a blob that is too large to hold in memory."""
        ...

    def get(self, key: str) -> bytes:
        """All bytes of a blob. Raises BlobMissingError or StoreError."""
        ...

    def stream(self, key: str) -> Iterator[bytes]:
        """The bytes of a blob in pieces. Raises BlobMissingError or StoreError."""
        ...

    def size(self, key: str) -> int | None:
        """Length in bytes; None where there is no such blob."""
        ...

    def keys(self, prefix: str) -> Iterable[str]:
        """All keys below a prefix, sorted."""
        ...

    def delete(self, key: str) -> None:
        """Remove a blob; harmless where there is none."""
        ...

    def delete_below(self, prefix: str) -> None:
        """Remove all blobs below a prefix; harmless where there is none."""
        ...

    def free_bytes(self) -> int | None:
        """Room that is left; None where the store has no such limit."""
        ...

    def location(self, prefix: str) -> str:
        """Where a person finds what is stored below a prefix: a path or a URI."""
        ...
