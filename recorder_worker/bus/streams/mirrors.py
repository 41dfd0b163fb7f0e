"""The streams of a recorder at the edge once more on a hub, which fetches them over a leaf node.

The server does it by itself: it takes up where it stopped, in order and without a hole, however
long the link was away. What has aged out at the edge before the hub came is lost to the hub.
"""

from __future__ import annotations

from nats.js.api import ExternalStream, StorageType, StreamConfig, StreamSource

from recorder_worker.bus.streams.topology import (
    AUDIT_STREAM,
    INTEGRATION_STREAM,
    REGISTER_STREAM,
    SESSIONS_STREAM,
    StreamLimits,
)

MIRRORED = (SESSIONS_STREAM, REGISTER_STREAM, INTEGRATION_STREAM, AUDIT_STREAM)
"""Facts. Commands are for the recorder there, and its dead letters for those who run it."""


def mirror_name(domain: str, stream: str) -> str:
    """The stream on the hub that mirrors a stream of an edge: `EDGE-7_SESSIONS`."""
    return f"{domain.upper()}_{stream}"


def mirrors(domain: str, limits: StreamLimits) -> tuple[StreamConfig, ...]:
    """The mirrors of one edge. Its age and size are the hub's own matter."""
    return tuple(
        StreamConfig(
            name=mirror_name(domain, stream),
            mirror=StreamSource(name=stream, external=ExternalStream(api=f"$JS.{domain}.API")),
            storage=StorageType.FILE,
            num_replicas=limits.replicas,
            max_age=limits.audit_max_age_s if stream == AUDIT_STREAM else limits.max_age_s,
            max_bytes=limits.max_bytes,
            allow_direct=True,
            deny_delete=True,
            deny_purge=True,
        )
        for stream in MIRRORED
    )
