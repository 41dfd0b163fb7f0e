"""A task of this process that goes on until it is stopped."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable


class Background:
    """Runs a body that loops while `running`.

    A body asks `running` wherever it has waited for NATS: nats-py waits with `asyncio.wait_for`,
    which in Python 3.11 drops a cancellation that comes together with the answer. Without the
    question `stop` would wait for ever.
    """

    def __init__(self, body: Callable[[], Awaitable[None]]) -> None:
        self._body = body
        self._task: asyncio.Task[None] | None = None

    @property
    def running(self) -> bool:
        """Whether it was started, and not stopped since."""
        return self._task is not None

    def start(self) -> None:
        """Begin."""
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """End it, and wait until it has; harmless when repeated."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _run(self) -> None:
        await self._body()
