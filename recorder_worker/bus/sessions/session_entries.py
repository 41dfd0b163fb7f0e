"""All entries of the bucket of sessions in memory, read on from where the last look ended.

A look asks the stream how far it is, and reads what is behind that of its own last look: nothing,
mostly. So it is never older than the moment of the question, whatever connection was lost
meanwhile, and only the first one reads the whole bucket.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import nats.errors
from nats.js import JetStreamContext
from nats.js.api import RawStreamMsg
from nats.js.errors import APIError

from recorder_worker.bus.sessions.batched_get import read_batch
from recorder_worker.core.errors import BusUnavailableError
from recorder_worker.core.session_entry import SessionEntry

BEHIND_S = 5.0
BEHIND_WAIT_S = 0.05

Read = Callable[[bytes, dict[str, str]], SessionEntry | None]


class KnownEntries:
    """What was read of a bucket.

    Args:
        stream: the bucket's own.
        read: an entry from a message's data and headers; None where it is none any more.
    """

    def __init__(self, jetstream: Callable[[], JetStreamContext], stream: str, read: Read) -> None:
        self._jetstream = jetstream
        self._stream = stream
        self._read = read
        self._lock = asyncio.Lock()
        self._made: Any = None
        self._seen = 0
        self._entries: dict[str, tuple[int, SessionEntry]] = {}

    async def all(self) -> list[SessionEntry]:
        """Every entry that there is now. Raises BusUnavailableError."""
        async with self._lock:
            try:
                await self._catch_up()
            except (APIError, nats.errors.Error, TimeoutError, OSError) as error:
                raise BusUnavailableError(
                    f"stream {self._stream}: no answer: {error!r}; is it there?"
                ) from error
            return [entry for _, entry in self._entries.values()]

    async def _catch_up(self) -> None:
        info = await self._jetstream().stream_info(self._stream)
        if info.created != self._made or info.state.last_seq < self._seen:
            # Another bucket of this name, or one that lost its end: nothing of it is known.
            self._made, self._seen = info.created, 0
            self._entries = {}
        if info.state.messages:
            await self._read_on(info.state.last_seq)
        self._seen = max(self._seen, info.state.last_seq)
        # What had no room any more is gone without a word.
        first = info.state.first_seq
        self._entries = {key: held for key, held in self._entries.items() if held[0] >= first}

    async def _read_on(self, last: int) -> None:
        """Read up to a sequence, which is there: the bucket lets nobody delete."""
        give_up_s = asyncio.get_running_loop().time() + BEHIND_S
        while self._seen < last:
            before = self._seen
            async for message in read_batch(self._jetstream(), self._stream, before + 1):
                self._take(message)
                give_up_s = asyncio.get_running_loop().time() + BEHIND_S
            if self._seen > before:
                continue
            # Any copy of the stream may answer, and this one has not got the newest yet.
            if asyncio.get_running_loop().time() > give_up_s:
                raise TimeoutError(f"expected entries up to {last}, found none behind {before}")
            await asyncio.sleep(BEHIND_WAIT_S)

    def _take(self, message: RawStreamMsg) -> None:
        entry = self._read(message.data or b"", message.headers or {})
        subject, self._seen = message.subject or "", message.seq or self._seen
        if entry is None:
            self._entries.pop(subject, None)
        else:
            self._entries[subject] = (self._seen, entry)
