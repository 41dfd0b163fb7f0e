"""Follows the facts of a session: what is stored first, then what comes, each once and in order.

No consumer is made for it. Whoever may make one may have JetStream deliver to any subject, and so
publish what he likes as a fact (permissions.py). Events are asked for one after the other instead,
and a plain subscription says when to ask again.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js import JetStreamContext
from nats.js.api import RawStreamMsg
from nats.js.errors import APIError, NotFoundError

from recorder_worker.bus.connection.client_connection import reach_server
from recorder_worker.bus.event_log import MESSAGE_ID
from recorder_worker.bus.fact_stream import FactSeen, seen_in
from recorder_worker.bus.streams.topology import CLIENTS_STREAM, SESSIONS_STREAM
from recorder_worker.core.subjects import COPIED, Fact, copies_of, copy_for

LOOK_S = 1.0
"""Also without a word from the server it is asked this often: it may have been away."""

FLUSH_S = 10.0
LOOK_AGAIN_S = (0.0, 0.05, 0.25)
"""The server may pass a message on before its stream has stored it."""

AWAY = (nats.errors.Error, APIError, OSError, asyncio.TimeoutError)


class Following:
    """Facts of one session, or of all (`*`), on one connection; of one kind, or of all."""

    def __init__(
        self,
        client: Client,
        jetstream: JetStreamContext,
        session_id: str,
        fact: Fact | None = None,
    ) -> None:
        self._client = client
        self._jetstream = jetstream
        self._session_id = session_id
        self._subject = fact.of(session_id) if fact else f"session.*.{session_id}"
        self._wake = asyncio.Event()

    @asynccontextmanager
    async def facts(self, owner: str, *, history: bool) -> AsyncIterator[AsyncIterator[FactSeen]]:
        """All facts; with an owner its copies, and of what is stored the newest of each kind.

        Raises:
            nats.errors.Error: the streams are not there, or not for this user.
        """
        if owner:
            async with self._copies(owner, history=history) as copies:
                yield copies
            return
        async with self._subscribed(self._subject, self._ring):
            info = await self._jetstream.stream_info(SESSIONS_STREAM)
            yield self._stored(self._subject, 0 if history else info.state.last_seq)

    @asynccontextmanager
    async def _copies(self, owner: str, *, history: bool) -> AsyncIterator[AsyncIterator[FactSeen]]:
        coming: asyncio.Queue[Msg] = asyncio.Queue()
        async with self._subscribed(copies_of(owner, self._session_id), coming.put):
            before = await self._newest_copies(owner)
            yield self._copied(owner, coming, [] if history else [_key(m) for m in before])

    @asynccontextmanager
    async def _subscribed(
        self, subject: str, hear: Callable[[Msg], Awaitable[None]]
    ) -> AsyncIterator[None]:
        subscription = await self._client.subscribe(subject, cb=hear)
        try:
            await reach_server(self._client, FLUSH_S)
            yield
        finally:
            # An iteration that is abandoned ends after the connection: then there is nothing left
            # to unsubscribe.
            with suppress(nats.errors.Error):
                await subscription.unsubscribe()

    async def _ring(self, _: Msg) -> None:
        for delay_s in LOOK_AGAIN_S:
            asyncio.get_running_loop().call_later(delay_s, self._wake.set)

    async def _stored(self, subject: str, after: int) -> AsyncIterator[FactSeen]:
        while True:
            self._wake.clear()
            message = await self._next(subject, after + 1)
            _stop_if_cancelled()
            if message is None:
                with suppress(asyncio.TimeoutError):
                    await asyncio.wait_for(self._wake.wait(), LOOK_S)
                _stop_if_cancelled()
                continue
            after = message.seq or after + 1
            seen = seen_in(message)
            if seen is not None:
                yield seen

    async def _next(self, subject: str, sequence: int) -> RawStreamMsg | None:
        try:
            return await self._jetstream.get_msg(
                SESSIONS_STREAM, seq=sequence, subject=subject, direct=True, next=True
            )
        except nats.errors.ConnectionClosedError:
            raise  # by ourselves: nothing will come any more
        except AWAY:
            return None  # nothing there yet, or nobody: it is asked again for as long as it takes

    async def _copied(
        self, owner: str, coming: asyncio.Queue[Msg], known: list[str]
    ) -> AsyncIterator[FactSeen]:
        told = set(known)
        while True:
            newest: list[RawStreamMsg] = []
            try:
                newest = await self._newest_copies(owner)
            except nats.errors.ConnectionClosedError:
                raise
            except AWAY:
                pass  # as in `_next`
            came: list[Msg] = []
            with suppress(asyncio.TimeoutError):
                came.append(await asyncio.wait_for(coming.get(), LOOK_S))
            _stop_if_cancelled()
            while not coming.empty():
                came.append(coming.get_nowait())
            # What has come by itself has its place there, behind what was stored before it.
            passed = {_key(message) for message in came}
            found: list[Msg | RawStreamMsg] = [m for m in newest if _key(m) not in passed]
            for message in [*found, *came]:
                seen = seen_in(message)
                if seen is not None and _key(message) not in told:
                    told.add(_key(message))
                    yield seen

    async def _newest_copies(self, owner: str) -> list[RawStreamMsg]:
        """The newest copy of each kind, in the order in which they were stored."""
        if self._session_id == "*":
            return []
        found = []
        for fact in COPIED:
            with suppress(NotFoundError):
                subject = copy_for(owner, fact, self._session_id)
                found.append(
                    await self._jetstream.get_last_msg(CLIENTS_STREAM, subject, direct=True)
                )
        return sorted(found, key=lambda message: message.seq or 0)


def _key(message: Msg | RawStreamMsg) -> str:
    return (message.headers or {}).get(MESSAGE_ID, "")


def _stop_if_cancelled() -> None:
    # nats-py waits with `asyncio.wait_for`, which can swallow a cancellation.
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError
