"""Frames and packets that other programs publish, as they come in. Used from any thread."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

import msgspec

from recorder_worker.core.frame_messages import FrameAnswer


class PublishedFrame(msgspec.Struct, frozen=True, kw_only=True):
    """A message as it came, at `arrived_ns` of `Clock.monotonic_ns`.

    `dropped`: so many that came just before it had no room. `away`: the connection was lost since
    the one before it, and what was published meanwhile did not come. `answer` tells the publisher,
    where he waits for an answer, and never blocks.
    """

    data: bytes
    headers: Mapping[str, str]
    arrived_ns: int
    answer: Callable[[FrameAnswer], None]
    dropped: int = 0
    away: bool = False


class FrameSubscription(Protocol):
    """Messages on one subject, in the order in which they came; so many are kept, and no more."""

    def take(self, wait_s: float) -> PublishedFrame | None:
        """The oldest; None where none came within so many seconds.

        Raises:
            SourceLostError: it is closed, or nothing will come any more.
        """
        ...

    def dropped(self) -> int:
        """How many there was no room for behind the last that was taken, where none waits.

        Told once; of those before one that waits that one tells.
        """
        ...

    def away(self) -> bool:
        """Whether the connection was lost behind the last that was taken, where none waits.

        Told once, when it is back, or where nothing more is to come; as `dropped`.
        """
        ...

    def hold(self) -> None:
        """Answer what comes from now on with `paused`, and keep none of it but an end."""
        ...

    def go_on(self) -> None:
        """Take what comes again; an end that was told meanwhile is the first of it."""
        ...

    def close(self) -> None:
        """Take no more, and answer what is left with `ended`; harmless when repeated."""
        ...


class FrameFeed(Protocol):
    """Where frames come from."""

    def subscribe(self, subject: str) -> FrameSubscription:
        """Take what is published on a subject; called from a thread that may wait for it.

        Raises:
            SourceError: the bus does not answer, or does not let us.
        """
        ...
