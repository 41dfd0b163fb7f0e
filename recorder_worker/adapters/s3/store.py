"""A blob store in a bucket that speaks S3: one object per key.

What is immutable is written with `If-None-Match: *`: of two writers the server takes one, and the
other finds what is there. Where a server does not know that, the key is looked at first, which
leaves a moment in between. Every object comes with its SHA-256, which the server checks before it
says that it has it; what it then tells of the object (`attested`) it has computed itself.

A blob that is sent in parts has no such digest of the whole, and is read back.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator
from typing import Any

from recorder_worker.adapters.s3.client import S3Place, s3_client
from recorder_worker.adapters.s3.faults import (
    ABSENT,
    BEHIND_END,
    FAULTS,
    TAKEN,
    code_of,
    explained,
    fault,
)
from recorder_worker.adapters.s3.uploads import abort_uploads
from recorder_worker.adapters.s3.writer import S3Writer
from recorder_worker.core import keys
from recorder_worker.core.errors import ImmutableConflictError, StoreError
from recorder_worker.ports import StoredDigest

PIECE_BYTES = 1 << 20
PAGE = 1000
RESUMED = 3
"""How often in a row a transfer that broke off without a byte is begun again where it was."""


class S3Store:
    """A `BlobStore`. Thread-safe; any number of processes may share the bucket.

    Nothing is asked of the server before the first call, so that one that is away stops no start.
    """

    def __init__(self, place: S3Place) -> None:
        self._place = place
        self._client = s3_client(place)

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
        digest = base64.b64encode(hashlib.sha256(data).digest()).decode()
        with explained("replace", self.location(key)):
            self._client.put_object(**self._at(key), Body=data, ChecksumSHA256=digest)

    def writer(self, key: str) -> S3Writer:
        """Begin a blob."""
        return S3Writer(
            self._client,
            self._at(key),
            where=self.location(key),
            part_bytes=self._place.part_bytes,
            held=lambda sha256: self._same(key, sha256),
        )

    def get(self, key: str) -> bytes:
        """All bytes of a blob. Raises BlobMissingError or StoreError."""
        return b"".join(self.stream(key))

    def stream(self, key: str, start: int = 0) -> Iterator[bytes]:
        """The bytes of a blob from an offset on; what breaks off is gone on with where it was."""
        at, etag, broken = start, "", 0
        where = self.location(key)
        while True:
            with explained("read", where):
                body, etag = self._open(key, at, etag)
            try:
                with explained("read", where):
                    for piece in body:
                        at, broken = at + len(piece), 0
                        yield piece
            except StoreError:
                if broken >= RESUMED:
                    raise
                broken += 1
            else:
                return

    def digest(self, key: str, *, read_back: bool = False) -> StoredDigest:
        """What is stored: as the server attests it, else read. See `BlobStore.digest`."""
        with explained("look at", self.location(key)):
            head = self._client.head_object(**self._at(key), ChecksumMode="ENABLED")
        attested = head.get("ChecksumSHA256", "")
        # `…-3` is a digest of the digests of three parts, and none of the object.
        if attested and "-" not in attested and not read_back:
            sha256 = base64.b64decode(attested).hex()
            return StoredDigest(size=head["ContentLength"], sha256=sha256, checked="attested")
        found, size = hashlib.sha256(), 0
        for piece in self.stream(key):
            found.update(piece)
            size += len(piece)
        return StoredDigest(size=size, sha256=found.hexdigest(), checked="read_back")

    def size(self, key: str) -> int | None:
        """Length in bytes; None where there is no such blob."""
        try:
            size: int = self._client.head_object(**self._at(key))["ContentLength"]
        except FAULTS as error:
            if code_of(error) in ABSENT:
                return None
            raise self._refused(key, error) from error
        return size

    def keys(self, prefix: str) -> list[str]:
        """All keys below a prefix, sorted as text; objects of others that are none are left out."""
        start = len(self._place.prefix)
        return sorted(filter(keys.is_key, (name[start:] for name in self._names(prefix))))

    def children(self, prefix: str) -> list[str]:
        """The first names below a prefix. See `BlobStore.children`."""
        start = len(self._place.prefix + keys.folder_prefix(prefix))
        found: set[str] = set()
        for page in self._pages(prefix, Delimiter="/"):
            found |= {blob["Key"][start:] for blob in page.get("Contents", ())}
            found |= {one["Prefix"][start:-1] for one in page.get("CommonPrefixes", ())}
        return sorted(filter(keys.is_name, found))

    def delete(self, key: str) -> None:
        """Remove a blob; harmless where there is none.

        In a bucket that keeps versions the older ones stay: its life cycle removes them.
        """
        with explained("delete", self.location(key)):
            self._client.delete_object(**self._at(key))

    def delete_below(self, prefix: str) -> None:
        """Remove all blobs below a prefix, and what was sent of such as never came to their end."""
        where = self.location(prefix)
        found = self._names(prefix)
        with explained("delete", where):
            for begin in range(0, len(found), PAGE):
                objects = [{"Key": name} for name in found[begin : begin + PAGE]]
                answer = self._client.delete_objects(
                    Bucket=self._place.bucket, Delete={"Objects": objects, "Quiet": True}
                )
                for left in answer.get("Errors", ()):
                    raise StoreError(
                        f"cannot delete {left.get('Key')}: {left.get('Code')} "
                        f"{left.get('Message', '')}; give this key the right to delete"
                    )
        abort_uploads(self._client, self._place, keys.folder_prefix(prefix))

    def clear_leftovers(self, older_than_s: float) -> int:
        """Abort uploads that writers began who were killed before their end; gives how many.

        By their age: which writers live, nobody can say. Only below the names that a recorder
        gives: the bucket may be that of others, too. Raises StoreError.
        """
        return sum(
            abort_uploads(self._client, self._place, f"{folder}/", older_than_s=older_than_s)
            for folder in keys.COPIED
        )

    def free_bytes(self) -> int | None:
        """None: a bucket has no such limit that it would tell of."""
        return None

    def location(self, prefix: str) -> str:
        """`s3://bucket/…`."""
        return f"s3://{self._place.bucket}/{self._place.prefix}{prefix}".rstrip("/")

    def _at(self, key: str) -> dict[str, Any]:
        name = self._place.prefix + "/".join(keys.key_parts(key))
        return {"Bucket": self._place.bucket, "Key": name}

    def _open(self, key: str, start: int, etag: str) -> tuple[Iterator[bytes], str]:
        """The bytes from an offset on, of the same object as before, and what marks it."""
        asked = self._at(key)
        if start:
            asked["Range"] = f"bytes={start}-"
        if etag:
            asked["IfMatch"] = etag
        try:
            answer = self._client.get_object(**asked)
        except FAULTS as error:
            if code_of(error) in BEHIND_END:
                return iter(()), etag
            if code_of(error) in TAKEN:
                raise StoreError(f"{self.location(key)} was replaced while it was read") from error
            raise
        return answer["Body"].iter_chunks(PIECE_BYTES), answer.get("ETag", "")

    def _names(self, prefix: str) -> list[str]:
        """Of all objects below a prefix, whoever named them."""
        return [found["Key"] for page in self._pages(prefix) for found in page.get("Contents", ())]

    def _pages(self, prefix: str, **more: str) -> Iterator[dict[str, Any]]:
        begin = self._place.prefix + keys.folder_prefix(prefix)
        with explained("list", self.location(prefix)):
            listing = self._client.get_paginator("list_objects_v2")
            yield from listing.paginate(Bucket=self._place.bucket, Prefix=begin, **more)

    def _same(self, key: str, sha256: str) -> None:
        """Whether a key that is taken holds the bytes that were to be stored."""
        found = self.digest(key)
        if found.sha256 != sha256:
            raise ImmutableConflictError(
                f"{self.location(key)}: expected the same bytes that are being stored again "
                f"(SHA-256 {sha256}), found {found.size} others (SHA-256 {found.sha256}); what is "
                "stored is never replaced: find out who wrote it"
            )

    def _refused(self, key: str, error: Exception) -> StoreError:
        """The answer to HEAD has no body: the same question as GET says why it is refused."""
        try:
            self._client.get_object(**self._at(key), Range="bytes=0-0")["Body"].close()
        except FAULTS as explaining:
            return fault(explaining, "look at", self.location(key))
        return fault(error, "look at", self.location(key))
