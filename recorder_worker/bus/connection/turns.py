"""Who may ask for a message: of many subscribers on one consumer, those with work and few others.

Each subscriber asks for one message, for a second, and asks again. A worker with room for a hundred
sessions has a hundred subscribers on `session.start`, and if all that are idle asked, an idle
worker would do little else. Whoever got a message at its last request asks again as soon as it is
free; of those that did not, a few ask for all.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from weakref import WeakKeyDictionary, WeakSet

from nats.aio.client import Client
from nats.js import JetStreamContext

DELIVERY = "$JS.ACK."
"""How the reply subject of every delivered message begins, and of no status message."""

ASKING_IDLE = 2
"""So many idle subscribers of a process ask one consumer: while one is answered, another waits."""

LATE_S = (0.25, 1.0, 5.0, None)
"""A message may come behind the end of its request: whoever waits looks for it, ever less often."""

PullSubscription = JetStreamContext.PullSubscription

_places: WeakKeyDictionary[Client, dict[str, asyncio.Semaphore]] = WeakKeyDictionary()
_placed: WeakSet[PullSubscription] = WeakSet()
_busy: WeakSet[PullSubscription] = WeakSet()


@asynccontextmanager
async def turn(subscription: PullSubscription) -> AsyncIterator[None]:
    """Inside, a subscriber may ask; an idle one keeps its place until it gets something."""
    # Nothing public has the client, nor the subject of its requests.
    of_client = _places.setdefault(subscription._nc, {})  # noqa: SLF001
    places = of_client.setdefault(subscription._nms, asyncio.Semaphore(ASKING_IDLE))  # noqa: SLF001
    if subscription not in _busy and subscription not in _placed:
        await _take_place(subscription, places)
    try:
        yield
    except TimeoutError:
        _busy.discard(subscription)
        raise
    except BaseException:
        _busy.discard(subscription)
        _leave_place(subscription, places)
        raise
    else:
        _busy.add(subscription)
        _leave_place(subscription, places)


async def _take_place(subscription: PullSubscription, places: asyncio.Semaphore) -> None:
    """Wait for a place, or for a message that came late: there is no need to ask for that."""
    for wait_s in LATE_S:
        if _has_come(subscription):
            return
        try:
            async with asyncio.timeout(wait_s):
                await places.acquire()
        except TimeoutError:
            continue
        _placed.add(subscription)
        return


def _has_come(subscription: PullSubscription) -> bool:
    """Whether a message lies there; that the last request has run out comes late as a rule."""
    lying = subscription._sub._pending_queue._queue  # type: ignore[attr-defined]  # noqa: SLF001
    return any(message.reply.startswith(DELIVERY) for message in lying)


def _leave_place(subscription: PullSubscription, places: asyncio.Semaphore) -> None:
    if subscription in _placed:
        _placed.discard(subscription)
        places.release()
