"""Keeps the last part of the audit stream for commands: what is only asked for waits before it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from recorder_worker.bus.bus import StreamFill
from recorder_worker.core.errors import BusUnavailableError
from recorder_worker.ports import Clock

LOOK_NS = 2_000_000_000
FULL_PERCENT = 90


class AuditRoom:
    """Whether a request may still be put on record; looked up every few seconds at the most.

    A full stream makes commands wait, and whoever can ask the gateway could fill it.
    """

    def __init__(self, fill: Callable[[], Awaitable[StreamFill]], clock: Clock) -> None:
        self._fill = fill
        self._clock = clock
        self._seen: StreamFill | None = None
        self._seen_ns = 0

    async def check(self) -> None:
        """Raises BusUnavailableError where the stream is nearly full, or nobody knows."""
        now_ns = self._clock.monotonic_ns()
        if self._seen is None or now_ns - self._seen_ns > LOOK_NS:
            try:
                self._seen = await self._fill()
            except (LookupError, TimeoutError) as error:
                raise BusUnavailableError(f"the audit stream: {error}") from error
            self._seen_ns = now_ns
        limit = self._seen.max_bytes
        if limit > 0 and self._seen.stored_bytes * 100 >= limit * FULL_PERCENT:
            raise BusUnavailableError(
                f"the audit stream: expected less than {FULL_PERCENT} % of {limit} bytes, found "
                f"{self._seen.stored_bytes}; the rest is for commands: raise audit.max_bytes, or "
                "lower audit.max_age_s"
            )
