"""Announces control events of the sessions that this worker records.

A plain subscription beside the log: it only wakes the lease holder, which then reads the log.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from nats.aio.client import Client
from nats.aio.msg import Msg

from recorder_worker.core.subjects import Fact, session_of

LOOK_AGAIN_S = (0.0, 0.05, 0.25)


class JetStreamControlFeed:
    """`ControlFeed` on one subscription for all sessions of the worker."""

    def __init__(self) -> None:
        self._listeners: defaultdict[str, list[Callable[[], None]]] = defaultdict(list)

    async def start(self, client: Client) -> None:
        """Subscribe; the client subscribes again by itself after a reconnect."""
        await client.subscribe(Fact.CONTROL.wildcard, cb=self._announce)

    @contextmanager
    def listen(self, session_id: str, heard: Callable[[], None]) -> Iterator[None]:
        """Call `heard` whenever a control event of the session may have been published."""
        self._listeners[session_id].append(heard)
        try:
            yield
        finally:
            self._listeners[session_id].remove(heard)
            if not self._listeners[session_id]:
                del self._listeners[session_id]

    async def _announce(self, message: Msg) -> None:
        """Wake the holder now and a little later.

        The server may pass a message on before its stream has stored it; then the log has
        nothing new at the first look.
        """
        loop = asyncio.get_running_loop()
        for heard in self._listeners.get(session_of(message.subject), ()):
            for delay_s in LOOK_AGAIN_S:
                loop.call_later(delay_s, heard)
