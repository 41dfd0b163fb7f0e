"""How the way of one session through the stages is told to whoever traces it."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Protocol

import msgspec

from recorder_worker.core.subjects import Fact


class Taken(msgspec.Struct, frozen=True, kw_only=True):
    """A message that a stage has been given.

    Attributes:
        stage: the consumer.
        kind: its subject without a session's id: few values, for names of spans.
        session_id: the session that it is about; empty where none can be told.
        traceparent: W3C trace context of whoever published it; empty: none.
        size: bytes of its body.
        deliveries: how often it was delivered, this time included.
        stored_ns: when its stream stored it.
        lease: whether it is held for as long as a session lasts.
    """

    stage: str
    kind: str
    session_id: str
    traceparent: str
    size: int
    deliveries: int
    stored_ns: int
    lease: bool


class Published(msgspec.Struct, frozen=True, kw_only=True):
    """An event that a stream has stored, and since when that was tried."""

    fact: Fact
    session_id: str
    traceparent: str
    size: int
    began_ns: int


class Tracing(Protocol):
    """Spans of what stages do. Never blocks and never raises."""

    def handling(self, taken: Taken) -> AbstractContextManager[None]:
        """While a stage works on a message; an exception that passes through is noted."""
        ...

    def published(self, published: Published) -> None:
        """An event was stored: what is done about it elsewhere is a child of it."""
        ...

    async def stop(self) -> None:
        """Send what is left, within a moment."""
        ...


class NoTracing:
    """`Tracing` where nobody wants to know; costs nothing."""

    def handling(self, taken: Taken) -> AbstractContextManager[None]:
        """Do nothing."""
        del taken
        return nullcontext()

    def published(self, published: Published) -> None:
        """Do nothing."""

    async def stop(self) -> None:
        """Do nothing."""
