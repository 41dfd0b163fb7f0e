"""From settings to the streams and consumers of a server."""

from __future__ import annotations

from recorder_worker.bus.connection.broker import Login
from recorder_worker.bus.streams.apply import Difference
from recorder_worker.bus.streams.deploy import deploy_mirrors, deploy_topology
from recorder_worker.service import policies
from recorder_worker.service.settings.tree import Settings


async def bring_to_shape(settings: Settings, login: Login, *, check: bool) -> list[Difference]:
    """Make what the settings declare, or only look (see `deploy_topology`)."""
    bus = policies.bus_settings(settings, "", login.servers)
    return await deploy_topology(login, bus.streams, bus.consumers, check=check)


async def mirror_edge(
    settings: Settings, login: Login, domain: str, *, check: bool
) -> list[Difference]:
    """Make the mirrors of an edge, or only look (see `deploy_mirrors`)."""
    bus = policies.bus_settings(settings, "", login.servers)
    return await deploy_mirrors(login, domain, bus.streams, check=check)
