"""Whose turn it is: messages that are suspected of killing their worker begin one at a time.

When a worker dies, everything that it had in its hands is as suspect as the one that killed it. So
each suspect is tried alone: nobody else begins meanwhile, for a while, and it waits for those that
have begun, for a while. Whoever has got on, or has ended, is in nobody's way any more. Both waits
are short, and between two suspects all others have their turn, so that suspects, however many and
however idle, hold up no other session for long.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Self

HOLD_S = 3.0
"""Others wait no longer for a suspect, nor it for them."""

ALONE_S = 10.0
"""After so long the next suspect is tried, whatever becomes of the one before."""


class Turn:
    """Held from the begin of a handler until it has got on, or has ended; an object for `with`."""

    def __init__(self, left: Callable[[Turn], None]) -> None:
        self._left = left

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.leave()

    def leave(self) -> None:
        """Be in nobody's way any more; harmless when repeated."""
        self._left(self)


class Lane:
    """Gives out the turns of one process; used from its event loop alone."""

    def __init__(self, *, hold_s: float = HOLD_S, alone_s: float = ALONE_S) -> None:
        self._hold_s = hold_s
        self._alone_s = alone_s
        self._tried: Turn | None = None
        self._others: set[Turn] = set()
        self._changed = asyncio.Event()

    async def enter(self, *, alone: bool) -> Turn:
        """Wait for a turn; `alone` is that of a suspect."""
        turn = Turn(self._leave)
        if not alone:
            await self._wait(lambda: self._tried is None, self._hold_s)
            self._others.add(turn)
            return turn
        await self._wait_behind_others()
        self._tried = turn
        asyncio.get_running_loop().call_later(self._alone_s, turn.leave)
        try:
            await self._wait(lambda: not self._others, self._hold_s)
        except BaseException:
            turn.leave()
            raise
        return turn

    def _leave(self, turn: Turn) -> None:
        self._others.discard(turn)
        if self._tried is turn:
            self._tried = None
        self._changed.set()
        self._changed = asyncio.Event()

    async def _wait_behind_others(self) -> None:
        while self._tried is not None:
            await self._changed.wait()
            await asyncio.sleep(0)  # those that are no suspects were woken, too, and begin first

    async def _wait(self, free: Callable[[], bool], longest_s: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(longest_s):
                while not free():
                    await self._changed.wait()
