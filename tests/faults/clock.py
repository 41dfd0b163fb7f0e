"""The clock of the processes in the fault table."""

from __future__ import annotations

from recorder_worker.core.model import ClockState


class SetClock:
    """A clock that stands still until it is moved; nanoseconds since the Unix epoch."""

    def __init__(self, now_ns: int = 1_700_000_000_000_000_000) -> None:
        self.now_ns = now_ns

    def monotonic_ns(self) -> int:
        return self.now_ns

    def wall_ns(self) -> int:
        return self.now_ns

    def state(self) -> ClockState:
        return ClockState.SYNCHRONISED
