"""Who may ask for a message: few of many subscribers on one consumer.

Each subscriber asks for one message, for a second, and asks again. A worker with room for a hundred
sessions has a hundred subscribers on `session.start`, and if all that are idle asked, an idle
worker would do little else. A few that ask are enough: whoever gets a message makes room at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from weakref import WeakKeyDictionary, WeakSet

from nats.aio.client import Client
from nats.js import JetStreamContext

ASKING_MAX = 2
"""So many requests of one process wait at one consumer: while one is answered, another is there."""

PullSubscription = JetStreamContext.PullSubscription

_turns: WeakKeyDictionary[Client, dict[str, asyncio.Semaphore]] = WeakKeyDictionary()
_having: WeakSet[PullSubscription] = WeakSet()


@asynccontextmanager
async def turn(subscription: PullSubscription) -> AsyncIterator[None]:
    """Inside, a subscriber may ask; it keeps its turn until it gets something.

    Else a message that comes right behind the end of a request would lie there until it is that
    subscriber's turn again.
    """
    # Nothing public has the client, nor the subject of its requests.
    of_client = _turns.setdefault(subscription._nc, {})  # noqa: SLF001
    places = of_client.setdefault(subscription._nms, asyncio.Semaphore(ASKING_MAX))  # noqa: SLF001
    if subscription not in _having:
        await places.acquire()
        _having.add(subscription)
    try:
        yield
    except TimeoutError:
        raise
    except BaseException:
        _give_up(subscription, places)
        raise
    else:
        _give_up(subscription, places)


def _give_up(subscription: PullSubscription, places: asyncio.Semaphore) -> None:
    _having.discard(subscription)
    places.release()
