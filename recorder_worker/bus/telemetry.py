"""What is counted and traced of every message that comes in and every event that goes out.

Which stage an event goes out of is known by the context in which it is published: a handler's, and
that of every task and thread that it starts.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar

from nats.aio.msg import Msg

from recorder_worker.bus.dead_letters.tried_again import original_of
from recorder_worker.core.command_parsing import session_id_in
from recorder_worker.core.ids import command_id, session_id_for
from recorder_worker.core.pipeline import CAPTURE
from recorder_worker.core.subjects import UNKNOWN_SESSION, Command, Fact, session_of
from recorder_worker.ports import NoTracing, Published, StageMetrics, Taken, Tracing

MESSAGE_ID = "Nats-Msg-Id"
TRACEPARENT = "traceparent"
NO_STAGE = "none"
"""The stage of what is published outside of any handler."""

_STAGE: ContextVar[str] = ContextVar("stage", default=NO_STAGE)


class Telemetry:
    """Tells metrics and tracing; `NoTracing` is not even told what a message is about."""

    def __init__(self, metrics: StageMetrics, tracing: Tracing | None = None) -> None:
        self._metrics = metrics
        self._tracing = tracing or NoTracing()
        self._traced = not isinstance(self._tracing, NoTracing)

    @contextmanager
    def handling(self, stage: str, message: Msg) -> Iterator[None]:
        """While a stage works on a message."""
        again = message.metadata.num_delivered > 1
        self._metrics.received(stage, len(message.data), again=again)
        began_s = time.monotonic()
        outcome = "error"
        token = _STAGE.set(stage)
        try:
            if self._traced:
                with self._tracing.handling(taken(stage, message)):
                    yield
            else:
                yield
            outcome = "ok"
        finally:
            _STAGE.reset(token)
            self._metrics.handled(stage, outcome, time.monotonic() - began_s)

    def published(
        self, fact: Fact, session_id: str, headers: Mapping[str, str], size: int, began_ns: int
    ) -> None:
        """An event was stored for the first time."""
        self._metrics.published(_STAGE.get(), size)
        if self._traced:
            self._tracing.published(
                Published(
                    fact=fact,
                    session_id=session_id,
                    traceparent=headers.get(TRACEPARENT, ""),
                    size=size,
                    began_ns=began_ns,
                )
            )


def taken(stage: str, message: Msg) -> Taken:
    """What tracing has to know of a message."""
    metadata, message = message.metadata, original_of(message)
    return Taken(
        stage=stage,
        kind=_kind(message.subject),
        session_id=_session_of(message),
        traceparent=(message.headers or {}).get(TRACEPARENT, ""),
        size=len(message.data),
        deliveries=metadata.num_delivered,
        stored_ns=_stored_ns(message),
        lease=stage == CAPTURE.name,
    )


def _kind(subject: str) -> str:
    name = subject.rpartition(".")[0]
    return name if name in set(Fact) else subject


def _session_of(message: Msg) -> str:
    """The session of a fact, else the one that a body names, else the one that a start will get."""
    subject = message.subject
    if subject.rpartition(".")[0] in set(Fact):
        return session_of(subject)
    named = session_id_in(message.data)
    if named != UNKNOWN_SESSION or subject != Command.START:
        return named
    given = (message.headers or {}).get(MESSAGE_ID)
    stored_ns = _stored_ns(message)
    sequence = message.metadata.sequence.stream
    return session_id_for(command_id(given, sequence, stored_ns, message.data), stored_ns)


def _stored_ns(message: Msg) -> int:
    return round(message.metadata.timestamp.timestamp() * 1_000_000) * 1000
