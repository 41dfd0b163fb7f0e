"""Facts as a client reads them from the stream, decoded and one after the other."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import msgspec
from nats.aio.msg import Msg
from nats.js.api import RawStreamMsg

from recorder_worker.bus import codec
from recorder_worker.core.errors import BusUnavailableError
from recorder_worker.core.events import Event
from recorder_worker.core.subjects import Fact, without_owner


class FactSeen(msgspec.Struct, frozen=True):
    """A fact about a session, as it was published."""

    fact: Fact
    session_id: str
    event: Event


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
    """A message, or a copy of one, as a fact; None for what is not one of ours."""
    name, _, session_id = without_owner(message.subject or "").rpartition(".")
    try:
        fact = Fact(name)
        return FactSeen(fact, session_id, codec.decode(fact, message.data or b""))
    except (ValueError, msgspec.MsgspecError):
        return None
