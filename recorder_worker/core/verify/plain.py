"""The plain bytes of a stored chunk: inflated in pieces, never past their declared length.

Those of an encrypted chunk are opened first, piece by piece, with the session's key.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import IO, cast

import zstandard

from recorder_worker.core.cipher.session_cipher import (
    PayloadKind,
    Place,
    SessionCipher,
    plain_hasher,
)
from recorder_worker.core.errors import FormatError, UnsupportedError
from recorder_worker.core.records.leaves import ChunkRecord
from recorder_worker.core.verify.steps import Step
from recorder_worker.core.verify.zstd_frame import MAX_WINDOW_SIZE, ZstdFrame

PIECE_SIZE = 256 * 1024
MAX_PLAIN_SIZE = 1 << 32
"""The longest chunk that is inflated: a record that nobody trusts yet must not cost a day."""


class ChunkFaultError(Exception):
    """What is wrong with one chunk, and at which step that shows."""

    def __init__(self, step: Step, detail: str, *, missing: bool = False) -> None:
        super().__init__(detail)
        self.step = step
        self.detail = detail
        self.missing = missing
        self.unsupported = False


class PlainBytes:
    """Iterates over the plain bytes of a chunk while it counts and digests them.

    Stored bytes come as pieces. Everything that is wrong raises ChunkFaultError of step PLAIN.
    `cipher` is given for an encrypted chunk, and for no other. `digested=False` is for those who
    will not read to the end: then `finish` must not be called.
    """

    def __init__(
        self,
        record: ChunkRecord,
        stored: Iterator[bytes],
        cipher: SessionCipher | None = None,
        *,
        digested: bool = True,
    ) -> None:
        if record.plain_size > MAX_PLAIN_SIZE:
            raise ChunkFaultError(
                Step.PLAIN,
                f"expected at most {MAX_PLAIN_SIZE} plain bytes, the record says "
                f"{record.plain_size}",
            )
        self._record = record
        self._hasher = plain_hasher(cipher)
        self._digested = digested
        self._size = 0
        self._frame = ZstdFrame()
        self._zstd = record.codec == "zstd"
        payload = stored if cipher is None else _opened(record, stored, cipher)
        pieces = self._inflated(payload) if self._zstd else payload
        self._pieces = self._counted(pieces)

    def __iter__(self) -> Iterator[bytes]:
        return self._pieces

    def finish(self) -> None:
        """All was iterated: hold length and digest against the record."""
        record = self._record
        if self._size != record.plain_size:
            raise ChunkFaultError(
                Step.PLAIN, f"expected {record.plain_size} plain bytes, found {self._size}"
            )
        if (digest := self._hasher.digest()) != record.plain_blake3:
            raise ChunkFaultError(
                Step.PLAIN,
                f"expected plain bytes of BLAKE3 {record.plain_blake3.hex()}, found {digest.hex()}",
            )

    def _counted(self, pieces: Iterator[bytes]) -> Iterator[bytes]:
        for piece in pieces:
            self._size += len(piece)
            if self._size > self._record.plain_size:
                raise ChunkFaultError(
                    Step.PLAIN,
                    f"expected {self._record.plain_size} plain bytes, found more; stopped there",
                )
            if self._digested:
                self._hasher.update(piece)
            yield piece

    def _inflated(self, stored: Iterator[bytes]) -> Iterator[bytes]:
        source = _Source(stored, self._frame)
        file = cast("IO[bytes]", source)  # zstandard asks a file for its `read` alone
        # stream_reader gives no more than it is asked for, however much a few bytes hold.
        decompressor = zstandard.ZstdDecompressor(max_window_size=MAX_WINDOW_SIZE)
        try:
            with decompressor.stream_reader(file, read_across_frames=False) as reader:
                while piece := reader.read(PIECE_SIZE):
                    yield piece
            while source.read(PIECE_SIZE):
                pass
            self._frame.finish()
        except (zstandard.ZstdError, FormatError) as error:
            raise ChunkFaultError(Step.PLAIN, f"cannot be inflated: {error}") from error
        declared = self._frame.content_size
        if declared not in {None, self._record.plain_size}:
            raise ChunkFaultError(
                Step.PLAIN,
                f"expected {self._record.plain_size} plain bytes, the zstd frame declares "
                f"{declared}",
            )


def _opened(record: ChunkRecord, stored: Iterator[bytes], cipher: SessionCipher) -> Iterator[bytes]:
    try:
        yield from cipher.unseal(Place(PayloadKind.CHUNK, record.index), stored)
    except FormatError as error:
        fault = ChunkFaultError(Step.PLAIN, f"cannot be decrypted: {error}")
        fault.unsupported = isinstance(error, UnsupportedError)
        raise fault from error


class _Source:
    """A file-like object over pieces; every byte is walked before zstd sees it."""

    def __init__(self, pieces: Iterator[bytes], frame: ZstdFrame) -> None:
        self._pieces = pieces
        self._frame = frame
        self._rest = memoryview(b"")

    def read(self, size: int) -> bytes:
        """At most `size` bytes; none at the end."""
        while not self._rest:
            piece = next(self._pieces, None)
            if piece is None:
                return b""
            self._frame.feed(piece)
            self._rest = memoryview(piece)
        taken, self._rest = self._rest[:size], self._rest[size:]
        return bytes(taken)
