"""Faults of FastStream and nats-py that are mended in place, since nothing public lets us.

docs/bus.md says how each shows itself. All of them go when the libraries no longer have them.
"""

from __future__ import annotations

import asyncio
from typing import Any
from weakref import WeakSet

import faststream.nats.subscriber.usecases.stream_pull_subscriber as pull_subscriber
import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import AuthorizationError, ConnectionClosedError
from nats.js import JetStreamContext
from nats.js.api import Header, StatusCode
from nats.protocol.parser import AUTHORIZATION_VIOLATION

DELIVERY = "$JS.ACK."
"""How the reply subject of every delivered message begins, and of no status message."""

CLOSED_PAUSE_S = 0.2
"""After a closed connection was seen: everything else in the process must get its turn."""

IN_HAND_S = 0.1
"""For a message that the server still had in hand as it said that it sends none any more."""

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

    Nor of a subscription that shall ask for nothing any more: its loop cannot be ended alone.
    """
    if subscription in _closed:
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
    """Ask for no more messages, and wait until the last request is answered or has ended.

    What is on its way is taken all the same: nothing waits until its acknowledgement is overdue.
    """
    _closed.add(subscription)
    if subscription in _asking and _is_alone(subscription._nc):  # noqa: SLF001  (as _withdraw)
        await _withdraw(subscription)
    while subscription in _asking:  # noqa: ASYNC110  (an Event for each request, to wait once)
        await asyncio.sleep(LOOK_S)


def _is_alone(client: Client) -> bool:
    """Whether the server that we are on is the one that has the consumer."""
    info = client._server_info  # noqa: SLF001  (nothing public tells the whole of it)
    return bool(info.get("jetstream")) and not info.get("cluster")


async def _withdraw(subscription: PullSubscription) -> None:
    """End a request before its time: no more of the server's, then what it has sent, then ours.

    A server that finds nobody to deliver to gives the message to the next who asks; what it had
    sent before comes in front of its answer to `flush`, or, where one of its threads had it in
    hand, just behind. In a cluster the message may have been sent by another server already, and
    ours would drop it: there the request has to run out.
    """
    client, inbox = subscription._nc, subscription._sub  # noqa: SLF001  (in public, it is closed)
    try:
        await client._send_unsubscribe(inbox._id)  # noqa: SLF001  (our end of it stays open)
        await client.flush()
    except (nats.errors.Error, OSError):
        return  # the request runs out
    await asyncio.sleep(IN_HAND_S)
    # Of a request that ran out, `fetch` would wait for the end of its own time.
    ended: dict[str, str] = {Header.STATUS: StatusCode.SERVICE_UNAVAILABLE}
    inbox._pending_queue.put_nowait(Msg(client, headers=ended))  # noqa: SLF001  (as the server)


async def _reconnect_where_refused(client: Client, message: str) -> None:
    """As after any other loss; whether the login is refused is seen at the next connection."""
    if AUTHORIZATION_VIOLATION in message.lower() and client.is_connected:
        await client._process_op_err(AuthorizationError())  # noqa: SLF001  (as nats-py does)
    else:
        await _process_err(client, message)
