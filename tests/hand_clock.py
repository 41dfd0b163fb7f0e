"""A clock that stands still until a test moves it."""

from __future__ import annotations

from recorder_worker.core.model import ClockState


class HandClock:
    """`now_ns` is set by hand; the wall clock is `wall_ahead_ns` ahead of it."""

    def __init__(
        self,
        now_ns: int = 0,
        *,
        wall_ahead_ns: int = 0,
        state: ClockState = ClockState.UNKNOWN,
    ) -> None:
        self.now_ns = now_ns
        self._wall_ahead_ns = wall_ahead_ns
        self._state = state

    def monotonic_ns(self) -> int:
        return self.now_ns

    def wall_ns(self) -> int:
        return self._wall_ahead_ns + self.now_ns

    def state(self) -> ClockState:
        return self._state
