"""The bus of one worker process: a connection, the topology, the event log, the subscribers."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import msgspec
import nats.errors
import structlog
from nats.aio.client import Client
from nats.js import JetStreamContext
from nats.js.errors import NotFoundError

from recorder_worker.bus.attempts.attempts import Attempts
from recorder_worker.bus.attempts.memory_book import MemoryBook
from recorder_worker.bus.audit_stream import JetStreamAuditStream
from recorder_worker.bus.backlog import OldestWaiting
from recorder_worker.bus.connection.broker import (
    ConnectionCallbacks,
    Login,
    connect,
    make_broker,
    unreachable,
)
from recorder_worker.bus.control_feed import JetStreamControlFeed
from recorder_worker.bus.dead_letters.book import DeadLetterBook
from recorder_worker.bus.disposition import Disposition, LastResort, RetryLimits
from recorder_worker.bus.event_log import TRANSIENT, JetStreamEventLog
from recorder_worker.bus.frame_feed import NatsFrameFeed
from recorder_worker.bus.headers import EventHeaders
from recorder_worker.bus.rights.stage_rights import used_streams, workers
from recorder_worker.bus.sessions.roster import SessionRoster
from recorder_worker.bus.streams.apply import apply_topology, require_topology
from recorder_worker.bus.streams.consumers import ConsumerLimits, consumers
from recorder_worker.bus.streams.copies import JetStreamCopies
from recorder_worker.bus.streams.topology import COMMANDS_STREAM, StreamLimits, streams
from recorder_worker.bus.subscriptions import StageSubscription
from recorder_worker.bus.telemetry import Telemetry
from recorder_worker.core.errors import BusUnavailableError, TopologyError
from recorder_worker.core.pipeline import CAPTURE
from recorder_worker.ports import AttemptBook, StageMetrics, Tracing

log = structlog.get_logger(__name__)


class BusSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that the bus has to know."""

    login: Login
    node: str
    manage: bool = True
    streams: StreamLimits
    consumers: ConsumerLimits
    retry: RetryLimits


class Backlog(msgspec.Struct, frozen=True):
    """What JetStream says about a stage's consumer.

    `redelivered` are the messages that are un-acked and were delivered more than once; `oldest_ns`
    is when the message that waits longest was stored, 0 where none waits.
    """

    pending: int
    ack_pending: int
    redelivered: int = 0
    oldest_ns: int = 0


class StreamFill(msgspec.Struct, frozen=True):
    """How much a stream holds, and may hold; the latter is not positive where nothing limits it."""

    stored_bytes: int
    max_bytes: int
    messages: int = 0


