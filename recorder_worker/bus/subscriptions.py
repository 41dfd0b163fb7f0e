"""FastStream subscribers of the stages: one durable pull consumer each, N subscribers on it.

Each subscriber fetches one message at a time and is free again when its handler returns, so a
message is never held by a worker that has no hands for it, and every message that is held is
covered by a heartbeat.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from enum import StrEnum
from typing import Any, Generic, TypeVar

import msgspec
import nats.errors
import structlog
from faststream import AckPolicy
from faststream.nats import JStream, NatsMessage, PullSub
from nats.aio.msg import Msg

from recorder_worker.bus import codec
from recorder_worker.bus.attempts.attempts import Attempts
from recorder_worker.bus.connection.broker import RecorderBroker
from recorder_worker.bus.connection.mended import ask_no_more
from recorder_worker.bus.dead_letters.tried_again import (
    COMMAND_HEADER,
    is_again,
    original_of,
    original_place,
)
from recorder_worker.bus.event_log import MESSAGE_ID
from recorder_worker.bus.rights.bearer import bearer_in
from recorder_worker.bus.streams.consumers import Consumer
from recorder_worker.bus.telemetry import Telemetry
from recorder_worker.core.errors import NewerVersionError
from recorder_worker.core.ids import command_id
from recorder_worker.core.subjects import Command, Fact
from recorder_worker.ports import Delivery, FactMessage, Logged

T = TypeVar("T")
Named = TypeVar("Named", bound=StrEnum)

FETCH_TIMEOUT_S = 1
"""A pull request that a dead server swallowed blocks its subscriber for this long."""

DEFAULT_ACK_WAIT_S = 30.0
"""That of a consumer which names none."""


class Incoming(msgspec.Struct, Generic[T], frozen=True):
    """What a handler gets: the decoded value and the message that it came in."""

    value: T
    message: NatsMessage


class StageSubscription(Generic[T]):
    """The subscribers of one stage in this process."""

    def __init__(
        self,
        stage: str,
        consumer: Consumer,
        handle: Callable[[T], Awaitable[None]],
        *,
        decode: Callable[[Msg], T],
        telemetry: Telemetry,
        attempts: Attempts,
        progressed: Callable[[], None],
    ) -> None:
        self._stage = stage
        self._consumer = consumer
        self._handle = handle
        self._decode = decode
        self._telemetry = telemetry
        self._attempts = attempts
        self._progressed = progressed
        self._subscribers: list[Any] = []

    def register(self, broker: RecorderBroker, workers: int) -> None:
        """Add the subscribers to a broker that is not started yet."""
        config = self._consumer.config
        for _ in range(workers):
            subscriber = broker.subscriber(
                config.filter_subject or "",
                stream=JStream(self._consumer.stream, declare=False),
                durable=config.durable_name,
                config=config,
                decoder=self._incoming,
                pull_sub=PullSub(batch_size=1, timeout=FETCH_TIMEOUT_S),
                ack_policy=AckPolicy.NACK_ON_ERROR,
                no_reply=True,
            )
            subscriber(self._consume)
            self._subscribers.append(subscriber)

    async def take_no_more(self) -> None:
        """Ask for no more messages; those that are being handled go on. Waits for what was asked.

        A message that is given back behind this comes to other workers alone.
        """
        asking = [one.subscription for one in self._subscribers if one.subscription is not None]
        await asyncio.gather(*map(ask_no_more, asking))

    async def _incoming(self, message: NatsMessage) -> Incoming[T]:
        return Incoming(self._decode(message.raw_message), message)

    async def _consume(self, incoming: Incoming[T]) -> None:
        message = incoming.message.raw_message
        # Of the task that FastStream makes for each message, so it is of this one alone.
        structlog.contextvars.bind_contextvars(stage=self._stage)
        with (
            self._telemetry.handling(self._stage, message),
            self._heartbeat(incoming.message),
        ):
            async with self._attempts.attempt(message):
                await self._handle(incoming.value)
        # Only what succeeds is progress: a stage that does nothing but fail is not ready.
        self._progressed()

    @contextmanager
    def _heartbeat(self, message: NatsMessage) -> Iterator[None]:
        """Tell the server that the message is being worked on, while it is.

        Nearly every handler has returned long before: only one that has not gets a task for it.
        """
        loop = asyncio.get_running_loop()
        every_s = (self._consumer.config.ack_wait or DEFAULT_ACK_WAIT_S) / 3
        tasks: list[asyncio.Task[None]] = []

        async def beat() -> None:
            while True:
                with suppress(nats.errors.Error, OSError):
                    await message.in_progress()
                await asyncio.sleep(every_s)

        timer = loop.call_later(every_s, lambda: tasks.append(loop.create_task(beat())))
        try:
            yield
        finally:
            timer.cancel()
            for task in tasks:
                task.cancel()


def decode_command(message: Msg) -> Delivery:
    """A command message with what identifies it; its body is not looked at yet."""
    metadata, headers = message.metadata, message.headers or {}
    stored_ns = received_ns = round(metadata.timestamp.timestamp() * 1_000_000) * 1000
    sequence = metadata.sequence.stream
    command = _known(Command, original_of(message).subject)
    known = headers.get(COMMAND_HEADER) if is_again(message) else None
    if known is not None and command is Command.START:
        # The lease is the first message's: what it began goes on. A command to a session that is
        # tried again is a new one, behind those that were obeyed meanwhile.
        sequence, received_ns = original_place(message)
    return Delivery(
        command=command,
        body=message.data,
        command_id=known
        or command_id(headers.get(MESSAGE_ID), sequence, received_ns, message.data),
        sequence=sequence,
        received_ns=received_ns,
        deliveries=metadata.num_delivered,
        bearer=bearer_in(headers),
        asked_ns=stored_ns,
        place=metadata.sequence.stream,
    )


def decode_fact(message: Msg) -> FactMessage:
    """A fact of any kind about a session, decoded strictly.

    Raises:
        NewerVersionError: the consumer has a subject, or the event a version, of a newer recorder.
    """
    name, _, session_id = original_of(message).subject.rpartition(".")
    fact = _known(Fact, name)
    return FactMessage(fact, session_id, codec.decode(fact, message.data))


def _known(kind: type[Named], name: str) -> Named:
    """Recorders alone declare consumers: a subject that is none of ours is a newer one's."""
    try:
        return kind(name)
    except ValueError as error:
        raise NewerVersionError(
            f"{name}: expected a subject that this program knows; a newer recorder has given it to "
            "this consumer: update this program"
        ) from error


def decoder_of(fact: Fact) -> Callable[[Msg], Any]:
    """Decodes the events of one fact, strictly."""
    return lambda message: codec.decode(fact, message.data)


def decode_captured(message: Msg) -> Logged:
    """A captured event and where it stands in the log; 0 where it is tried again from elsewhere."""
    sequence = 0 if is_again(message) else message.metadata.sequence.stream
    key = (message.headers or {}).get(MESSAGE_ID, "")
    return Logged(codec.decode(Fact.CAPTURED, message.data), sequence, key)
