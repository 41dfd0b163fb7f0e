"""Walks the outside of one zstd frame (RFC 8878 §3.1), without inflating anything.

A chunk is exactly one frame. zstd's own decoders also take several frames, skippable frames in
between and, in some bindings, anything behind the last one or an end that is missing: bytes that
one program plays and another does not. This walk finds where the frame ends, to the byte, and
what it claims before a decoder is asked.
"""

from __future__ import annotations

from collections.abc import Generator

from recorder_worker.core.errors import FormatError

MAGIC = 0xFD2FB528
MAX_WINDOW_SIZE = 1 << 23

_CONTENT_SIZE_BYTES = (0, 2, 4, 8)
_RAW, _RLE, _COMPRESSED, _RESERVED = range(4)


class ZstdFrame:
    """Fed with the stored bytes in order; `finish` says whether they were one frame.

    `content_size` is the plain length that the frame's header declares; None where it does not.
    """

    def __init__(self) -> None:
        self.content_size: int | None = None
        self._waiting = bytearray()
        self._skip = 0
        self._walk = self._steps()
        self._need = next(self._walk)
        self._ended = False

    def feed(self, data: bytes) -> None:
        """Walk on. Raises FormatError."""
        at = 0
        while at < len(data):
            if self._ended:
                raise FormatError("zstd: expected one frame, found bytes behind its end")
            if self._skip:
                step = min(self._skip, len(data) - at)
                self._skip -= step
                at += step
            else:
                piece = data[at : at + self._need - len(self._waiting)]
                self._waiting += piece
                at += len(piece)
            self._advance()

    def finish(self) -> None:
        """No more bytes will come. Raises FormatError."""
        if not self._ended:
            raise FormatError("zstd: expected the end of a frame, found the end of the bytes")

    def _advance(self) -> None:
        """Hand complete fields to the walk until it needs bytes that are not here."""
        while not self._skip and not self._ended and len(self._waiting) == self._need:
            field = int.from_bytes(self._waiting, "little")
            self._waiting.clear()
            try:
                self._need = self._walk.send(field)
            except StopIteration:
                self._ended = True

    def _steps(self) -> Generator[int, int, None]:
        """Ask for fields by their size in bytes; the answer is the field, little-endian."""
        if (magic := (yield 4)) != MAGIC:
            raise FormatError(f"zstd: expected the magic number {MAGIC:#x}, found {magic:#x}")
        descriptor = yield 1
        single_segment = descriptor >> 5 & 1
        if descriptor & 0b1011:
            raise FormatError("zstd: expected no dictionary and no reserved bit in the header")
        window = 0 if single_segment else _window_size((yield 1))
        size_bytes = _CONTENT_SIZE_BYTES[descriptor >> 6] or single_segment
        if size_bytes:
            self.content_size = (yield size_bytes) + (256 if size_bytes == 2 else 0)
        if single_segment:
            window = self.content_size or 0
        if window > MAX_WINDOW_SIZE:
            raise FormatError(f"zstd: expected a window of at most 2^23 bytes, found {window}")
        last = 0
        while not last:
            block = yield 3
            last, kind, size = block & 1, block >> 1 & 3, block >> 3
            if kind == _RESERVED:
                raise FormatError("zstd: found a block of the reserved type")
            self._skip = 1 if kind == _RLE else size
            yield 0
        if descriptor & 0b100:
            yield 4


def _window_size(descriptor: int) -> int:
    base = 1 << 10 + (descriptor >> 3)
    return base + (base >> 3) * (descriptor & 7)
