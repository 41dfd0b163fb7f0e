"""What a worker remembers of sessions: bounded, one entry and one lock each.

The lock keeps a worker's own tasks from meeting at the fence, where all but one would lose.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Generic, TypeVar

T = TypeVar("T")

REMEMBERED_SESSIONS = 1000


class SessionTable(Generic[T]):
    """Entries by session id; the ones longest unused are forgotten first, never one in use."""

    def __init__(self, make: Callable[[], T], most: int = REMEMBERED_SESSIONS) -> None:
        self._make = make
        self._most = most
        self._entries: OrderedDict[str, tuple[asyncio.Lock, T]] = OrderedDict()

    @asynccontextmanager
    async def entry(self, session_id: str) -> AsyncIterator[T]:
        """The session's entry, made where there is none, for one task at a time."""
        lock, value = self._entries.setdefault(session_id, (asyncio.Lock(), self._make()))
        self._entries.move_to_end(session_id)
        async with lock:
            yield value
        self._forget_oldest()

    def _forget_oldest(self) -> None:
        while len(self._entries) > self._most:
            lock, _ = next(iter(self._entries.values()))
            if lock.locked():
                return
            self._entries.popitem(last=False)
