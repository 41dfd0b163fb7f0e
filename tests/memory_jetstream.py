"""JetStream in memory, by a clock that a test moves: streams, fences, message ids, redelivery.

Only as much as the recorder uses, with the server's own contract: the same suite runs against it
and against a real nats-server (`tests/contract/test_jetstream.py`). The messages that it gives out
are those of nats-py, so the recorder's code above them is the real one.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from types import SimpleNamespace
from typing import Any, Protocol

import nats.errors
from nats.aio.msg import Msg
from nats.js.api import PubAck, RawStreamMsg, StreamConfig
from nats.js.errors import BadRequestError, NotFoundError

from recorder_worker.bus.event_log import FENCE, FENCED_SUBJECT, MESSAGE_ID, WRONG_LAST_SEQUENCE
from recorder_worker.bus.streams.consumers import Consumer

SECOND_NS = 1_000_000_000
NO_MESSAGE = 10037
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Ticking(Protocol):
    """What the server's time is."""

    def wall_ns(self) -> int: ...


@lru_cache(maxsize=10_000)  # a session has few subjects, which are asked for a million times
def matches(pattern: str, subject: str) -> bool:
    """Whether a subject falls under a pattern with `*` and `>`."""
    wanted, found = pattern.split("."), subject.split(".")
    for place, token in enumerate(wanted):
        if token == ">":
            return len(found) > place
        if place >= len(found) or token not in ("*", found[place]):
            return False
    return len(wanted) == len(found)


@dataclass(frozen=True)
class Stored:
    """A message in a stream."""

    subject: str
    seq: int
    stored_ns: int
    data: bytes
    headers: dict[str, str]


class MemoryStream:
    """One stream. A message is stored, found to be a copy, or refused by its fence."""

    def __init__(self, config: StreamConfig, clock: Ticking) -> None:
        self.config = config
        self._clock = clock
        self.messages: dict[int, Stored] = {}
        self.last_seq = 0
        self._ids: dict[str, tuple[int, int]] = {}

    def publish(self, subject: str, data: bytes, headers: dict[str, str]) -> PubAck:
        """As the server: first the fence, then the message id, and only then it is stored."""
        now_ns = self._clock.wall_ns()
        fence = headers.get(FENCE)
        if fence is not None:
            last = self.last(headers.get(FENCED_SUBJECT, subject))
            found = last.seq if last else 0
            if found != int(fence):
                raise BadRequestError(
                    code=400,
                    err_code=WRONG_LAST_SEQUENCE,
                    description=f"wrong last sequence: {found}",
                )
        key = headers.get(MESSAGE_ID)
        window_ns = round((self.config.duplicate_window or 120) * SECOND_NS)
        if key is not None:
            seq, at_ns = self._ids.get(key, (0, 0))
            if seq and now_ns - at_ns < window_ns:
                return PubAck(stream=self.config.name or "", seq=seq, duplicate=True)
        self.last_seq += 1
        self.messages[self.last_seq] = Stored(subject, self.last_seq, now_ns, data, dict(headers))
        if key is not None:
            self._ids[key] = (self.last_seq, now_ns)
        self._keep_newest(subject)
        return PubAck(stream=self.config.name or "", seq=self.last_seq)

    def forget_ids(self) -> None:
        """As a server does that was down for longer than its window."""
        self._ids.clear()

    def _keep_newest(self, subject: str) -> None:
        most = self.config.max_msgs_per_subject or -1
        if most > 0:
            held = [seq for seq, each in self.messages.items() if each.subject == subject]
            for seq in held[:-most]:
                del self.messages[seq]

    def last(self, pattern: str) -> Stored | None:
        """The last message under a pattern."""
        return next(
            (
                message
                for message in reversed(self.messages.values())
                if matches(pattern, message.subject)
            ),
            None,
        )

    def behind(self, seq: int, patterns: Iterable[str]) -> Stored | None:
        """The first message from a sequence on that is under one of the patterns."""
        if seq > self.last_seq:
            return None
        wanted = tuple(patterns)
        for message in self.messages.values():
            if message.seq >= seq and any(matches(one, message.subject) for one in wanted):
                return message
        return None


@dataclass
class _Pending:
    """A delivered message that waits for its answer, or to be delivered again."""

    deliveries: int
    due_ns: int


