"""A bounded mailbox from the reader thread to the session's event loop."""

from __future__ import annotations

import asyncio
import queue

from recorder_worker.core.errors import LeaseLostError
from recorder_worker.stages.capture.segments.items import Item

LOOK_UP_S = 0.5


class Mailbox:
    """Holds items until the loop takes them; a full one makes the reader wait (back-pressure)."""

    def __init__(self, loop: asyncio.AbstractEventLoop, size: int, wake: asyncio.Event) -> None:
        self._loop = loop
        self._items: queue.Queue[Item] = queue.Queue(maxsize=size)
        self._wake = wake
        self._closed = False

    def put(self, item: Item) -> None:
        """From the reader's thread: hand over an item, waiting for room.

        Raises:
            LeaseLostError: nobody takes items any more.
        """
        while True:
            if self._closed:
                raise LeaseLostError("nobody takes this session's items any more")
            try:
                self._items.put(item, timeout=LOOK_UP_S)
            except queue.Full:
                continue
            try:
                self._loop.call_soon_threadsafe(self._wake.set)
            except RuntimeError as error:
                raise LeaseLostError("the event loop has ended") from error
            return

    def take(self) -> Item | None:
        """From the loop: the oldest item; None where there is none."""
        try:
            return self._items.get_nowait()
        except queue.Empty:
            return None

    def close(self) -> None:
        """Take nothing any more: the reader's next put ends it."""
        self._closed = True
