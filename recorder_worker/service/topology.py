"""Brings the streams and consumers of a server to the shape that the settings declare."""

from __future__ import annotations

from recorder_worker.bus.apply import Difference, apply_topology, differences
from recorder_worker.bus.broker import Login, connect, make_broker
from recorder_worker.bus.topology import consumers, streams
from recorder_worker.service import policies
from recorder_worker.service.settings_tree import Settings


async def bring_to_shape(settings: Settings, login: Login, *, check: bool) -> list[Difference]:
    """Apply the topology, or with `check` only look; gives what was not as declared.

    Raises:
        BusUnavailableError: NATS is not there.
        TopologyError: it refuses a change, or this user.
    """
    bus = policies.bus_settings(settings, "", login.servers)
    broker = make_broker(login)
    await connect(broker, login)
    try:
        act = differences if check else apply_topology
        return await act(broker.jetstream, streams(bus.streams), consumers(bus.consumers))
    finally:
        await broker.stop()
