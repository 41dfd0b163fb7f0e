"""Where messages come from: JetStream in memory by a clock of its own, or a real nats-server."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any, Protocol

import nats.errors
from memory_jetstream import MemoryJetStream, MemoryServer, Stored
from nats.aio.msg import Msg
from nats.js import JetStreamContext

from faults.clock import SetClock
from recorder_worker.bus.streams.consumers import Consumer, ConsumerLimits, consumers
from recorder_worker.bus.streams.topology import StreamLimits, streams

SECOND_NS = 1_000_000_000
WINDOW_S = 120.0
REAL_WINDOW_S = 1.0
ACK_WAIT_S = 30.0
REAL_ACK_WAIT_S = 1.0
FETCH_S = 0.05
LOOK_S = 0.01


class Broker(Protocol):
    """A server with the recorder's streams and consumers, and how time passes there."""

    def jetstream(self) -> Any: ...  # noqa: ANN401  (JetStreamContext, or what has its calls)

    async def take(self, stage: str) -> Msg | None:
        """The message that is due for a stage now."""
        ...

    async def pass_time(self, stages: Iterable[str]) -> bool:
        """Until a message is due again; False where none ever is."""
        ...

    async def forget_ids(self) -> None:
        """Until message ids of now are forgotten."""
        ...

    async def stored(self, pattern: str) -> list[Stored]:
        """Every message on subjects, in its order."""
        ...

    async def waiting(self) -> dict[str, int]:
        """For each stage, messages that were not delivered, or not acknowledged."""
        ...


def declared(ack_wait_s: float, window_s: float) -> tuple[Any, dict[str, Consumer]]:
    """The recorder's streams and consumers."""
    limits = StreamLimits(
        replicas=1, max_age_s=86_400, max_bytes=100_000_000, duplicate_window_s=window_s
    )
    waits = ConsumerLimits(
        lease_s=ack_wait_s,
        chunk_ack_wait_s=ack_wait_s,
        compress_ack_wait_s=ack_wait_s,
        merkle_ack_wait_s=ack_wait_s,
    )
    made = consumers(waits)
    return streams(limits), {
        name: Consumer(stream=each.stream, config=each.config.evolve(ack_wait=ack_wait_s))
        for name, each in made.items()
    }


class MemoryBroker:
    """A `Broker` in which time passes only when nothing else is left to do."""

    def __init__(self, clock: SetClock) -> None:
        self.clock = clock
        self.server = MemoryServer(*declared(ACK_WAIT_S, WINDOW_S), clock)

    def jetstream(self) -> MemoryJetStream:
        return MemoryJetStream(self.server)

    async def take(self, stage: str) -> Msg | None:
        return self.server.consumers[stage].take()

    async def pass_time(self, stages: Iterable[str]) -> bool:
        due = [self.server.consumers[stage].due_ns() for stage in stages]
        times = [each for each in due if each is not None]
        if times:
            self.clock.now_ns = max(self.clock.now_ns, min(times))
        return bool(times)

    async def forget_ids(self) -> None:
        self.clock.now_ns += round(2 * WINDOW_S * SECOND_NS)

    async def stored(self, pattern: str) -> list[Stored]:
        return self.server.all_of(pattern)

    async def waiting(self) -> dict[str, int]:
        return {
            name: len(each.pending) + each.waits for name, each in self.server.consumers.items()
        }


class RealBroker:
    """A `Broker` on a real nats-server: time passes there by itself."""

    def __init__(self, jetstream: JetStreamContext, made: dict[str, Consumer]) -> None:
        self._jetstream = jetstream
        self._consumers = made
        self._pulls: dict[str, JetStreamContext.PullSubscription] = {}

    def jetstream(self) -> JetStreamContext:
        return self._jetstream

    async def take(self, stage: str) -> Msg | None:
        if stage not in self._pulls:
            stream = self._consumers[stage].stream
            self._pulls[stage] = await self._jetstream.pull_subscribe_bind(stage, stream)
        if not (await self._info(stage))[0]:
            return None
        try:
            (message,) = await self._pulls[stage].fetch(1, timeout=FETCH_S)
        except nats.errors.TimeoutError:
            return None
        return message

    async def _info(self, stage: str) -> tuple[int, int]:
        """Messages that may come now, or soon; and those that wait for their answer."""
        info = await self._jetstream.consumer_info(self._consumers[stage].stream, stage)
        pending, unanswered = info.num_pending or 0, info.num_ack_pending or 0
        return pending + unanswered, unanswered

    async def pass_time(self, stages: Iterable[str]) -> bool:
        await asyncio.sleep(LOOK_S)
        return any([(await self._info(stage))[0] for stage in stages])

    async def forget_ids(self) -> None:
        await asyncio.sleep(REAL_WINDOW_S * 2)  # the one thing that only time shows

    async def stored(self, pattern: str) -> list[Stored]:
        found = []
        for stream in await self._jetstream.streams_info():
            state, name = stream.state, stream.config.name or ""
            if not any(_may_hold(each, pattern) for each in stream.config.subjects or []):
                continue
            sequence = state.first_seq
            while sequence <= state.last_seq:
                try:
                    message = await self._jetstream.get_msg(
                        name, seq=sequence, subject=pattern, direct=True, next=True
                    )
                except nats.js.errors.NotFoundError:
                    break
                sequence = (message.seq or sequence) + 1
                found.append(
                    Stored(
                        message.subject or "",
                        message.seq or 0,
                        0,
                        message.data or b"",
                        dict(message.headers or {}),
                    )
                )
        return found

    async def waiting(self) -> dict[str, int]:
        return {stage: (await self._info(stage))[0] for stage in self._consumers}


def _may_hold(subject: str, pattern: str) -> bool:
    """Whether a stream's subject and a pattern can have a message in common."""
    pairs = zip(subject.split("."), pattern.split("."), strict=False)
    return all(one == other or {one, other} & {"*", ">"} for one, other in pairs)
