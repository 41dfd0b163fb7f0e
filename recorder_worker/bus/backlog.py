"""How long the oldest message of a consumer has waited."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import nats.errors
import structlog
from nats.js import JetStreamContext
from nats.js.api import ConsumerInfo
from nats.js.errors import NotFoundError

from recorder_worker.bus.streams.consumers import Consumer
from recorder_worker.core.pipeline import CAPTURE

log = structlog.get_logger(__name__)

ANSWER_S = 2.0
ASK_AGAIN_S = 60.0
"""A login that may not read the stream gets no answer: the count is known all the same."""


class OldestWaiting:
    """When a stream stored the oldest message of a consumer that is not done with."""

    def __init__(self, jetstream: Callable[[], JetStreamContext]) -> None:
        self._jetstream = jetstream
        self._not_before_s: dict[str, float] = {}

    async def stored_ns(self, consumer: Consumer, info: ConsumerInfo) -> int:
        """In ns; 0 where none waits, or where the server does not tell.

        One read for each subject of the consumer, and none where nothing waits. What capture holds
        un-acked is a lease, which waits for nothing: there only what is not delivered yet counts.
        """
        lease = info.name == CAPTURE.name
        if not info.num_pending and (lease or not info.num_ack_pending):
            return 0
        now_s = asyncio.get_running_loop().time()
        if now_s < self._not_before_s.get(info.name, now_s):
            return 0
        reached = info.delivered if lease else info.ack_floor
        after = reached.stream_seq if reached is not None else 0
        subjects = consumer.config.filter_subjects or [consumer.config.filter_subject or ">"]
        try:
            async with asyncio.timeout(ANSWER_S):
                found = [await self._next(consumer.stream, one, after) for one in subjects]
        except (nats.errors.Error, OSError) as error:
            self._not_before_s[info.name] = now_s + ASK_AGAIN_S
            log.debug("LagUnknown", stage=info.name, error=repr(error))
            return 0
        return min((stored_ns for stored_ns in found if stored_ns), default=0)

    async def _next(self, stream: str, subject: str, after: int) -> int:
        try:
            message = await self._jetstream().get_msg(
                stream, seq=after + 1, subject=subject, direct=True, next=True
            )
        except NotFoundError:
            return 0
        return round(message.time.timestamp() * 1e9) if message.time is not None else 0
