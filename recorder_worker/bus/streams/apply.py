"""Bring the server's streams and consumers to their declared shape, at start.

Each of them has the version of the shape in its metadata (`VERSION`). Where a newer recorder has
declared one, an older one changes nothing and does not start: it would take subjects away, and what
is published there meanwhile would never reach the consumers that skip it.
"""

from __future__ import annotations

import msgspec
import structlog
from nats.errors import TimeoutError as NatsTimeoutError
from nats.js import JetStreamContext
from nats.js.api import Base, ConsumerConfig, StreamConfig
from nats.js.errors import APIError, NotFoundError

from recorder_worker.bus.streams.consumers import Consumer
from recorder_worker.bus.streams.topology import TOPOLOGY_VERSION
from recorder_worker.core.errors import TopologyError

log = structlog.get_logger(__name__)

VERSION = "recorder-topology"
"""The key of the version in the metadata of a stream or consumer."""


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """A stream or consumer that is not as declared; no `fields`: it is not there."""

    kind: str
    name: str
    fields: tuple[str, ...] = ()

    @property
    def missing(self) -> bool:
        """Whether it is not there at all."""
        return not self.fields

    def __str__(self) -> str:
        found = "is not there" if self.missing else f"differs in {', '.join(self.fields)}"
        return f"{self.kind} {self.name} {found}"


async def apply_topology(
    js: JetStreamContext, streams: tuple[StreamConfig, ...], consumers: dict[str, Consumer]
) -> list[Difference]:
    """Create what is missing and update what differs; gives what it found and mended.

    Raises:
        TopologyError: the server refuses a change, or has no JetStream; or a newer recorder has
            declared them.
    """
    mended = [await _stream(js, stream, mend=True) for stream in streams]
    mended += [await _consumer(js, consumer, mend=True) for consumer in consumers.values()]
    return [difference for difference in mended if difference is not None]


async def differences(
    js: JetStreamContext, streams: tuple[StreamConfig, ...], consumers: dict[str, Consumer]
) -> list[Difference]:
    """What is not as declared; changes nothing. Raises TopologyError: no answer, or newer."""
    found = [await _stream(js, stream, mend=False) for stream in streams]
    found += [await _consumer(js, consumer, mend=False) for consumer in consumers.values()]
    return [difference for difference in found if difference is not None]


async def require_topology(
    js: JetStreamContext, streams: tuple[StreamConfig, ...], consumers: dict[str, Consumer]
) -> None:
    """See that everything is there, for a worker that may not make it.

    What differs is said and worked with: an older or newer shape does for as long as an upgrade
    takes, and it is not ours to change.

    Raises:
        TopologyError: something is missing, a newer recorder has declared it, or there is no
            answer.
    """
    found = await differences(js, streams, consumers)
    missing = [str(difference) for difference in found if difference.missing]
    if missing:
        raise TopologyError(
            f"{'; '.join(missing)}; this worker may not make it (nats.manage is off): run "
            "`recorder streams apply` as the user deploy"
        )
    for difference in found:
        log.warning("TopologyDiffers", what=difference.name, fields=list(difference.fields))


async def _stream(js: JetStreamContext, wanted: StreamConfig, *, mend: bool) -> Difference | None:
    name = wanted.name or ""
    try:
        try:
            present = (await js.stream_info(name)).config
            wanted = wanted.evolve(metadata=_stamped(present.metadata, f"stream {name}"))
        except NotFoundError:
            if mend:
                await js.add_stream(wanted.evolve(metadata=_stamped(None, name)))
                log.info("StreamCreated", stream=name)
            return Difference(kind="stream", name=name)
        changed = _changes(present, wanted)
        if changed and mend:
            await js.update_stream(wanted)
            log.info("StreamUpdated", stream=name, changed=changed)
    except (APIError, NatsTimeoutError) as error:
        raise _refused("stream", name, error) from error
    return Difference(kind="stream", name=name, fields=tuple(changed)) if changed else None


async def _consumer(js: JetStreamContext, consumer: Consumer, *, mend: bool) -> Difference | None:
    wanted = consumer.config
    durable = wanted.durable_name or ""
    name = f"{consumer.stream}/{durable}"
    try:
        try:
            present = (await js.consumer_info(consumer.stream, durable)).config
            wanted = wanted.evolve(metadata=_stamped(present.metadata, f"consumer {name}"))
            changed = _changes(present, wanted)
        except NotFoundError:
            wanted = wanted.evolve(metadata=_stamped(None, name))
            present, changed = None, []
        if mend and (changed or present is None):
            await js.add_consumer(consumer.stream, wanted)  # makes or updates
    except (APIError, NatsTimeoutError) as error:
        raise _refused("consumer", name, error) from error
    if present is None or changed:
        return Difference(kind="consumer", name=name, fields=tuple(changed))
    return None


def _stamped(present: dict[str, str] | None, what: str) -> dict[str, str]:
    """The metadata that it shall have: what others wrote there stays. Raises TopologyError."""
    found = dict(present or {})
    version = found.get(VERSION, "0")
    if not version.isdecimal() or int(version) > TOPOLOGY_VERSION:
        raise TopologyError(
            f"{what}: expected the shape of version {TOPOLOGY_VERSION} or older, found {version}; "
            "a newer recorder has declared it: update this program. Nothing was changed"
        )
    return found | {VERSION: str(TOPOLOGY_VERSION)}


def _changes(
    present: StreamConfig | ConsumerConfig, wanted: StreamConfig | ConsumerConfig
) -> list[str]:
    """The declared settings in which a stream or consumer differs."""
    return [
        name
        for name, value in vars(wanted).items()
        if value is not None and _plain(getattr(present, name)) != _plain(value)
    ]


def _plain(value: object) -> object:
    """A value without the difference between nothing and not given, which servers do not keep."""
    if isinstance(value, Base):
        return {name: _plain(part) for name, part in vars(value).items() if part}
    return value or None


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
