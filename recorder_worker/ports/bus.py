"""What the stages say to each other and hear from clients."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractContextManager
from typing import Protocol

import msgspec

from recorder_worker.core.events import Event
from recorder_worker.core.subjects import Command, Fact


class Logged(msgspec.Struct, frozen=True):
    """An event as the log holds it. `sequence` is a fence, never an identity."""

    event: Event
    sequence: int
    key: str


class EventLog(Protocol):
    """The per-session event logs on the bus, and what is ordered over all sessions."""

    async def last(self, fact: Fact, session_id: str) -> Logged | None:
        """The last event of a session's log. Raises BusUnavailableError."""
        ...

    async def last_of_all(self, fact: Fact) -> Logged | None:
        """The last event of a fact, of whichever session. Raises BusUnavailableError."""
        ...

    def read(self, fact: Fact, session_id: str, after: int = 0) -> AsyncIterator[Logged]:
        """All events of a session's log behind sequence `after`, oldest first."""
        ...

    async def append(
        self, fact: Fact, session_id: str, event: Event, *, key: str, after: int
    ) -> int:
        """Append behind sequence `after` (0: the first), exactly once for one `key`.

        Returns the event's sequence, also where an earlier attempt with this key had succeeded.

        Raises:
            FencedError: something else stands behind `after`.
            BusUnavailableError: the bus did not answer; nothing is known.
        """
        ...

    async def append_to_all(
        self, fact: Fact, session_id: str, event: Event, *, key: str, after: int
    ) -> int:
        """As `append`, but behind the last event of this fact of all sessions."""
        ...

    async def emit(self, fact: Fact, session_id: str, event: Event, *, key: str) -> None:
        """Append without a fence; a repeated `key` within the stream's window is dropped."""
        ...


class FactMessage(msgspec.Struct, frozen=True):
    """A fact as it reaches a stage that takes facts of many kinds."""

    fact: Fact
    session_id: str
    event: Event


class Copies(Protocol):
    """Facts once more, for the owner of their session."""

    async def publish(self, owner: str, message: FactMessage) -> None:
        """Store a copy; one that is made twice soon is stored once. Raises BusUnavailableError."""
        ...


class Delivery(msgspec.Struct, frozen=True, kw_only=True):
    """A command message as it reaches its stage.

    `bearer` is the token that came with it, not looked at yet; empty where none came. `asked_ns` is
    when it was sent with that token: a start that is tried again is still the first message, but
    whoever tries it again answers for that. `place` is the sequence of the very message that came.
    """

    command: Command
    body: bytes
    command_id: str
    sequence: int
    received_ns: int
    deliveries: int
    bearer: str = ""
    asked_ns: int = 0
    place: int = 0

    def __repr__(self) -> str:  # a token must not get into a log
        return f"Delivery({self.command.value}, {self.command_id!r}, sequence={self.sequence})"


class ControlFeed(Protocol):
    """Announces control events of sessions that this worker holds."""

    def listen(self, session_id: str, heard: Callable[[], None]) -> AbstractContextManager[None]:
        """Call `heard` whenever a control event of the session may have been published."""
        ...
