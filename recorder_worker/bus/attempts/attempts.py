"""Every attempt at a message, from its begin to its end: whoever dies in between is found by it.

A handler that never returns leaves no error: its worker is dead, and the message comes again, kills
the next one, and takes all that this one had in hand along. So for a message that comes again it is
written down that its handler begins, and struck out when it ends, in whatever way. What was begun
`retry.max_crashes` times without an end is not begun once more: it becomes a dead letter.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import TypeVar

import msgspec
import structlog
from nats.aio.msg import Msg

from recorder_worker.bus.attempts.lane import Lane, Turn
from recorder_worker.core.errors import WorkerDiedError
from recorder_worker.ports import AttemptBook, MessagePlace, StageMetrics, Tally
from recorder_worker.ports.attempts import NOTHING

log = structlog.get_logger(__name__)

T = TypeVar("T")

SUSPECT_AT = 2
"""Attempts without an end from which on a message is tried alone."""

ENDED_MAX = 10_000
"""Of so many messages that were given back it is known that they were."""


class Attempts:
    """The attempts of one process, in a book that may outlive it."""

    def __init__(
        self,
        book: AttemptBook,
        max_crashes: int,
        metrics: StageMetrics,
        lane: Lane | None = None,
    ) -> None:
        self._book = book
        self._max_crashes = max_crashes
        self._metrics = metrics
        self._lane = lane or Lane()
        # One thread: what is struck out must not overtake what is written down.
        self._thread = ThreadPoolExecutor(1, "attempts")
        self._open: dict[tuple[str, int], tuple[MessagePlace, Turn]] = {}
        self._ended: dict[MessagePlace, int] = {}

    @asynccontextmanager
    async def attempt(self, message: Msg) -> AsyncIterator[None]:
        """Around a handler, which begins when it is its turn.

        Raises:
            WorkerDiedError: it is not begun again.
        """
        place, deliveries = place_of(message), message.metadata.num_delivered
        key = (place.consumer, place.sequence)
        # A message that was given back here did nobody harm; one that is in our hands already (it
        # came again, because we were slow) has its attempt.
        known = key in self._open or self._ended.pop(place, 0) == deliveries - 1
        counted = deliveries > 1 and not known
        tally = await self._do(lambda: self._book.read(place)) if counted else NOTHING
        if tally.begun >= self._max_crashes:
            raise WorkerDiedError(
                f"its worker died {tally.begun} times with this message in its hands, or hung; it "
                "is not begun again"
            )
        suspect = tally.begun >= SUSPECT_AT
        if suspect:
            self._metrics.suspected(place.consumer)
            log.warning("MessageSuspected", stage=place.consumer, deaths=tally.begun)
        with await self._lane.enter(alone=suspect) as turn:
            mine = self._open.setdefault(key, (place, turn))[1] is turn
            try:
                if counted:
                    begun = msgspec.structs.replace(tally, begun=tally.begun + 1)
                    await self._do(lambda: self._book.write(place, begun))
                yield
            except BaseException:
                if counted:
                    await asyncio.shield(self._do(lambda: self._strike_out(place)))
                self._remember(place, deliveries)
                raise
            finally:
                if mine:
                    del self._open[key]
        if deliveries > 1:
            await self._do(lambda: self._book.write(place, NOTHING))

    async def got_on(self, consumer: str, sequence: int) -> None:
        """A message whose handler lasts, like a start: whoever dies from here on, not by it."""
        place, turn = self._open.get((consumer, sequence), (None, None))
        if place is not None and turn is not None:
            turn.leave()
            await self._do(lambda: self._book.write(place, NOTHING))

    async def failed(self, message: Msg) -> int:
        """A handler has failed by a defect; how often this message did, over all its attempts."""
        place = place_of(message)

        def count() -> int:
            tally = self._book.read(place)
            tally = msgspec.structs.replace(tally, failed=tally.failed + 1)
            self._book.write(place, tally)
            return tally.failed

        return await self._do(count)

    async def forget(self, message: Msg) -> None:
        """A message does not come again."""
        place = place_of(message)
        self._ended.pop(place, None)
        await self._do(lambda: self._book.write(place, NOTHING))

    def _strike_out(self, place: MessagePlace) -> None:
        tally = self._book.read(place)
        self._book.write(place, Tally(failed=tally.failed))

    def _remember(self, place: MessagePlace, deliveries: int) -> None:
        self._ended[place] = deliveries
        while len(self._ended) > ENDED_MAX:
            del self._ended[next(iter(self._ended))]

    def _do(self, work: Callable[[], T]) -> asyncio.Future[T]:
        return asyncio.get_running_loop().run_in_executor(self._thread, work)


def place_of(message: Msg) -> MessagePlace:
    """What identifies a message over its deliveries."""
    metadata = message.metadata
    return MessagePlace(
        consumer=metadata.consumer,
        sequence=metadata.sequence.stream,
        stored_ns=round(metadata.timestamp.timestamp() * 1_000_000) * 1000,
    )