@dataclass
class MemoryConsumer:
    """A durable pull consumer: what it gave out comes again until it is acknowledged."""

    stream: MemoryStream
    name: str
    patterns: tuple[str, ...]
    ack_wait_ns: int
    max_ack_pending: int
    clock: Ticking
    next_seq: int = 1
    delivered: int = 0
    pending: dict[int, _Pending] = field(default_factory=dict)

    def take(self) -> Msg | None:
        """The message that is to be delivered now; None where none is."""
        now_ns = self.clock.wall_ns()
        again = [seq for seq, held in sorted(self.pending.items()) if held.due_ns <= now_ns]
        if again:
            return self._give(self.stream.messages[again[0]], now_ns)
        if 0 < self.max_ack_pending <= len(self.pending):
            return None
        found = self.stream.behind(self.next_seq, self.patterns)
        if found is None:
            return None
        self.next_seq = found.seq + 1
        return self._give(found, now_ns)

    def due_ns(self) -> int | None:
        """When the next message is to be delivered, if nothing new comes; None: never."""
        if self.waits:
            return self.clock.wall_ns()
        return min((held.due_ns for held in self.pending.values()), default=None)

    @property
    def waits(self) -> bool:
        """Whether a message that was never delivered may be delivered now."""
        full = 0 < self.max_ack_pending <= len(self.pending)
        return not full and self.stream.behind(self.next_seq, self.patterns) is not None

    def _give(self, stored: Stored, now_ns: int) -> Msg:
        held = self.pending.setdefault(stored.seq, _Pending(0, 0))
        held.deliveries += 1
        held.due_ns = now_ns + self.ack_wait_ns
        self.delivered += 1
        reply = (
            f"$JS.ACK.{self.stream.config.name}.{self.name}.{held.deliveries}.{stored.seq}."
            f"{self.delivered}.{stored.stored_ns}.0"
        )
        client: Any = _Answers(self)
        return Msg(client, stored.subject, reply, stored.data, dict(stored.headers) or None)

    def answer(self, seq: int, verb: bytes, options: bytes) -> None:
        """An answer to a message, of whichever of its deliveries; to none that waits: nothing."""
        held = self.pending.get(seq)
        if held is None:
            return
        now_ns = self.clock.wall_ns()
        if verb in (b"", Msg.Ack.Ack, Msg.Ack.Term):
            del self.pending[seq]
        elif verb == Msg.Ack.Progress:
            held.due_ns = now_ns + self.ack_wait_ns
        elif verb == Msg.Ack.Nak:
            held.due_ns = now_ns + (json.loads(options)["delay"] if options else 0)
        else:
            raise AssertionError(f"an answer that no server knows: {verb!r}")


@dataclass(frozen=True)
class _Answers:
    """The connection that a message came by, as far as its answers need one."""

    consumer: MemoryConsumer

    async def publish(self, reply: str, payload: bytes = b"") -> None:
        verb, _, options = payload.partition(b" ")
        self.consumer.answer(int(reply.split(".")[5]), verb, options)


class MemoryServer:
    """Streams and consumers as the recorder declares them."""

    def __init__(
        self, streams: Iterable[StreamConfig], consumers: dict[str, Consumer], clock: Ticking
    ) -> None:
        self.clock = clock
        self.streams = {each.name or "": MemoryStream(each, clock) for each in streams}
        self.consumers = {
            name: MemoryConsumer(
                stream=self.streams[each.stream],
                name=name,
                patterns=tuple(
                    each.config.filter_subjects or [each.config.filter_subject or ">"],
                ),
                ack_wait_ns=round((each.config.ack_wait or 30) * SECOND_NS),
                max_ack_pending=each.config.max_ack_pending or 1000,
                clock=clock,
            )
            for name, each in consumers.items()
        }

    def stream_of(self, subject: str) -> MemoryStream:
        """The stream that takes a subject."""
        for stream in self.streams.values():
            if any(matches(one, subject) for one in stream.config.subjects or []):
                return stream
        raise nats.errors.NoRespondersError

    def all_of(self, pattern: str) -> list[Stored]:
        """Every message under a pattern, in its order."""
        found = [
            message
            for stream in self.streams.values()
            for message in stream.messages.values()
            if matches(pattern, message.subject)
        ]
        return sorted(found, key=lambda each: each.seq)


class MemoryJetStream:
    """The calls of nats-py's JetStreamContext that the recorder makes."""

    def __init__(self, server: MemoryServer) -> None:
        self._server = server

    async def publish(
        self,
        subject: str,
        payload: bytes = b"",
        timeout: float | None = None,  # noqa: ASYNC109  (nats-py's own parameter)
        stream: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> PubAck:
        del timeout
        found = self._server.stream_of(subject)
        assert stream in (None, found.config.name), f"{subject} is not of {stream}"
        return found.publish(subject, payload, headers or {})

    async def get_last_msg(
        self, stream_name: str, subject: str, *, direct: bool = False
    ) -> RawStreamMsg:
        del direct
        return _raw(stream_name, self._server.streams[stream_name].last(subject))

    async def get_msg(
        self,
        stream_name: str,
        seq: int | None = None,
        subject: str | None = None,
        *,
        direct: bool = False,
        next: bool = False,  # noqa: A002  (nats-py's own parameter)
    ) -> RawStreamMsg:
        del direct
        stream = self._server.streams[stream_name]
        assert seq is not None
        if next:
            return _raw(stream_name, stream.behind(seq, (subject or ">",)))
        return _raw(stream_name, stream.messages.get(seq))

    async def stream_info(self, name: str) -> Any:  # noqa: ANN401  (only its state is read)
        stream = self._server.streams[name]
        first = min(stream.messages, default=stream.last_seq + 1)
        return SimpleNamespace(state=SimpleNamespace(first_seq=first, last_seq=stream.last_seq))


def _raw(stream: str, found: Stored | None) -> RawStreamMsg:
    if found is None:
        raise NotFoundError(code=404, err_code=NO_MESSAGE, description="no message found")
    return RawStreamMsg(
        subject=found.subject,
        seq=found.seq,
        data=found.data,
        headers=dict(found.headers),
        stream=stream,
        time=_EPOCH + timedelta(microseconds=found.stored_ns // 1000),
    )
