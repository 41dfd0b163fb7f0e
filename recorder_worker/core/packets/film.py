"""Where a recording's packets stand in its film: times of the source, shifted by whole stretches.

A stretch is what a source sends from one opening, or jump of its times, to the next. Inside of it
the source's times are kept as they are. A stretch begins at the session time of its first packet,
so that gaps are as long in the film as they were, and never before the end of the one before it.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Final

import msgspec

_SECOND_NS: Final = 1_000_000_000
LATE_NS: Final = 2 * _SECOND_NS
"""A source whose times run ahead of its packets by more than this has jumped."""
SILENCE_NS: Final = _SECOND_NS


class Jump(msgspec.Struct, frozen=True, kw_only=True):
    """Times that do not follow from the ones before.

    `what` is backward, forward, or silence: nothing came for so long. Ticks of the source.
    """

    what: str
    before: int
    after: int
    tick: str
    t_ns: int
    waited_ns: int


class Film:
    """Follows the decode times of the video of one opening after the other."""

    def __init__(self) -> None:
        self.tick = Fraction(1, _SECOND_NS)
        self.shift = 0
        self._end = Fraction(0)
        self._last: tuple[int, int] | None = None

    def open(self, tick: tuple[int, int]) -> None:
        """A source was opened: a stretch begins with its next packet."""
        self.tick = Fraction(*tick)
        self._last = None

    def follow(self, dts: int, duration: int, t_ns: int) -> Jump | None:
        """Take the next packet of video; says what jumped. `shift` holds for it from now on."""
        jump = self._jump(dts, t_ns)
        if self._last is None or (jump is not None and jump.what != "silence"):
            now = Fraction(t_ns, _SECOND_NS)
            begin = max(self._end, now)
            self.shift = round(begin / self.tick) - dts
        self._last = (dts, t_ns)
        self._end = self.tick * (dts + self.shift + duration)
        return jump

    def _jump(self, dts: int, t_ns: int) -> Jump | None:
        if self._last is None:
            return None
        before, before_ns = self._last
        waited_ns = t_ns - before_ns
        step_ns = round((dts - before) * self.tick * _SECOND_NS)
        if step_ns <= 0:
            what = "backward"
        elif step_ns - waited_ns > LATE_NS:
            what = "forward"
        elif min(step_ns, waited_ns) > SILENCE_NS:
            what = "silence"
        else:
            return None
        return Jump(
            what=what,
            before=before,
            after=dts,
            tick=f"{self.tick.numerator}/{self.tick.denominator}",
            t_ns=t_ns,
            waited_ns=waited_ns,
        )
