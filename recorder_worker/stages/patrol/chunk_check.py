"""One stored chunk against its record, piece by piece. Blocking; nothing of it is kept."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Literal

import msgspec
from blake3 import blake3

from recorder_worker.core import keys
from recorder_worker.core.errors import (
    BlobDamagedError,
    BlobMissingError,
    BlobUnreadableError,
    StoreError,
)
from recorder_worker.core.records.codec import decode_record
from recorder_worker.core.records.file import unframed
from recorder_worker.core.records.leaves import ChunkRecord
from recorder_worker.core.verify.chunks import chunk_name
from recorder_worker.ports import BlobStore
from recorder_worker.stages.sealed_records import check_sealed_records

Problem = Literal["missing", "damaged", "unreadable"]
MAX_REPAIRED_SIZE = 2**31
"""Bytes of the largest chunk that is put in the place of a damaged one: it is held in memory."""


class Fault(msgspec.Struct, frozen=True, kw_only=True):
    """What is wrong with a chunk: what was expected, and what was found, in words."""

    problem: Problem
    expected: str
    found: str


class StoredChunk(msgspec.Struct, frozen=True, kw_only=True):
    """A chunk as its session's records have it."""

    key: str
    index: int
    size: int
    digest: bytes

    @property
    def expected(self) -> str:
        """Its bytes, in words."""
        return f"{self.size} bytes of BLAKE3 {self.digest.hex()}"


def chunks_behind(store: BlobStore, session_id: str, index: int) -> Iterator[StoredChunk]:
    """The chunks of a sealed session behind a record, in order.

    Raises:
        BlobMissingError, FormatError, StoreError: its records cannot be read, or are not those that
            its seal signs: by such ones a whole chunk would be taken for a damaged one.
    """
    check_sealed_records(store, session_id)
    for data in unframed(store.stream(keys.blob_key(session_id, keys.RECORDS))):
        record = decode_record(data)
        if isinstance(record, ChunkRecord) and record.index > index:
            yield StoredChunk(
                key=keys.blob_key(session_id, chunk_name(record)),
                index=record.index,
                size=record.stored_size,
                digest=record.stored_blake3,
            )


class ChunkReading:
    """The bytes of a chunk as they pass by; `fault` says at the end what is wrong."""

    def __init__(self, store: BlobStore, chunk: StoredChunk) -> None:
        self._chunk = chunk
        self._pieces = store.stream(chunk.key)
        self._hasher = blake3()
        self._size = 0
        self._problem: tuple[Problem, str] | None = None

    def next(self) -> int:
        """Read one piece; gives its bytes, 0 at the end."""
        try:
            piece = next(self._pieces, b"")
        except BlobMissingError:
            self._problem = ("missing", "no file")
            return 0
        except (BlobUnreadableError, StoreError) as error:
            self._problem = ("unreadable", str(error))
            return 0
        self._hasher.update(piece)
        self._size += len(piece)
        # No more is read of one that is too long: it is not what was stored.
        return len(piece) if self._size <= self._chunk.size else 0

    def fault(self) -> Fault | None:
        """What is wrong; None: nothing."""
        chunk, digest = self._chunk, self._hasher.digest()
        if self._problem is not None:
            problem, found = self._problem
        elif (self._size, digest) == (chunk.size, chunk.digest):
            return None
        else:
            more = "more than " * (self._size > chunk.size)
            problem, found = "damaged", f"{more}{self._size} bytes of BLAKE3 {digest.hex()}"
        return Fault(problem=problem, expected=chunk.expected, found=found)


def check(store: BlobStore, chunk: StoredChunk) -> Fault | None:
    """Read a chunk at once; what is wrong with it."""
    reading = ChunkReading(store, chunk)
    while reading.next():
        pass
    return reading.fault()


def put_back(
    store: BlobStore,
    second: BlobStore,
    session_id: str,
    chunk: StoredChunk,
    is_deleted: Callable[[str], bool],
) -> str:
    """Put the second store's copy in the place of a chunk, if it is what the record says.

    Whatever stands there is replaced at once and as a whole: a crash leaves the one or the other.
    A deletion that is ordered meanwhile finds what was put back, or is found here by `is_deleted`,
    which believes no statement but those that the session's recorder has signed.

    Returns:
        Why it was not done: the copy is not whole either; empty where it was.

    Raises:
        StoreError: one of the stores failed; it may work later.
    """
    data = _copy_of(second, chunk)
    if isinstance(data, str):
        return data
    store.replace(chunk.key, data)
    if is_deleted(session_id):
        store.delete(chunk.key)
        return "its session is deleted"
    fault = check(store, chunk)
    if fault is not None:
        raise StoreError(
            f"{chunk.key}: was put back, and is {fault.problem}: {fault.found}; look at the disk"
        )
    return ""


def take_back(store: BlobStore, second: BlobStore, chunk: StoredChunk) -> None:
    """Remove a chunk that was put back while its session's chunks left for the second store.

    It stays where the copy is not whole any more. Raises StoreError.
    """
    if check(second, chunk) is None:
        store.delete(chunk.key)


def _copy_of(second: BlobStore, chunk: StoredChunk) -> bytes | str:
    """The bytes of a copy that is whole; else, in words, what is wrong with it."""
    try:
        size = second.size(chunk.key)
        if size is not None and (size != chunk.size or size > MAX_REPAIRED_SIZE):
            return f"nor is it whole there: {size} bytes"
        data = second.get(chunk.key)
    except BlobMissingError:
        return "the second store has no such blob"
    except (BlobDamagedError, BlobUnreadableError) as error:
        return f"nor is it whole there: {error}"
    digest = blake3(data).digest()
    if (len(data), digest) != (chunk.size, chunk.digest):
        return f"nor is it whole there: {len(data)} bytes of BLAKE3 {digest.hex()}"
    return data
