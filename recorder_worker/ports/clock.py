"""What time it is."""

from __future__ import annotations

from typing import Protocol

from recorder_worker.core.model import ClockState


class Clock(Protocol):
    """Time, as an argument."""

    def monotonic_ns(self) -> int:
        """Nanoseconds that never step back, also across suspend where the system can."""
        ...

    def wall_ns(self) -> int:
        """Nanoseconds since the Unix epoch."""
        ...

    def state(self) -> ClockState:
        """Whether the wall clock is known to follow a reference."""
        ...
