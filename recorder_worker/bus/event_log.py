"""The event logs on JetStream: read the last, read on, append behind a fence.

A log is the messages on one subject: of one session, or, for `last_of_all` and `append_to_all`, of
all sessions together. Which stream it is in is a matter of the fact (topology.STREAM_OF).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TypeVar

import msgspec
import nats.errors
import structlog
from nats.js import JetStreamContext
from nats.js.api import RawStreamMsg
from nats.js.errors import (
    APIError,
    BadRequestError,
    NoStreamResponseError,
    NotFoundError,
    ServiceUnavailableError,
)

from recorder_worker.bus import codec
from recorder_worker.bus.streams.topology import STREAM_OF
from recorder_worker.core.errors import BusUnavailableError, FencedError, StreamFullError
from recorder_worker.core.events import Event
from recorder_worker.core.subjects import Fact
from recorder_worker.ports import Logged

log = structlog.get_logger(__name__)

PUBLISH_TIMEOUT_S = 5.0
GIVE_UP_AFTER_S = 20.0
FIRST_WAIT_S = 0.05
LONGEST_WAIT_S = 1.0
WRONG_LAST_SEQUENCE = 10071
STREAM_FULL = 10077
"""Maximum bytes, or messages, exceeded: nats-server 2.15 says so with status 503."""
SAY_FULL_EVERY_S = 60.0
LOOK_BACK = 64
"""So many sequences are searched first behind a message that does not decode."""
FENCE = "Nats-Expected-Last-Subject-Sequence"
FENCED_SUBJECT = "Nats-Expected-Last-Subject-Sequence-Subject"
MESSAGE_ID = "Nats-Msg-Id"

TRANSIENT = (
    NoStreamResponseError,
    ServiceUnavailableError,
    asyncio.TimeoutError,
    nats.errors.TimeoutError,
    nats.errors.NoRespondersError,
    nats.errors.ConnectionClosedError,
    nats.errors.ConnectionReconnectingError,
    nats.errors.OutboundBufferLimitError,
    OSError,
)
"""The server is away or busy: nothing is known, the same call may be repeated."""

T = TypeVar("T")
Headers = Callable[[Fact, str, Event], dict[str, str]]
Told = Callable[[Fact, str, dict[str, str], int, int], None]
"""Called behind every event that was stored, with fact, session, headers, bytes, and since when."""


class JetStreamEventLog:
    """`EventLog` on the streams of the facts."""

    def __init__(
        self,
        jetstream: Callable[[], JetStreamContext],
        headers: Headers,
        told: Told | None = None,
    ) -> None:
        self._jetstream = jetstream
        self._headers = headers
        self._told = told
        self._say_full_at_s = 0.0

    async def last(self, fact: Fact, session_id: str) -> Logged | None:
        """The last event of a session's log. Raises BusUnavailableError."""
        message = await self._last(fact, fact.of(session_id))
        return None if message is None else _logged(fact, message)

    async def last_of_all(self, fact: Fact) -> Logged | None:
        """The last event of a fact, of whichever session. Raises BusUnavailableError.

        What does not decode is nobody's event, as in `read`; the fence stands behind it all the
        same. Where it is the last, the stream is searched backwards: a foreign message must not
        hold up all sessions. Where nothing decodes, the event is a bare `Event`.
        """
        message = await self._last(fact, fact.wildcard)
        if message is None:
            return None
        try:
            return _logged(fact, message)
        except msgspec.MsgspecError:
            newest = await self._newest_before(fact, message.seq or 0)
        if newest is None:
            return Logged(Event(), message.seq or 0, "")
        return Logged(newest.event, message.seq or 0, newest.key)

    async def _newest_before(self, fact: Fact, sequence: int) -> Logged | None:
        """The last event that decodes; each window that is searched is twice as wide as before."""
        end, width = sequence, LOOK_BACK
        newest: Logged | None = None
        while newest is None and end > 1:
            begin = max(1, end - width)
            async for newest in self._read(fact, fact.wildcard, begin - 1, before=end):  # noqa: B007  (the last one counts)
                pass
            end, width = begin, width * 2
        return newest

    async def _last(self, fact: Fact, subject: str) -> RawStreamMsg | None:
        try:
            return await patiently(
                lambda: self._jetstream().get_last_msg(STREAM_OF[fact], subject, direct=True)
            )
        except NotFoundError:
            return None

    async def read(self, fact: Fact, session_id: str, after: int = 0) -> AsyncIterator[Logged]:
        """All events of a session's log behind sequence `after`, oldest first.

        What does not decode is skipped: it is nobody's event, and its consumer dead-letters it.
        """
        async for logged in self._read(fact, fact.of(session_id), after):
            yield logged

    async def _read(
        self, fact: Fact, subject: str, after: int, before: int | None = None
    ) -> AsyncIterator[Logged]:
        while True:
            behind = after + 1
            try:
                message = await patiently(
                    lambda behind=behind: self._jetstream().get_msg(  # type: ignore[misc]
                        STREAM_OF[fact], seq=behind, subject=subject, direct=True, next=True
                    )
                )
            except NotFoundError:
                return
            after = message.seq or behind
            if before is not None and after >= before:
                return
            try:
                yield _logged(fact, message)
            except msgspec.MsgspecError as error:
                log.warning("ForeignEventSkipped", subject=subject, error=str(error))

    async def append(
        self, fact: Fact, session_id: str, event: Event, *, key: str, after: int
    ) -> int:
        """Append behind sequence `after`, exactly once for one `key` (see `ports.EventLog`)."""
        headers = {FENCE: str(after)}
        sequence = await self._append(fact, session_id, event, headers, key=key)
        if sequence <= after:
            # By its key, and the fence would have let it through: the server has lost some since.
            raise FencedError(
                f"{fact.of(session_id)}: expected {key} behind sequence {after}; "
                f"{key} is stored already, at {sequence}"
            )
        return sequence

    async def append_to_all(
        self, fact: Fact, session_id: str, event: Event, *, key: str, after: int
    ) -> int:
        """Append behind sequence `after` of all sessions' events (see `ports.EventLog`)."""
        headers = {FENCE: str(after), FENCED_SUBJECT: fact.wildcard}
        return await self._append(fact, session_id, event, headers, key=key)

    async def _append(
        self, fact: Fact, session_id: str, event: Event, fence: dict[str, str], *, key: str
    ) -> int:
        try:
            return await self._publish(fact, session_id, event, {MESSAGE_ID: key} | fence)
        except BadRequestError as error:
            if error.err_code != WRONG_LAST_SEQUENCE:
                raise
            # The server checks the fence before it looks for duplicates, so an earlier attempt
            # of ours that did succeed shows up here too: its key tells.
            last = await self.last(fact, session_id)
            if last is not None and last.key == key:
                return last.sequence
            raise FencedError(
                f"{fence.get(FENCED_SUBJECT, fact.of(session_id))}: something else was written "
                f"behind sequence {fence[FENCE]}"
            ) from error

    async def emit(self, fact: Fact, session_id: str, event: Event, *, key: str) -> None:
        """Append without a fence; a repeated `key` within the stream's window is dropped.

        Raises:
            StreamFullError, BusUnavailableError: as for `append`.
        """
        await self._publish(fact, session_id, event, {MESSAGE_ID: key})

    async def _publish(
        self, fact: Fact, session_id: str, event: Event, headers: dict[str, str]
    ) -> int:
        subject = fact.of(session_id)
        data = codec.encode(event)
        merged = self._headers(fact, session_id, event) | headers
        began_ns = time.time_ns()
        try:
            ack = await patiently(
                lambda: self._jetstream().publish(
                    subject,
                    data,
                    stream=STREAM_OF[fact],
                    headers=merged,
                    timeout=PUBLISH_TIMEOUT_S,
                )
            )
        except StreamFullError as error:
            self._say_full(STREAM_OF[fact], error)
            raise
        if self._told is not None and not ack.duplicate:
            self._told(fact, session_id, merged, len(data), began_ns)
        return ack.seq

    def _say_full(self, stream: str, error: StreamFullError) -> None:
        """As an error, now and then: everybody tries again, and that alone never helps."""
        now_s = asyncio.get_running_loop().time()
        if now_s >= self._say_full_at_s:
            self._say_full_at_s = now_s + SAY_FULL_EVERY_S
            log.error("StreamFull", stream=stream, error=str(error))


