"""What the doctor asks a server about streams and consumers."""

from __future__ import annotations

import asyncio

import msgspec
import nats.errors
from nats.js import JetStreamContext
from nats.js.api import ConsumerConfig, ConsumerInfo, StreamConfig
from nats.js.errors import APIError, NotFoundError

from recorder_worker.bus.backlog import OldestWaiting
from recorder_worker.bus.bus import BusSettings, StreamFill
from recorder_worker.bus.inspection.harm import takes_away
from recorder_worker.bus.streams.apply import Difference, apply_topology, differences
from recorder_worker.bus.streams.consumers import Consumer, consumers
from recorder_worker.bus.streams.topology import COMMANDS_STREAM, streams
from recorder_worker.core.errors import TopologyError

Shape = StreamConfig | ConsumerConfig

ASKING_TRIES = 12
ASKING_PAUSE_S = 0.25
"""Between two pull requests of a worker there is a moment without one."""


class QueueSeen(msgspec.Struct, frozen=True, kw_only=True):
    """A stage's consumer: what waits, and whether anybody asks for it.

    `oldest_ns` is when the message that waits longest was stored; 0: none, or nobody may look.
    """

    stage: str
    stream: str
    pending: int
    ack_pending: int
    redelivered: int
    oldest_ns: int
    asked_for: bool


class Drift(msgspec.Struct, frozen=True, kw_only=True):
    """A stream or consumer that is not as declared; `harmful`: what mending it may take away."""

    difference: Difference
    harmful: tuple[str, ...] = ()


class Inspector:
    """Asks one server, by the settings of the workers."""

    def __init__(self, jetstream: JetStreamContext, settings: BusSettings) -> None:
        self._js = jetstream
        self._streams = streams(settings.streams)
        self._consumers = consumers(settings.consumers)
        self._oldest = OldestWaiting(lambda: jetstream)

    async def drift(self) -> list[Drift]:
        """What is not as declared. Raises TopologyError: no answer."""
        return [
            Drift(difference=difference, harmful=await self._harmful(difference))
            for difference in await differences(self._js, self._streams, self._consumers)
        ]

    async def _harmful(self, difference: Difference) -> tuple[str, ...]:
        """The settings of which less is declared than there is."""
        if difference.missing:
            return ()
        try:
            present, declared = await self._both(difference)
        except (nats.errors.Error, APIError) as error:
            raise TopologyError(f"{difference}: no answer: {error!r}") from error
        return tuple(name for name in difference.fields if takes_away(name, present, declared))

    async def _both(self, difference: Difference) -> tuple[Shape, Shape]:
        if difference.kind == "stream":
            declared = {stream.name: stream for stream in self._streams}[difference.name]
            return (await self._js.stream_info(difference.name)).config, declared
        stream, _, stage = difference.name.partition("/")
        info = await self._js.consumer_info(stream, stage)
        return info.config, self._consumers[stage].config

    async def mend(self, drift: Drift) -> None:
        """Bring one stream or consumer to its declared shape. Raises TopologyError."""
        if drift.harmful:
            raise TopologyError(
                f"{drift.difference}: mending it would take something away: "
                f"{', '.join(drift.harmful)}"
            )
        name = drift.difference.name
        wanted = tuple(stream for stream in self._streams if stream.name == name)
        queues = {
            stage: consumer
            for stage, consumer in self._consumers.items()
            if f"{consumer.stream}/{stage}" == name
        }
        await apply_topology(self._js, wanted, queues)

    async def queues(self) -> list[QueueSeen]:
        """What waits for each stage whose consumer is there. Raises TimeoutError."""
        return [
            seen
            for stage, consumer in self._consumers.items()
            if (seen := await self._queue(stage, consumer)) is not None
        ]

    async def _queue(self, stage: str, consumer: Consumer) -> QueueSeen | None:
        info = await self._info(stage, consumer)
        if info is None:
            return None
        pending, working = info.num_pending or 0, info.num_ack_pending or 0
        # Commands may carry the tokens of others: they are not ours to look at.
        may_look = consumer.stream != COMMANDS_STREAM and bool(pending or working)
        oldest_ns = await self._oldest.stored_ns(consumer, info) if may_look else 0
        return QueueSeen(
            stage=stage,
            stream=consumer.stream,
            pending=pending,
            ack_pending=working,
            redelivered=info.num_redelivered or 0,
            oldest_ns=oldest_ns,
            asked_for=not pending or await self._is_asked_for(stage, consumer, info),
        )

    async def _is_asked_for(self, stage: str, consumer: Consumer, info: ConsumerInfo) -> bool:
        """Whether somebody has a pull request out, or takes messages."""
        taken = info.delivered.consumer_seq if info.delivered else 0
        now: ConsumerInfo | None = info
        for _ in range(ASKING_TRIES):
            if now is None:
                return False
            if now.num_waiting or (now.delivered and now.delivered.consumer_seq != taken):
                return True
            await asyncio.sleep(ASKING_PAUSE_S)
            now = await self._info(stage, consumer)
        return False

    async def _info(self, stage: str, consumer: Consumer) -> ConsumerInfo | None:
        try:
            info: ConsumerInfo = await self._js.consumer_info(consumer.stream, stage)
        except NotFoundError:
            return None
        except (nats.errors.Error, OSError) as error:
            raise TimeoutError(f"no answer about {consumer.stream}/{stage}: {error!r}") from error
        return info

    async def fills(self) -> dict[str, StreamFill]:
        """How full each stream is that is there. Raises TimeoutError."""
        found = {}
        for stream in self._streams:
            name = stream.name or ""
            try:
                info = await self._js.stream_info(name)
            except NotFoundError:
                continue
            except (nats.errors.Error, OSError) as error:
                raise TimeoutError(f"no answer about stream {name}: {error!r}") from error
            state = info.state
            found[name] = StreamFill(state.bytes, info.config.max_bytes or 0, state.messages)
        return found
