"""Facts as a client reads them from the stream, decoded and one after the other."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import msgspec
import nats.errors
from nats.aio.msg import Msg
from nats.js import JetStreamContext
from nats.js.api import RawStreamMsg

from recorder_worker.bus import codec
from recorder_worker.core.errors import BusUnavailableError
from recorder_worker.core.events import Event
from recorder_worker.core.subjects import Fact

LOOK_S = 1.0


class FactSeen(msgspec.Struct, frozen=True):
    """A fact about a session, as it was published."""

    fact: Fact
    session_id: str
    event: Event


async def facts_of(subscription: JetStreamContext.PushSubscription) -> AsyncIterator[FactSeen]:
    """The facts that arrive on a subscription, for ever."""
    while True:
        try:
            message = await subscription.next_msg(timeout=LOOK_S)
        except (TimeoutError, nats.errors.TimeoutError):
            # nats-py waits with `asyncio.wait_for`, which can swallow a cancellation.
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise asyncio.CancelledError from None
            continue
        seen = seen_in(message)
        if seen is not None:
            yield seen


async def first_of(
    facts: AsyncIterator[FactSeen],
    wanted: Callable[[FactSeen], bool],
    session_id: str,
    timeout_s: float | None,
) -> Event:
    """The first fact that is wanted.

    Raises:
        BusUnavailableError: none came in time.
    """
    try:
        async with asyncio.timeout(timeout_s):
            async for seen in facts:
                if wanted(seen):
                    return seen.event
        raise AssertionError("facts never end")
    except TimeoutError as error:
        raise BusUnavailableError(
            f"session {session_id}: nothing came within {timeout_s} s; is a worker running that "
            "holds this session or is free to take it?"
        ) from error


def seen_in(message: Msg | RawStreamMsg) -> FactSeen | None:
    """A message as a fact; None for what is not one of ours."""
    name, _, session_id = (message.subject or "").rpartition(".")
    try:
        fact = Fact(name)
        return FactSeen(fact, session_id, codec.decode(fact, message.data or b""))
    except (ValueError, msgspec.MsgspecError):
        return None
