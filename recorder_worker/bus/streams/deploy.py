"""A connection for as long as it takes to bring a server's streams and consumers to their shape."""

from __future__ import annotations

from nats.js.api import StreamConfig

from recorder_worker.bus.connection.broker import Login, connect, make_broker
from recorder_worker.bus.streams.apply import Difference, apply_topology, differences
from recorder_worker.bus.streams.consumers import (
    ENGINE,
    Consumer,
    ConsumerLimits,
    consumers,
    engine_consumer,
)
from recorder_worker.bus.streams.mirrors import mirrors
from recorder_worker.bus.streams.topology import StreamLimits, streams


async def deploy_topology(
    login: Login, limits: StreamLimits, waits: ConsumerLimits, *, check: bool
) -> list[Difference]:
    """Apply the topology, or with `check` only look; gives what was not as declared.

    Raises:
        BusUnavailableError: NATS is not there.
        TopologyError: it refuses a change, or this user.
    """
    used = consumers(waits) | {ENGINE: engine_consumer()}
    return await _bring(login, streams(limits), used, check=check)


async def deploy_mirrors(
    login: Login, domain: str, limits: StreamLimits, *, check: bool
) -> list[Difference]:
    """As `deploy_topology`, for the mirrors that a hub has of an edge's streams."""
    return await _bring(login, mirrors(domain, limits), {}, check=check)


async def _bring(
    login: Login, declared: tuple[StreamConfig, ...], used: dict[str, Consumer], *, check: bool
) -> list[Difference]:
    broker = make_broker(login)
    await connect(broker, login)
    try:
        act = differences if check else apply_topology
        return await act(broker.jetstream, declared, used)
    finally:
        await broker.stop()
