"""What a worker remembers of sessions: bounded, one entry and one lock each.

The lock keeps a worker's own tasks from meeting at the fence, where all but one would lose.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")

REMEMBERED_SESSIONS = 1000


def never_lost() -> int:
    """The number of a connection that has no successor."""
    return 0


@dataclass
class _Held(Generic[T]):
    """An entry, and the connection over which it was learnt."""

    lock: asyncio.Lock
    value: T
    connection: int


class SessionTable(Generic[T]):
    """Entries by session id; the ones longest unused are forgotten first, never one in use.

    What was learnt over an earlier connection is forgotten. A server that was away may have lost
    its newest messages in a power cut, and what others wrote since may have got their sequences: a
    fence that was remembered would let through what it should stop.

    Args:
        make: an entry that knows nothing.
        connection: the number of the present connection to the log.
        most: entries that are kept.
    """

    def __init__(
        self,
        make: Callable[[], T],
        connection: Callable[[], int] = never_lost,
        most: int = REMEMBERED_SESSIONS,
    ) -> None:
        self._make = make
        self._connection = connection
        self._most = most
        self._entries: OrderedDict[str, _Held[T]] = OrderedDict()

    @asynccontextmanager
    async def entry(self, session_id: str) -> AsyncIterator[T]:
        """The session's entry, made where there is none, for one task at a time."""
        held = self._entries.get(session_id)
        if held is None:
            held = _Held(asyncio.Lock(), self._make(), self._connection())
            self._entries[session_id] = held
        self._entries.move_to_end(session_id)
        async with held.lock:
            connection = self._connection()
            if held.connection != connection:
                held.value, held.connection = self._make(), connection
            yield held.value
        self._forget_oldest()

    def _forget_oldest(self) -> None:
        while len(self._entries) > self._most:
            held = next(iter(self._entries.values()))
            if held.lock.locked():
                return
            self._entries.popitem(last=False)
