"""Where bytes are kept."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Literal, Protocol

import msgspec

Checked = Literal["attested", "read_back"]
"""How the digest of stored bytes was found: the store vouches for it, having computed it itself of
what came in; or the bytes were read out of the store again and hashed here."""


class StoredDigest(msgspec.Struct, frozen=True, kw_only=True):
    """What a store holds under a key: length in bytes, SHA-256 in hexadecimal."""

    size: int
    sha256: str
    checked: Checked


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
    """Bytes by key, immutable but for `replace`. Blocking; stages call it off the event loop.

    A key is as `keys.key_parts` says; of any other PermanentError is raised.
    """

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

    def stream(self, key: str, start: int = 0) -> Iterator[bytes]:
        """The bytes of a blob from an offset on, in pieces of at most 1 MiB; none behind its end.

        Raises BlobMissingError or StoreError, with the first piece or a later one.
        """
        ...

    def digest(self, key: str, *, read_back: bool = False) -> StoredDigest:
        """What is stored: as the store attests it, or, with `read_back` or where it cannot, read.

        Raises BlobMissingError or StoreError.
        """
        ...

    def size(self, key: str) -> int | None:
        """Length in bytes; None where there is no such blob."""
        ...

    def keys(self, prefix: str) -> Iterable[str]:
        """All keys below a prefix, sorted as text."""
        ...

    def children(self, prefix: str) -> Iterable[str]:
        """The first names below a prefix, of keys or of what stands above them, sorted."""
        ...

    def delete(self, key: str) -> None:
        """Remove a blob; harmless where there is none, and when repeated."""
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
