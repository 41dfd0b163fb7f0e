"""What the verifier needs of a recording, wherever it lies."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Protocol


class RecordingReader(Protocol):
    """The folder of one session. Names are those of core/keys.py.

    Several threads call `read`, `stream` and `size` at once. What cannot be read raises a
    RecorderError (BlobMissingError, StoreError, …); the verifier reports it.
    """

    def names(self) -> Iterable[str]:
        """Every file there is, `journal/checkpoints` before `journal/leaves`.

        In this order a recording that is being written is seen with at least as many leaves as
        its checkpoints sign.
        """
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