class Bus:
    """Register the stages, then `start`; `stop` waits for the handlers that run."""

    def __init__(
        self,
        settings: BusSettings,
        metrics: StageMetrics,
        tracing: Tracing | None = None,
        book: AttemptBook | None = None,
    ) -> None:
        self._settings = settings
        self._telemetry = Telemetry(metrics, tracing)
        self._last_resorts: dict[str, LastResort] = {}
        retry = settings.retry
        self.attempts = Attempts(book or MemoryBook(), retry.max_crashes, metrics)
        disposition = Disposition(retry, metrics, self._last_resorts, self.attempts)
        callbacks = ConnectionCallbacks(
            disconnected_cb=self._on_lost,
            reconnected_cb=self._on_back,
            closed_cb=self._on_closed,
        )
        self._broker = make_broker(settings.login, [disposition], callbacks)
        self._stopping = False
        self._lost = asyncio.Event()
        self._consumers = consumers(settings.consumers)
        self._registered: list[str] = []
        self._subscriptions: dict[str, StageSubscription[Any]] = {}
        self.log = JetStreamEventLog(
            self.jetstream, EventHeaders(settings.node), self._telemetry.published
        )
        self.roster = SessionRoster(self.jetstream)
        self._oldest = OldestWaiting(self.jetstream)
        self.copies = JetStreamCopies(self.jetstream, EventHeaders(settings.node))
        self.controls = JetStreamControlFeed()
        self.audit = JetStreamAuditStream(self.jetstream)
        self.dead_letters = DeadLetterBook(self.jetstream, EventHeaders(settings.node))
        self.frames = NatsFrameFeed(settings.login)

    @property
    def connected(self) -> bool:
        """Whether NATS is there at this moment."""
        state = self._broker.config.connection_state
        return bool(state) and self._broker.client.is_connected

    @property
    def reconnects(self) -> int:
        """How often the connection was lost and came back."""
        state = self._broker.config.connection_state
        return int(self._broker.client.stats["reconnects"]) if state else 0

    @property
    def client(self) -> Client:
        """The connection itself, once there is one."""
        return self._broker.client

    async def until_lost(self) -> None:
        """Wait for the end of the connection that nobody here asked for.

        nats-py looks for a server for ever, also where the login is refused; but where the server
        ends the connection with another error (a login that expired), it gives up.

        Raises:
            BusUnavailableError: that is so; always.
        """
        await self._lost.wait()
        error = self._broker.client.last_error or nats.errors.ConnectionClosedError()
        raise unreachable(error, self._settings.login)

    async def _on_lost(self) -> None:
        if self._broker.client.is_reconnecting:
            log.warning("BusLost", nats=self._settings.login.shown)

    async def _on_back(self) -> None:
        log.info("BusBack", nats=self._settings.login.shown)

    async def _on_closed(self) -> None:
        if not self._stopping:
            log.error("BusClosed", error=str(self._broker.client.last_error))
            self._lost.set()

    def jetstream(self) -> JetStreamContext:
        """JetStream on the present connection."""
        return self._broker.jetstream

    def register(
        self,
        stage: str,
        handle: Callable[[Any], Awaitable[None]],
        *,
        decode: Callable[[Any], Any],
        workers: int,
        progressed: Callable[[], None],
        last_resort: LastResort | None = None,
    ) -> None:
        """Let a stage's handler take messages, as many at once as `workers`."""
        if last_resort is not None:
            self._last_resorts[stage] = last_resort
        subscription = StageSubscription(
            stage,
            self._consumers[stage],
            handle,
            decode=decode,
            telemetry=self._telemetry,
            attempts=self.attempts,
            progressed=progressed,
        )
        subscription.register(self._broker, workers)
        self._subscriptions[stage] = subscription
        self._registered.append(stage)

    async def take_no_more(self, stage: str) -> None:
        """Ask for no more messages of a stage, which it may still give back."""
        await self._subscriptions[stage].take_no_more()

    async def start(self) -> None:
        """Connect, bring the server to the declared shape or see that it has it, consume.

        Raises:
            BusUnavailableError: no server, it refuses the login, or went away meanwhile.
            TopologyError: it refuses the declared streams or consumers, or lacks them and they
                are not ours to make.
        """
        await connect(self._broker, self._settings.login)
        try:
            await self._bring_to_shape()
            if CAPTURE.name in self._registered:
                self.frames.start()
                await self.controls.start(self._broker.client)
            await self._broker.start()
        except TRANSIENT as error:
            raise BusUnavailableError(
                f"NATS at {self._settings.login.shown} went away while this worker started: "
                f"{error!r}; start it again once the server answers"
            ) from error

    async def _bring_to_shape(self) -> None:
        declared = streams(self._settings.streams)
        if self._settings.manage:
            await apply_topology(self.jetstream(), declared, self._consumers)
            return
        ours = {name: self._consumers[name] for name in self._registered}
        used = {
            stream
            for name in ours
            if name in workers()
            for stream in used_streams(
                name, self._settings.streams.token_buckets, self._settings.streams.object_bucket
            )
        }
        await require_topology(self.jetstream(), tuple(s for s in declared if s.name in used), ours)

    async def stop(self) -> None:
        """Take no more messages, let handlers end, close the connection.

        Raises:
            BusUnavailableError: the server is away, so that nothing could be handed back to it.
        """
        self._stopping = True
        try:
            await self._broker.stop()
        except (nats.errors.Error, ExceptionGroup) as error:
            # FastStream gathers what its subscribers raise; other than of NATS it is a defect.
            if isinstance(error, ExceptionGroup) and error.split(nats.errors.Error)[1]:
                raise
            # Draining needs a server. Without one the client would look for it for ever.
            with suppress(nats.errors.Error, OSError):
                await self._broker.client.close()
            raise BusUnavailableError(f"NATS went away before the end: {error!r}") from error

    async def restore(self, stage: str) -> None:
        """Make the consumer of a stage again. Raises TopologyError: it is not ours to make."""
        if not self._settings.manage:
            raise TopologyError(
                f"consumer {self._consumers[stage].stream}/{stage} is gone; this worker may not "
                "make it (nats.manage is off): run `recorder streams apply` as the user deploy"
            )
        await apply_topology(self.jetstream(), (), {stage: self._consumers[stage]})

    async def backlog(self, stage: str) -> Backlog:
        """How much waits for a stage.

        Raises:
            LookupError: its consumer is gone from the server.
            TimeoutError: no answer.
        """
        consumer = self._consumers[stage]
        try:
            info = await self.jetstream().consumer_info(consumer.stream, stage)
            oldest_ns = await self._oldest.stored_ns(consumer, info) if self._may_look(stage) else 0
        except NotFoundError as error:
            raise LookupError(f"consumer {consumer.stream}/{stage} is gone") from error
        except (nats.errors.Error, OSError) as error:
            raise TimeoutError(f"no answer about {consumer.stream}/{stage}: {error!r}") from error
        return Backlog(
            info.num_pending or 0, info.num_ack_pending or 0, info.num_redelivered or 0, oldest_ns
        )

    def _may_look(self, stage: str) -> bool:
        """Whether its messages are ours to look at: commands may carry the tokens of others."""
        stream = self._consumers[stage].stream
        ours = CAPTURE.name in self._registered
        return self._settings.manage or stream != COMMANDS_STREAM or ours

    async def fill(self, stream: str) -> StreamFill:
        """How full a stream is.

        Raises:
            LookupError: it is gone from the server.
            TimeoutError: no answer.
        """
        try:
            info = await self.jetstream().stream_info(stream)
        except NotFoundError as error:
            raise LookupError(f"stream {stream} is gone") from error
        except (nats.errors.Error, OSError) as error:
            raise TimeoutError(f"no answer about stream {stream}: {error!r}") from error
        return StreamFill(info.state.bytes, info.config.max_bytes or 0, info.state.messages)
