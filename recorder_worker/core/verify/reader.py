"""What the verifier needs of a recording, wherever it lies."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Protocol

from recorder_worker.core.errors import FormatError


class RecordingReader(Protocol):
    """The folder of one session. Names are those of core/keys.py.

    Several threads call `read`, `stream` and `size` at once. What cannot be read raises a
    RecorderError (BlobMissingError, StoreError, …) that begins with the file's name; the verifier
    reports it. What is not a regular file inside the folder must not be read.
    """

    def names(self) -> Iterable[str]:
        """Every file there is, in any order; may be an iterator, for there can be very many."""
        ...

    def read(self, name: str) -> bytes:
        """All bytes of a small file."""
        ...

    def stream(self, name: str) -> Iterator[bytes]:
        """The bytes of a file in pieces of at most a few MiB."""
        ...

    def size(self, name: str) -> int:
        """Length in bytes."""
        ...


def read_bounded(reader: RecordingReader, name: str, limit: int) -> bytes:
    """All bytes of a file that must not be larger than `limit`, whatever its length is said to be.

    Raises:
        FormatError: it is larger.
        RecorderError: it cannot be read.
    """
    data = bytearray()
    for piece in reader.stream(name):
        data += piece
        if len(data) > limit:
            raise FormatError(f"{name}: expected at most {limit} bytes, found more")
    return bytes(data)
