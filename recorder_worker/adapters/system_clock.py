"""The machine's clocks."""

from __future__ import annotations

import time


class SystemClock:
    """A `Clock`.

    `monotonic_ns` is CLOCK_BOOTTIME where the system has it, for CLOCK_MONOTONIC stands still
    while a laptop sleeps and that time would be missing from a session without a trace.
    """

    def __init__(self) -> None:
        self._clock_id = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)

    def monotonic_ns(self) -> int:
        """Nanoseconds since some fixed moment, never stepping back."""
        return time.clock_gettime_ns(self._clock_id)

    def wall_ns(self) -> int:
        """Nanoseconds since the Unix epoch, UTC; steps when the system's time is set."""
        return time.time_ns()
