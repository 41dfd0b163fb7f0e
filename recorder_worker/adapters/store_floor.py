"""Room that a store keeps free, among all threads that write to it at once."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from recorder_worker.core.errors import StoreFullError


class StoreFloor:
    """Refuses what would leave less than the floor.

    Args:
        root: the directory, for the words of a refusal.
        floor_bytes: room that is kept free; 0: none.
        free_bytes: tells how much is free now.
    """

    def __init__(self, root: Path, floor_bytes: int, free_bytes: Callable[[], int]) -> None:
        self._root = root
        self._floor_bytes = floor_bytes
        self._free_bytes = free_bytes
        self._promising = threading.Lock()
        self._promised_bytes = 0

    @contextmanager
    def room_for(self, size: int) -> Iterator[None]:
        """Hold room above the floor for so many bytes, among all threads that write now.

        Each of many writers would else find room for itself, and all of them none.

        Raises:
            StoreFullError: there is none.
        """
        with self._promising:
            self.check(self._promised_bytes + size)
            self._promised_bytes += size
        try:
            yield
        finally:
            with self._promising:
                self._promised_bytes -= size

    def check(self, wanted: int = 0) -> None:
        """Whether so many bytes may be written. Raises StoreFullError."""
        free = self._free_bytes()
        if self._floor_bytes and free - wanted < self._floor_bytes:
            raise StoreFullError(
                f"{self._root}: expected at least {self._floor_bytes} bytes free "
                f"(disk.floor_bytes) behind {wanted} to be written, found {free} before them; "
                "make room, or lower the floor"
            )
