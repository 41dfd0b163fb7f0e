"""Takes out of the second store what killed writers left there: nobody sees it, and it is paid for.

By its age alone, and so once a day is enough. Where the store has nothing of the kind, nothing is
done; where it refuses, nothing waits for it.
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import structlog

from recorder_worker.core.errors import StoreError
from recorder_worker.integrations.second_store.copier import Copier
from recorder_worker.ports import Clock

log = structlog.get_logger(__name__)

LEFT_S = 86_400.0
"""No copy takes a day."""
EVERY_NS = 86_400 * 1_000_000_000


@runtime_checkable
class _Clearing(Protocol):
    """A store in which killed writers leave something."""

    def clear_leftovers(self, older_than_s: float) -> int: ...


class Leftovers:
    """`clear` is blocking, and called by one thread at a time."""

    def __init__(self, copier: Copier, clock: Clock) -> None:
        self._copier = copier
        self._clock = clock
        self._due_ns = 0

    def clear(self) -> None:
        """Do it where it is due. Raises SecondStoreError: the store cannot be opened."""
        now_ns = self._clock.monotonic_ns()
        if now_ns < self._due_ns:
            return
        second = self._copier.second
        self._due_ns = now_ns + EVERY_NS
        if not isinstance(second, _Clearing):
            return
        try:
            count = second.clear_leftovers(LEFT_S)
        except StoreError as error:
            log.warning("LeftoversNotCleared", error=str(error))
            return
        if count:
            log.info("LeftoversCleared", count=count)
