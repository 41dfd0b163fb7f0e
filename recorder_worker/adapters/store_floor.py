"""Room that a store keeps free, among all threads that write to it at once."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from recorder_worker.core.errors import StoreFullError

LOOK_S = 0.2
NEAR_BYTES = 256 * 2**20
"""So long a look at the disk holds, and only so far above the floor: others fill the disk, too."""


class StoreFloor:
    """Refuses what would leave less than the floor.

    Asking the system takes a thread out of Python and back, which is far longer than the question
    where fifty threads want the same. So one look holds for many: what was promised since then, or
    was being written, counts as used up.

    Args:
        root: the directory, for the words of a refusal.
        floor_bytes: room that is kept free; 0: none.
        free_bytes: tells how much is free now.
    """

    def __init__(self, root: Path, floor_bytes: int, free_bytes: Callable[[], int]) -> None:
        self._root = root
        self._floor_bytes = floor_bytes
        self._free_bytes = free_bytes
        self._counting = threading.Lock()
        self._promised_bytes = 0
        self._done_bytes = 0
        """All that was ever promised, and what of it is written or given up."""
        self._seen_free_bytes = 0
        self._done_then_bytes = 0
        self._seen_s = float("-inf")

    @contextmanager
    def room_for(self, size: int) -> Iterator[None]:
        """Hold room above the floor for so many bytes, among all threads that write now.

        Each of many writers would else find room for itself, and all of them none.

        Raises:
            StoreFullError: there is none.
        """
        if not self._floor_bytes:
            yield
            return
        if not self._promise(size, LOOK_S, NEAR_BYTES):
            self._look()
            if not self._promise(size, float("inf"), 0):
                raise self._full(size)
        try:
            yield
        finally:
            with self._counting:
                self._done_bytes += size

    def check(self) -> None:
        """Whether anything may be written. Raises StoreFullError."""
        if self._floor_bytes:
            self._look()
            with self._counting:
                enough = self._left_bytes() >= self._floor_bytes
            if not enough:
                raise self._full(0)

    def _promise(self, size: int, age_s: float, above_bytes: int) -> bool:
        """Promise so many bytes, where a look of at most that age leaves so many more."""
        with self._counting:
            fresh = time.monotonic() - self._seen_s <= age_s
            enough = fresh and self._left_bytes() - size >= self._floor_bytes + above_bytes
            if enough:
                self._promised_bytes += size
            return enough

    def _left_bytes(self) -> int:
        """What is free at the least: as if nothing under way at the look had been written."""
        return self._seen_free_bytes - (self._promised_bytes - self._done_then_bytes)

    def _look(self) -> None:
        with self._counting:
            done_bytes = self._done_bytes
        free_bytes = self._free_bytes()
        with self._counting:
            self._seen_free_bytes, self._done_then_bytes = free_bytes, done_bytes
            self._seen_s = time.monotonic()

    def _full(self, size: int) -> StoreFullError:
        with self._counting:
            free_bytes = self._seen_free_bytes
            wanted_bytes = free_bytes - self._left_bytes() + size
        return StoreFullError(
            f"{self._root}: expected at least {self._floor_bytes} bytes free "
            f"(disk.floor_bytes) behind {wanted_bytes} to be written, found {free_bytes} before "
            "them; make room, or lower the floor"
        )
