"""An object being written: its pieces, and at the end the message by which it exists.

A crash before `commit` leaves pieces that no name leads to. Nothing reads them, and they take room
until a worker starts (`ObjectStore.clear_leftovers`). So does a server that does not say whether it
has the message: the name may lead to the pieces, and they are not taken from under it.
"""

from __future__ import annotations

import hashlib
import uuid
from contextlib import suppress
from functools import partial

from recorder_worker.bus.objects.bucket import (
    PIECE_BYTES,
    Found,
    ObjectBucket,
    ObjectInfo,
    digest_text,
)
from recorder_worker.bus.objects.thread import ObjectThread
from recorder_worker.core.errors import ImmutableConflictError, StoreError, StoreFullError

AT_ONCE = 8
"""Pieces in one call: a mebibyte."""
TRIES = 5


class ObjectWriter:
    """A `BlobWriter`. One thread uses it."""

    def __init__(self, thread: ObjectThread, bucket: ObjectBucket, name: str, where: str) -> None:
        self._thread = thread
        self._bucket = bucket
        self._name = name
        self._where = where
        self._nuid = uuid.uuid4().hex
        self._waiting = bytearray()
        self._sha256 = hashlib.sha256()
        self._size = 0
        self._pieces = 0
        self._begun = False
        self._named = False

    def write(self, data: bytes | memoryview) -> None:
        """Append bytes; what fills some pieces is sent. Raises StoreError."""
        self._sha256.update(data)
        self._size += len(data)
        self._waiting += data
        while len(self._waiting) >= AT_ONCE * PIECE_BYTES:
            self._send(AT_ONCE * PIECE_BYTES)

    def commit(self) -> None:
        """Make the blob durable and visible. See `BlobWriter.commit`."""
        self._send(len(self._waiting))
        info = self._info()
        for _ in range(TRIES):
            found = self._look(f"store {self._where}")
            if found.info is not None:
                self._compare(found.info)
                return  # and `abort` forgets our pieces
            if self._appear(info, found.sequence, f"store {self._where}"):
                return
        raise StoreError(f"cannot store {self._where}: its name is taken and freed all the time")

    def replace(self) -> None:
        """As `commit`, but in the place of what is there; of two writers the last one wins."""
        self._send(len(self._waiting))
        info = self._info()
        doing = f"replace {self._where}"
        before = self._look(doing).info
        self._appear(info, None, doing)
        if before is not None:
            self._thread.call(lambda js: self._bucket.forget(js, before.nuid), doing)

    def abort(self) -> None:
        """Forget what was written; harmless after `commit`."""
        self._waiting.clear()
        begun, self._begun = self._begun, False
        if begun and not self._named:
            with suppress(StoreError):
                self._thread.call(
                    lambda js: self._bucket.forget(js, self._nuid), f"forget {self._where}"
                )

    def _appear(self, info: ObjectInfo, after: int | None, doing: str) -> bool:
        """Whether our pieces have the name now; but for a full server an error leaves it open."""
        self._named = True
        try:
            appear = partial(self._bucket.appear, info=info, after=after)
            self._named = self._thread.call(appear, doing)
        except StoreFullError:
            self._named = False
            raise
        return self._named

    def _look(self, doing: str) -> Found:
        return self._thread.call(lambda js: self._bucket.find(js, self._name), doing)

    def _compare(self, held: ObjectInfo) -> None:
        if (held.size, held.sha256) != (self._size, self._sha256.hexdigest()):
            raise ImmutableConflictError(
                f"{self._where}: expected the same {self._size} bytes that are being stored "
                f"again, found {held.size} others; what is stored is never replaced: find "
                "out who wrote it"
            )

    def _info(self) -> ObjectInfo:
        return ObjectInfo(
            name=self._name,
            bucket=self._bucket.name,
            nuid=self._nuid,
            size=self._size,
            chunks=self._pieces,
            digest=digest_text(self._sha256.digest()),
        )

    def _send(self, size: int) -> None:
        data = bytes(self._waiting[:size])
        del self._waiting[:size]
        if data:
            self._begun = True
            send = partial(self._bucket.put_pieces, nuid=self._nuid, data=data)
            self._pieces += self._thread.call(send, f"store {self._where}")
