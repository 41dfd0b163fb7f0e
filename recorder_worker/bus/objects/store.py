"""A blob store in a NATS Object Store bucket: an object for each key.

JetStream vouches for the single messages of an object, not for the whole of it, whose digest its
writer has written down: so what is stored is read back.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import TypeVar

from nats.js import JetStreamContext

from recorder_worker.bus.connection.broker import Login
from recorder_worker.bus.objects.bucket import NOBODY, ObjectBucket, ObjectInfo
from recorder_worker.bus.objects.thread import ObjectThread
from recorder_worker.bus.objects.writer import ObjectWriter
from recorder_worker.core import keys
from recorder_worker.core.errors import BlobDamagedError, BlobMissingError
from recorder_worker.ports import StoredDigest

PIECE_BYTES = 1 << 20
STALE_TRIES = 3
STALE_S = 0.1

T = TypeVar("T")


class ObjectStore:
    """A `BlobStore`. Thread-safe; `close` ends its connection.

    Args:
        login: to the server that has the bucket.
        bucket: its name. It is made with the streams of the recorder.
        prefix: in front of every key; empty, or with `/` at its end.
    """

    def __init__(self, login: Login, bucket: str, prefix: str = "") -> None:
        self._thread = ObjectThread(login)
        self._bucket = ObjectBucket(bucket)
        self._prefix = prefix

    def close(self) -> None:
        """End the connection."""
        self._thread.close()

    def put(self, key: str, data: bytes) -> None:
        """Store bytes durably. See `BlobStore.put`."""
        writer = self.writer(key)
        try:
            writer.write(data)
            writer.commit()
        finally:
            writer.abort()

    def replace(self, key: str, data: bytes) -> None:
        """Store bytes durably in the place of what is there. See `BlobStore.replace`."""
        writer = self.writer(key)
        try:
            writer.write(data)
            writer.replace()
        finally:
            writer.abort()

    def writer(self, key: str) -> ObjectWriter:
        """Begin a blob."""
        return ObjectWriter(self._thread, self._bucket, self._name(key), self.location(key))

    def get(self, key: str) -> bytes:
        """All bytes of a blob. Raises BlobMissingError or StoreError."""
        return b"".join(self.stream(key))

    def stream(self, key: str, start: int = 0) -> Iterator[bytes]:
        """The bytes of a blob from an offset on. See `BlobStore.stream`.

        Raises:
            BlobDamagedError: pieces of it are gone.
        """
        info = self._require(key)
        sequence = at = count = 0
        while count < info.chunks:
            some = partial(self._pieces, nuid=info.nuid, sequence=sequence + 1)
            doing = f"read {self.location(key)}"
            found = _at_last(partial(self._thread.call, some, doing))
            if not found:
                raise BlobDamagedError(
                    f"{self.location(key)}: expected {info.chunks} pieces, found {count}; the "
                    "bucket has lost some"
                )
            sequence, count = found[-1][0], count + len(found)
            for _, piece in found:
                rest = piece[max(0, start - at) :]
                at += len(piece)
                yield from _cut(rest)

    def digest(self, key: str, *, read_back: bool = False) -> StoredDigest:
        """What is stored, read: the server vouches for no object. See `BlobStore.digest`."""
        del read_back
        found, size = hashlib.sha256(), 0
        for piece in self.stream(key):
            found.update(piece)
            size += len(piece)
        return StoredDigest(size=size, sha256=found.hexdigest(), checked="read_back")

    def size(self, key: str) -> int | None:
        """Length in bytes; None where there is no such blob."""
        found = self._find(key)
        return None if found is None else found.size

    def keys(self, prefix: str) -> list[str]:
        """All keys below a prefix, sorted as text; all names of the bucket are read for that.

        Objects of others whose names are no keys are left out.
        """
        start = len(self._prefix)
        return sorted(filter(keys.is_key, (name[start:] for name in self._names(prefix))))

    def children(self, prefix: str) -> list[str]:
        """The first names below a prefix. See `BlobStore.children`."""
        start = len(keys.folder_prefix(prefix))
        return sorted({key[start:].partition("/")[0] for key in self.keys(prefix)})

    def delete(self, key: str) -> None:
        """Remove a blob; harmless where there is none."""
        self._delete(self._name(key))

    def delete_below(self, prefix: str) -> None:
        """Remove all blobs below a prefix; harmless where there is none."""
        for name in self._names(prefix):
            self._delete(name)

    def clear_leftovers(self, older_than_s: float) -> int:
        """Remove what writers left that were killed before their end; gives of how many blobs.

        By its age: which writers live, nobody can say. Raises StoreError.
        """
        doing = f"look for leftovers in {self.location('')}"
        left = self._thread.call(partial(self._bucket.leftovers, older_than_s=older_than_s), doing)
        for nuid in left:
            self._thread.call(partial(self._bucket.forget, nuid=nuid), doing)
        return len(left)

    def free_bytes(self) -> int | None:
        """Room that is left in the bucket; None where it has no limit."""
        return self._thread.call(self._bucket.free_bytes, f"look at {self.location('')}")

    def location(self, prefix: str) -> str:
        """`nats-object://bucket/…`."""
        return f"nats-object://{self._bucket.name}/{self._prefix}{prefix}".rstrip("/")

    def _name(self, key: str) -> str:
        return self._prefix + "/".join(keys.key_parts(key))

    def _names(self, prefix: str) -> list[str]:
        begin = self._prefix + keys.folder_prefix(prefix)
        names = self._thread.call(self._bucket.names, f"list {self.location(prefix)}")
        return [name for name in names if name.startswith(begin)]

    def _delete(self, name: str) -> None:
        doing = f"delete {self.location(name.removeprefix(self._prefix))}"
        found = self._thread.call(partial(self._bucket.find, name=name), doing)
        if found.sequence:
            # One that was deleted may have been stored again, and who answered not know it yet.
            nuid = found.info.nuid if found.info else NOBODY
            self._thread.call(lambda js: self._bucket.forget(js, nuid, name), doing)

    def _find(self, key: str) -> ObjectInfo | None:
        name = self._name(key)
        return self._thread.call(
            lambda js: self._bucket.find(js, name), f"look at {self.location(key)}"
        ).info

    def _require(self, key: str) -> ObjectInfo:
        found = self._find(key)
        if found is None:
            raise BlobMissingError(
                f"{self.location(key)}: expected a blob, found none; was the recording moved or "
                "deleted?"
            )
        return found

    async def _pieces(
        self, js: JetStreamContext, nuid: str, sequence: int
    ) -> list[tuple[int, bytes]]:
        return [found async for found in self._bucket.pieces(js, nuid, sequence)]


def _at_last(ask: Callable[[], T]) -> T:
    """An answer that says something, or the last one.

    On a cluster a direct get may be answered by a server that has not heard of what was stored a
    moment ago.
    """
    for _ in range(STALE_TRIES):
        found = ask()
        if found:
            return found
        time.sleep(STALE_S)
    return ask()


def _cut(data: bytes) -> Iterator[bytes]:
    """In pieces of at most 1 MiB: other clients may have cut larger ones."""
    for begin in range(0, len(data), PIECE_BYTES):
        yield data[begin : begin + PIECE_BYTES]