async def patiently(call: Callable[[], Awaitable[T]]) -> T:
    """Repeat a call until the server answers.

    Raises:
        BusUnavailableError: it did not answer for long.
        StreamFullError: it answers that the stream takes no more; at once.
    """
    loop = asyncio.get_running_loop()
    give_up_at = loop.time() + GIVE_UP_AFTER_S
    wait_s = FIRST_WAIT_S
    while True:
        try:
            return await call()
        except APIError as error:
            if error.err_code == STREAM_FULL:
                raise _full(error) from error
            if not isinstance(error, TRANSIENT):
                raise
            cause: Exception = error
        except TRANSIENT as error:
            cause = error
        if loop.time() > give_up_at:
            raise BusUnavailableError(
                f"NATS did not answer for {GIVE_UP_AFTER_S:.0f} s: {cause!r}"
            ) from cause
        await asyncio.sleep(wait_s)
        wait_s = min(wait_s * 2, LONGEST_WAIT_S)


def _full(error: APIError) -> StreamFullError:
    return StreamFullError(
        f"expected room in the stream of the event, found: {error.description}; nothing is "
        "recorded until there is some: raise nats.max_bytes, or lower nats.max_age_s, and restart "
        "(where nats.manage is off: run `recorder streams apply` as the user deploy)"
    )


def _logged(fact: Fact, message: RawStreamMsg) -> Logged:
    return Logged(
        event=codec.decode(fact, message.data or b""),
        sequence=message.seq or 0,
        key=(message.headers or {}).get(MESSAGE_ID, ""),
    )
