"""New streams in the place of those that an earlier test has filled, or that are to be lost."""

from __future__ import annotations

import asyncio
import time

from recorder_worker.bus.connection.broker import RecorderBroker
from recorder_worker.bus.streams.apply import apply_topology
from recorder_worker.bus.streams.topology import StreamLimits, streams
from recorder_worker.core.errors import TopologyError

WINDOW_S = 0.1
"""So long the streams remember message ids: a redelivery comes behind it."""
BEHIND_WINDOW_S = WINDOW_S * 3
"""So long after a message its id is forgotten: by a timer of the server's, 50 ms late and more."""
DELETED_S = 60.0
LIMITS = StreamLimits(
    replicas=1, max_age_s=3600, max_bytes=100_000_000, duplicate_window_s=WINDOW_S
)


async def forget_all(broker: RecorderBroker, *names: str) -> None:
    """New streams in the place of the old ones; of all, or of those that are named."""
    for stream in streams(LIMITS):
        name = stream.name or ""
        if not names or name in names:
            present = [info.config.name for info in await broker.jetstream.streams_info()]
            if name in present:
                await broker.jetstream.delete_stream(name)
    deadline = time.monotonic() + DELETED_S
    while True:
        try:
            await apply_topology(broker.jetstream, streams(LIMITS), {})
        except TopologyError:
            # The server removes the files of a stream behind its answer, and refuses one of the
            # same name until they are gone.
            if time.monotonic() > deadline:
                raise
            await asyncio.sleep(WINDOW_S)
        else:
            return
