"""Faults of FastStream and nats-py that are mended in place, since nothing public lets us.

docs/bus.md says how each shows itself. All of them go when the libraries no longer have them.
"""

from __future__ import annotations

import asyncio
from typing import Any
from weakref import WeakSet

import faststream.nats.subscriber.usecases.stream_pull_subscriber as pull_subscriber
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import AuthorizationError, ConnectionClosedError
from nats.js import JetStreamContext
from nats.js.api import Header
from nats.protocol.parser import AUTHORIZATION_VIOLATION

from recorder_worker.bus.connection.turns import DELIVERY, turn

CLOSED_PAUSE_S = 0.2
"""After a closed or lost connection was seen: everything else in the process must get its turn."""

LOOK_S = 0.02

PullSubscription = JetStreamContext.PullSubscription

_fetch = JetStreamContext.PullSubscription.fetch
_process_err = Client._process_err  # noqa: SLF001  (nothing public tells of an -ERR in time)


def mend_libraries() -> None:
    """Put ours in the place of theirs; done twice it changes nothing."""
    mended = (
        # A bare asyncio.TimeoutError of `fetch` would end FastStream's pull loop.
        (pull_subscriber, "TimeoutError", asyncio.TimeoutError),
        (JetStreamContext, "is_status_msg", staticmethod(_status_of)),
        (JetStreamContext.PullSubscription, "fetch", _fetch_with_pause),
        (Client, "_process_err", _reconnect_where_refused),
    )
    for owner, name, ours in mended:
        setattr(owner, name, ours)


def _status_of(message: Msg | None) -> str | None:
    """The status of a message of the server's own; None of one that a consumer delivers."""
    if message is None or message.reply.startswith(DELIVERY):
        return None
    return (message.headers or {}).get(Header.STATUS)


async def _fetch_with_pause(
    subscription: JetStreamContext.PullSubscription,
    *args: Any,  # noqa: ANN401  (as nats-py has it)
    **options: Any,  # noqa: ANN401  (as nats-py has it)
) -> list[Msg]:
    """Not in a loop that lets nothing else run: FastStream asks a closed connection for ever.

    Nor of a subscription that shall ask for nothing any more: its loop cannot be ended alone. And
    of a server that is away nothing is asked. Its requests would be kept until it is back, which
    then sends messages to those that have run out; and where no more can be kept, each further one
    is an error at once, for which FastStream begins its loop anew, without a pause and for ever.
    """
    client = subscription._nc  # noqa: SLF001  (nothing public has it)
    async with turn(subscription):
        # Looked at here: much may have happened since its turn was waited for.
        away = not client.is_connected and not client.is_closed
        if away or subscription in _closed:
            await asyncio.sleep(CLOSED_PAUSE_S)
            raise TimeoutError
        _asking.add(subscription)
        try:
            return await _fetch(subscription, *args, **options)
        except ConnectionClosedError:
            await asyncio.sleep(CLOSED_PAUSE_S)
            raise
        finally:
            _asking.discard(subscription)


_asking: WeakSet[PullSubscription] = WeakSet()
_closed: WeakSet[PullSubscription] = WeakSet()


async def ask_no_more(subscription: PullSubscription) -> None:
    """Ask for no more messages, and wait until the last request is answered or has run out.

    Unsubscribing would do it at once, and have lost a message that is on its way until it is
    delivered again.
    """
    _closed.add(subscription)
    while subscription in _asking:  # noqa: ASYNC110  (an Event for each request, to wait once)
        await asyncio.sleep(LOOK_S)


async def _reconnect_where_refused(client: Client, message: str) -> None:
    """As after any other loss; whether the login is refused is seen at the next connection."""
    if AUTHORIZATION_VIOLATION in message.lower() and client.is_connected:
        await client._process_op_err(AuthorizationError())  # noqa: SLF001  (as nats-py does)
    else:
        await _process_err(client, message)
