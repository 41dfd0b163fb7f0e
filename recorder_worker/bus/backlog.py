"""How long the oldest message of a consumer has waited."""

from __future__ import annotations

from nats.js import JetStreamContext
from nats.js.api import ConsumerInfo
from nats.js.errors import NotFoundError

from recorder_worker.bus.topology import Consumer
from recorder_worker.core.pipeline import CAPTURE


async def oldest_waiting(
    jetstream: JetStreamContext, consumer: Consumer, info: ConsumerInfo
) -> int:
    """When the stream stored the oldest message that is not done with, in ns; 0: none waits.

    One read for each subject of the consumer, and none where nothing waits. What capture holds
    un-acked is a lease, which waits for nothing: there only what is not delivered yet counts.
    """
    lease = info.name == CAPTURE.name
    if not info.num_pending and (lease or not info.num_ack_pending):
        return 0
    reached = info.delivered if lease else info.ack_floor
    after = reached.stream_seq if reached is not None else 0
    subjects = consumer.config.filter_subjects or [consumer.config.filter_subject or ">"]
    found = [await _stored_ns(jetstream, consumer.stream, subject, after) for subject in subjects]
    return min((stored_ns for stored_ns in found if stored_ns), default=0)


async def _stored_ns(jetstream: JetStreamContext, stream: str, subject: str, after: int) -> int:
    try:
        message = await jetstream.get_msg(
            stream, seq=after + 1, subject=subject, direct=True, next=True
        )
    except NotFoundError:
        return 0
    return round(message.time.timestamp() * 1e9) if message.time is not None else 0
