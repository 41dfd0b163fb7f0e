"""Follows the facts on the bus as any client can, and waits for what they say.

`asyncio.wait_for` of Python 3.11, which nats-py uses too, drops a cancellation that arrives at the
same moment as what is waited for. Here that moment is the likely one (events come all the time),
and a Ctrl-C that is dropped would be a demo that does not end: so both loops look for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from recorder_worker.cli.demo.board import Board
from recorder_worker.cli.demo.checklist import CheckFailedError
from recorder_worker.cli.demo.tally import Tally

if TYPE_CHECKING:
    from recorder_worker.bus.client import RecorderClient
    from recorder_worker.bus.fact_stream import FactSeen

SILENCE_S = 60.0
"""A recorder that says nothing for so long is broken; how fast it is does not matter."""


class Watcher:
    """Every fact goes to the board; `until` waits for what they add up to."""

    def __init__(self, board: Board) -> None:
        self._board = board
        self._news = asyncio.Event()
        self._ended = False

    @asynccontextmanager
    async def following(self, client: RecorderClient) -> AsyncIterator[None]:
        """Follow all sessions inside the `async with`; nothing that is published is missed."""
        async with client.follow(history=False) as facts:
            task = asyncio.create_task(self._follow(facts), name="demo-watcher")
            try:
                yield
            finally:
                self._ended = True
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)

    async def until(self, tally: Tally, what: str, holds: Callable[[Tally], bool]) -> None:
        """Wait for something to be true of a session.

        Raises:
            CheckFailedError: the session failed, or no fact came for a long time.
        """
        _end_if_cancelled()
        while not holds(tally):
            if tally.failure:
                raise CheckFailedError(f"{tally.name}: {what}", tally.failure)
            self._news.clear()
            try:
                async with asyncio.timeout(SILENCE_S):
                    await self._news.wait()
            except TimeoutError as error:
                raise CheckFailedError(
                    f"{tally.name}: {what}",
                    f"no event came for {SILENCE_S:g} s; the log in the demo's folder says why",
                ) from error

    async def _follow(self, facts: AsyncIterator[FactSeen]) -> None:
        async for seen in facts:
            if self._ended:
                return
            self._board.add(seen)
            self._news.set()


def _end_if_cancelled() -> None:
    """Raise the cancellation that something before us has dropped."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError
