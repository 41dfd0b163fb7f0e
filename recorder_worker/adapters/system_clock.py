"""The machine's clocks."""

from __future__ import annotations

import ctypes
import time

from recorder_worker.core.model import ClockState

_TIME_ERROR = 5
_TIMEX_BYTES = 512
"""More than any system's `struct timex`; all zeros asks and changes nothing (adjtimex(2))."""


class SystemClock:
    """A `Clock`.

    `monotonic_ns` is CLOCK_BOOTTIME where the system has it, for CLOCK_MONOTONIC stands still
    while a laptop sleeps and that time would be missing from a session without a trace.
    """

    def __init__(self) -> None:
        self._clock_id = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
        # PyDLL keeps the interpreter's lock: it takes a microsecond to ask, and milliseconds to get
        # the lock back from as many threads as there are sessions.
        self._adjtimex = getattr(ctypes.PyDLL(None), "adjtimex", None)

    def monotonic_ns(self) -> int:
        """Nanoseconds since some fixed moment, never stepping back."""
        return time.clock_gettime_ns(self._clock_id)

    def wall_ns(self) -> int:
        """Nanoseconds since the Unix epoch, UTC; steps when the system's time is set."""
        return time.time_ns()

    def state(self) -> ClockState:
        """What the kernel says of its clock (adjtimex(2)); time daemons tell it."""
        if self._adjtimex is None:
            return ClockState.UNKNOWN
        found = self._adjtimex(ctypes.create_string_buffer(_TIMEX_BYTES))
        if found < 0:
            return ClockState.UNKNOWN
        return ClockState.UNSYNCHRONISED if found == _TIME_ERROR else ClockState.SYNCHRONISED
