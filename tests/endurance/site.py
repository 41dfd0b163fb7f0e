"""What each of the three recorders of a run is asked to do, in this order."""

from __future__ import annotations

from types import TracebackType
from typing import Protocol, Self

from endurance.watch import Watch


class Site(Protocol):
    """A recorder with a trouble of its own; `async with` starts and ends it."""

    watch: Watch

    async def __aenter__(self) -> Self: ...

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...

    async def settle(self) -> None:
        """Begin what begins before the trouble."""

    async def outage(self) -> None:
        """Make the trouble, and end it."""

    async def judge(self) -> None:
        """Look at all that is there then, and at what was said."""
