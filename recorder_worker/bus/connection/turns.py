"""Who may ask for a message: of many subscribers on one consumer, those with work and few others.

Each subscriber asks for one message, for a second, and asks again. A worker with room for a hundred
sessions has a hundred subscribers on `session.start`, and if all that are idle asked, an idle
worker would do little else. Whoever got a message at its last request asks again as soon as it is
free; of those that did not, a few ask for all.
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from itertools import chain, repeat
from weakref import WeakKeyDictionary, WeakSet

from nats.aio.client import Client
from nats.js import JetStreamContext

DELIVERY = "$JS.ACK."
"""How the reply subject of every delivered message begins, and of no status message."""

ASKING_IDLE = 2
"""So many idle subscribers of a process ask one consumer: while one is answered, another waits."""

LATE_S = (0.25, 1.0, 5.0)
"""A message may come behind the end of its request: whoever waits looks for it, ever less often."""

STALE_S = 10.0
"""Who has not asked for so long asks no more, whatever became of it: its place is another's."""

PullSubscription = JetStreamContext.PullSubscription


class Places:
    """Of one consumer, in one process."""

    def __init__(self) -> None:
        self._asked_s: WeakKeyDictionary[PullSubscription, float] = WeakKeyDictionary()
        self._waiting: deque[asyncio.Future[None]] = deque()

    def take(self, subscription: PullSubscription) -> bool:
        """Have a place from now on, or still; False: there is none."""
        now_s = time.monotonic()
        others = sum(
            one is not subscription and now_s - asked_s < STALE_S and not _is_closed(one)
            for one, asked_s in self._asked_s.items()
        )
        if others >= ASKING_IDLE:
            return False
        self._asked_s[subscription] = now_s
        return True

    def leave(self, subscription: PullSubscription) -> None:
        """Have none any more; harmless without one."""
        if self._asked_s.pop(subscription, None) is None:
            return
        while self._waiting:
            waiting = self._waiting.popleft()
            if not waiting.done():
                waiting.set_result(None)
                return

    async def left(self, wait_s: float) -> None:
        """Wait until a place was left, in the order in which they came, or for so long."""
        waiting: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(waiting)
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await waiting
        finally:
            # Nobody may ever leave: those that went on waiting elsewhere would gather here.
            with suppress(ValueError):
                self._waiting.remove(waiting)


_places: WeakKeyDictionary[Client, defaultdict[str, Places]] = WeakKeyDictionary()
_busy: WeakSet[PullSubscription] = WeakSet()


@asynccontextmanager
async def turn(subscription: PullSubscription) -> AsyncIterator[None]:
    """Inside, a subscriber may ask; an idle one keeps its place until it gets something."""
    of_client = _places.setdefault(subscription._nc, defaultdict(Places))  # noqa: SLF001  (nothing public has it)
    places = of_client[subscription._nms]  # noqa: SLF001  (the subject of its requests)
    if subscription not in _busy:
        for wait_s in chain(LATE_S, repeat(LATE_S[-1])):
            if _has_come(subscription) or places.take(subscription):
                break
            await places.left(wait_s)
    try:
        yield
    except TimeoutError:
        _busy.discard(subscription)
        raise
    except BaseException:
        _busy.discard(subscription)
        places.leave(subscription)
        raise
    else:
        _busy.add(subscription)
        places.leave(subscription)


def _has_come(subscription: PullSubscription) -> bool:
    """Whether a message lies there; that the last request has run out comes late as a rule."""
    lying = subscription._sub._pending_queue._queue  # type: ignore[attr-defined]  # noqa: SLF001  (nothing public tells)
    return any(message.reply.startswith(DELIVERY) for message in lying)


def _is_closed(subscription: PullSubscription) -> bool:
    closed: bool = subscription._sub._closed  # noqa: SLF001  (nothing public tells)
    return closed
