"""What those ask who read whole streams, and who look how streams and consumers are."""

from __future__ import annotations

from collections.abc import Iterable

from recorder_worker.bus.rights.stage_rights import SHAPES, api
from recorder_worker.bus.streams.topology import STREAM_OF, StreamLimits, streams
from recorder_worker.core.subjects import Fact


def reading(facts: Iterable[Fact]) -> tuple[str, ...]:
    """Reading whole streams: what they hold and the state of what is stored."""
    held = dict.fromkeys(STREAM_OF[fact] for fact in facts)
    return tuple(
        subject
        for stream in held
        for subject in (
            api("STREAM.INFO", stream),
            api("DIRECT.GET", stream),
            api("DIRECT.GET", f"{stream}.>"),
        )
    )


def looking(token_buckets: tuple[str, ...], objects: str) -> tuple[str, ...]:
    """The state of every stream and consumer: what `recorder doctor` asks."""
    limits = StreamLimits(
        replicas=1,
        max_age_s=1,
        max_bytes=1,
        duplicate_window_s=1,
        token_buckets=token_buckets,
        object_bucket=objects,
    )
    queues = (f"{consumer.stream}.{stage}" for stage, consumer in SHAPES.items())
    return (
        *(api("STREAM.INFO", stream.name or "") for stream in streams(limits)),
        *(api("CONSUMER.INFO", queue) for queue in queues),
    )
