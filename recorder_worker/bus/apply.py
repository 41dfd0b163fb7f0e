"""Bring the server's streams and consumers to their declared shape, at start."""

from __future__ import annotations

import structlog
from nats.errors import TimeoutError as NatsTimeoutError
from nats.js import JetStreamContext
from nats.js.api import StreamConfig
from nats.js.errors import APIError, NotFoundError

from recorder_worker.bus.topology import Consumer
from recorder_worker.core.errors import TopologyError

log = structlog.get_logger(__name__)


async def apply_topology(
    js: JetStreamContext, streams: tuple[StreamConfig, ...], consumers: dict[str, Consumer]
) -> None:
    """Create what is missing and update what differs.

    Raises:
        TopologyError: the server refuses a change, or has no JetStream.
    """
    for stream in streams:
        await _apply_stream(js, stream)
    for consumer in consumers.values():
        await _apply_consumer(js, consumer)


async def _apply_stream(js: JetStreamContext, stream: StreamConfig) -> None:
    name = stream.name or ""
    try:
        try:
            info = await js.stream_info(name)
        except NotFoundError:
            await js.add_stream(stream)
            log.info("StreamCreated", stream=name)
            return
        changed = _changes(info.config, stream)
        if changed:
            await js.update_stream(stream)
            log.info("StreamUpdated", stream=name, changed=changed)
    except (APIError, NatsTimeoutError) as error:
        raise _refused("stream", name, error) from error


async def _apply_consumer(js: JetStreamContext, consumer: Consumer) -> None:
    name = consumer.config.durable_name or ""
    try:
        await js.add_consumer(consumer.stream, consumer.config)
    except (APIError, NatsTimeoutError) as error:
        raise _refused("consumer", f"{consumer.stream}/{name}", error) from error


def _changes(present: StreamConfig, wanted: StreamConfig) -> list[str]:
    """The declared settings in which a stream differs, for the log."""
    return [
        name
        for name, value in vars(wanted).items()
        if value is not None and getattr(present, name) != value
    ]


def _refused(kind: str, name: str, error: Exception) -> TopologyError:
    if isinstance(error, APIError) and error.err_code is not None:
        return TopologyError(
            f"the NATS server refuses the declared shape of {kind} {name}: {error.description} "
            f"(error {error.err_code}); undo the change in the settings, or move the old "
            f"{kind} away with 'nats {kind} edit' or under another server"
        )
    return TopologyError(
        f"no answer about {kind} {name}: JetStream is not enabled on this NATS server, or this "
        "user may not manage streams; enable JetStream, or check the user's permissions"
    )
