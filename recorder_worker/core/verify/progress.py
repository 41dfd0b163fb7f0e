"""How far a verification is, in bytes of the files that it reads."""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[int, int], None]
"""Called with the bytes that are done, and those that there are."""

TOLD = 500
"""How often is told at most, from begin to end."""


class Meter:
    """Counts what is done and tells it; a recording may have grown since it was listed."""

    def __init__(self, tell: Progress | None, total: int) -> None:
        self._tell = tell
        self._total = total
        self._done = 0
        self._told = 0

    def add(self, size: int) -> None:
        """So many bytes more are done."""
        self._done = min(self._done + size, self._total)
        if self._tell is not None and (self._done - self._told) * TOLD > self._total:
            self._told = self._done
            self._tell(self._done, self._total)

    def finish(self) -> None:
        """All is done."""
        if self._tell is not None:
            self._tell(self._total, self._total)
