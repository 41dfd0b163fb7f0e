"""Whether the stages behind capture keep up: what waits for them, held against marks."""

from __future__ import annotations

import msgspec

from recorder_worker.core.load.hysteresis import Marks

MOST_STEPS = 16
"""No frame rate has so many halves above the lowest one."""


class Lag(msgspec.Struct, frozen=True, kw_only=True):
    """What waits: messages for chunk, compress and merkle together, and bytes of segments."""

    messages: int
    spool_bytes: int


class BackPressureLimits(msgspec.Struct, frozen=True, kw_only=True):
    """Behind from either high mark on, until below both low ones. `step_ns` is in nanoseconds."""

    messages: Marks
    spool_bytes: Marks
    step_ns: int


class BackPressure:
    """Holds what was measured last, and since when the later stages have been behind."""

    def __init__(self, limits: BackPressureLimits) -> None:
        self._limits = limits
        self._by_messages = False
        self._by_bytes = False
        self._since_ns = 0
        self.lag = Lag(messages=0, spool_bytes=0)

    @property
    def behind(self) -> bool:
        """Whether they are behind now."""
        return self._by_messages or self._by_bytes

    @property
    def detail(self) -> str:
        """What was measured and what it is held against, in words."""
        limits, lag = self._limits, self.lag
        return (
            f"{lag.messages} messages wait for later stages (behind from "
            f"{limits.messages.high:.0f} on, until below {limits.messages.low:.0f}), the spool has "
            f"{lag.spool_bytes} bytes (from {limits.spool_bytes.high:.0f}, until below "
            f"{limits.spool_bytes.low:.0f})"
        )

    def measured(self, lag: Lag, now_ns: int) -> bool:
        """Take a measurement; whether `behind` is another than before."""
        before = self.behind
        self.lag = lag
        limits = self._limits
        self._by_messages = limits.messages.holds(lag.messages, before=self._by_messages)
        self._by_bytes = limits.spool_bytes.holds(lag.spool_bytes, before=self._by_bytes)
        if self.behind and not before:
            self._since_ns = now_ns
        return self.behind is not before

    def step(self, now_ns: int) -> int:
        """How many times a session that shall go slow has its frame rate halved now."""
        if not self.behind:
            return 0
        return min(MOST_STEPS, 1 + (now_ns - self._since_ns) // self._limits.step_ns)
