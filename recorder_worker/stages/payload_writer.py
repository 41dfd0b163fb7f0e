"""Writes a payload into the blob store: digests what is stored, and encrypts it where it must be.

Plain bytes never reach the store, not even a spare file of it. The key of an encrypted payload is
derived from the payload itself, so it is held in memory, compressed, until its end is known.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import Self

from blake3 import blake3

from recorder_worker.core import keys
from recorder_worker.core.cipher.session_cipher import PayloadKind, Place, SessionCipher
from recorder_worker.core.events import ChunkPlanned
from recorder_worker.ports import BlobStore


class Digests:
    """Counts and digests stored bytes as they pass."""

    def __init__(self) -> None:
        self.size = 0
        self._blake3 = blake3()
        self._sha256 = hashlib.sha256()

    def update(self, piece: bytes) -> None:
        """One more piece."""
        self.size += len(piece)
        self._blake3.update(piece)
        self._sha256.update(piece)

    def watch(self, pieces: Iterable[bytes]) -> Iterator[bytes]:
        """Pieces on their way to somebody else."""
        for piece in pieces:
            self.update(piece)
            yield piece

    @property
    def blake3(self) -> str:
        """BLAKE3 of what has passed, in hexadecimal."""
        return self._blake3.hexdigest()

    @property
    def sha256(self) -> str:
        """SHA-256 of what has passed, in hexadecimal."""
        return self._sha256.hexdigest()


class PayloadWriter:
    """One chunk's file being written; a context manager, which forgets what was not committed.

    Attributes:
        name: the file's name in the recording.
        size: bytes that were given to it, before any encryption.
        digests: of the bytes that are stored; complete behind `commit`.
    """

    def __init__(
        self, store: BlobStore, plan: ChunkPlanned, cipher: SessionCipher | None, *, zstd: bool
    ) -> None:
        self.name = keys.chunk(plan.index, compressed=zstd, encrypted=cipher is not None)
        self.size = 0
        self.digests = Digests()
        self._writer = store.writer(keys.blob_key(plan.session_id, self.name))
        self._cipher = cipher
        self._place = chunk_place(plan.index)
        self._held = bytearray()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._writer.abort()

    def write(self, piece: bytes) -> None:
        """Append bytes of the payload. Raises StoreError."""
        self.size += len(piece)
        if self._cipher is None:
            self._store(piece)
        else:
            self._held += piece

    def commit(self) -> None:
        """Make the payload durable and visible. Raises as `BlobWriter.commit`."""
        if self._cipher is not None:
            for piece in self._cipher.seal(self._place, self._held):
                self._store(piece)
        self._writer.commit()

    def _store(self, piece: bytes) -> None:
        if piece:
            self._writer.write(piece)
            self.digests.update(piece)


def chunk_place(index: int) -> Place:
    """Where the payload of a chunk belongs."""
    return Place(PayloadKind.CHUNK, index)


def segment_place(first_unit: int) -> Place:
    """Where the payload of a segment belongs."""
    return Place(PayloadKind.SEGMENT, first_unit)
