"""Zstd's compressors, lent to the threads that compress.

Each holds some MiB of tables. One made for every segment of fifty sessions is memory that comes and
goes on fifty threads, and an allocator keeps the most that each of them ever had.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Lock

from zstandard import ZstdCompressor

KEPT = os.cpu_count() or 1
"""More than can be at work at once wait for the processor, and are made anew when it is."""


class Compressors:
    """Compressors of one kind, which `make` makes; up to `KEPT` are kept for the next."""

    def __init__(self, make: Callable[[], ZstdCompressor]) -> None:
        self._make = make
        self._idle: list[ZstdCompressor] = []
        self._lock = Lock()

    @contextmanager
    def lend(self) -> Iterator[ZstdCompressor]:
        """One for this thread alone.

        What an error left in the midst of it is forgotten when the next stream begins.
        """
        with self._lock:
            compressor = self._idle.pop() if self._idle else None
        compressor = compressor or self._make()
        try:
            yield compressor
        finally:
            with self._lock:
                if len(self._idle) < KEPT:
                    self._idle.append(compressor)
