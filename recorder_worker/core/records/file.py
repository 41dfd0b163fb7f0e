"""Reads the file `records` of a sealed recording; `frame_record` is what it is written with."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from recorder_worker.core.errors import FormatError
from recorder_worker.core.records.codec import MAX_RECORD_SIZE


def unframed(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """The records in the bytes of the file `records`: each has its length as u32 in front.

    Raises:
        FormatError: a length is impossible, or the bytes end within a record.
    """
    waiting = bytearray()
    for piece in pieces:
        waiting += piece
        at = 0
        while len(waiting) - at >= 4:
            size = int.from_bytes(waiting[at : at + 4], "big")
            if not 0 < size <= MAX_RECORD_SIZE:
                raise FormatError(f"expected a length of 1 to {MAX_RECORD_SIZE}, found {size}")
            if len(waiting) - at - 4 < size:
                break
            yield bytes(waiting[at + 4 : at + 4 + size])
            at += 4 + size
        del waiting[:at]
    if waiting:
        raise FormatError(f"the file ends within a record, {len(waiting)} bytes into it")
