"""The two clocks of a machine, as somebody sets the one of them."""

from __future__ import annotations

from recorder_worker.core.model import ClockState

SECOND_NS = 1_000_000_000
BEGIN_NS = 1_790_000_000 * SECOND_NS


class TwoClocks:
    """A wall clock that is set, and one that goes on."""

    def __init__(self, state: ClockState = ClockState.UNKNOWN, wall_ns: int = BEGIN_NS) -> None:
        self.now_ns = 5
        self.set_ns = wall_ns
        self.kept = state

    def monotonic_ns(self) -> int:
        return self.now_ns

    def wall_ns(self) -> int:
        return self.set_ns + self.now_ns

    def state(self) -> ClockState:
        return self.kept

    def pass_s(self, seconds: float) -> None:
        self.now_ns += round(seconds * SECOND_NS)
