"""A bucket of the Object Store, as a recorder declares it."""

from __future__ import annotations

import nats

from recorder_worker.bus.streams.topology import StreamLimits, streams


async def make_bucket(url: str, name: str) -> None:
    """Make it on a server, for one replica."""
    client = await nats.connect(url)
    limits = StreamLimits(
        replicas=1,
        max_age_s=3600,
        max_bytes=1 << 30,
        duplicate_window_s=60,
        object_bucket=name,
        object_max_bytes=1 << 40,
    )
    objects = next(stream for stream in streams(limits) if stream.name == f"OBJ_{name}")
    await client.jetstream().add_stream(objects)
    await client.close()
