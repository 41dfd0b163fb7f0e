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
from nats.js.api import ConsumerConfig, DeliverPolicy
from nats.js.errors import APIError

from recorder_worker.core.errors import BusUnavailableError
from recorder_worker.core.session_entry import SessionEntry

NEXT_ENTRY_S = 5.0
ABANDONED_S = 10.0
"""After so long the server forgets a reading that was given up."""

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
        if info.state.last_seq > self._seen:
            await self._read_on()
            self._seen = max(self._seen, info.state.last_seq)
        # What had no room any more is gone without a word.
        first = info.state.first_seq
        self._entries = {key: held for key, held in self._entries.items() if held[0] >= first}

    async def _read_on(self) -> None:
        config = ConsumerConfig(
            deliver_policy=DeliverPolicy.BY_START_SEQUENCE,
            opt_start_seq=self._seen + 1,
            inactive_threshold=ABANDONED_S,
        )
        subscription = await self._jetstream().subscribe(
            ">", stream=self._stream, config=config, ordered_consumer=True
        )
        try:
            left = (await subscription.consumer_info()).num_pending or 0
            left += subscription.delivered + subscription.pending_msgs
            while left:
                message = await subscription.next_msg(timeout=NEXT_ENTRY_S)
                self._take(message.subject, message.data, message.headers or {}, message.metadata)
                left = message.metadata.num_pending
        finally:
            await subscription.unsubscribe()

    def _take(
        self,
        subject: str,
        data: bytes,
        headers: dict[str, str],
        metadata: Any,  # noqa: ANN401  (nats-py's private class)
    ) -> None:
        sequence = metadata.sequence.stream
        entry = self._read(data, headers)
        if entry is None:
            self._entries.pop(subject, None)
        else:
            self._entries[subject] = (sequence, entry)
        self._seen = sequence
