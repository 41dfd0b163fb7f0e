"""From measures to conditions: thresholds with a gap between them, and durations.

A condition begins when its begin threshold was reached at every look for its duration, and ends
when its end threshold was left at every look for `clear_ns`. What lies between the thresholds
changes nothing. So a picture that hovers about a threshold says one thing once.
"""

from __future__ import annotations

import msgspec

from recorder_worker.core.quality.conditions import Condition, QualityChange, Turn
from recorder_worker.core.quality.measures import Measures

LEAST_LOOKS = 3
"""However long the time between two looks: a pause may lie between them."""
LEAST_VISIBLE = 0.05
"""Of a picture that masks leave less of, nothing is said."""


class QualityPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """Thresholds, in the units of `Measures`, and durations in nanoseconds of session time.

    `*_begin` is where a condition begins and `*_end` where it ends; `*_ns` is for how long it has
    to be seen before it is told, `clear_ns` for how long it must not be seen before it is over.
    Blur is judged from a contrast of `blur_contrast` on, and a flat colour from `flat_chroma` on.
    """

    black_begin: float
    black_end: float
    black_ns: int
    frozen_ns: int
    flat_begin: float
    flat_end: float
    flat_chroma: float
    bars_begin: float
    bars_end: float
    no_signal_ns: int
    blur_begin: float
    blur_end: float
    blur_contrast: float
    blur_ns: int
    clear_ns: int


class Look(msgspec.Struct, frozen=True, kw_only=True):
    """One look: at session time `t_ns` at a picture that is the same since `still_since_ns`."""

    t_ns: int
    still_since_ns: int
    measures: Measures


class _State(msgspec.Struct, frozen=True, kw_only=True):
    """Whether a condition holds, and since when, and at how many looks, the opposite was seen."""

    holds: bool = False
    turning_ns: int = 0
    looks: int = 0


class QualityJudge:
    """Remembers what holds, and tells what changes."""

    def __init__(self, policy: QualityPolicy, conditions: tuple[Condition, ...]) -> None:
        self._policy = policy
        self._states = {condition: _State() for condition in Condition if condition in conditions}

    def see(self, look: Look) -> tuple[QualityChange, ...]:
        """What one more look changes. Looks come in the order of their times."""
        return tuple(
            change
            for condition in self._states
            if (change := self._turn(condition, look)) is not None
        )

    def _turn(self, condition: Condition, look: Look) -> QualityChange | None:
        state = self._states[condition]
        seen = _seen(condition, look, self._policy)
        if seen is None or seen is state.holds:
            self._states[condition] = _State(holds=state.holds)
            return None
        first = state.looks == 0
        begins = look.still_since_ns if condition is Condition.FROZEN and seen else look.t_ns
        since_ns = begins if first else state.turning_ns
        looks = state.looks + 1
        needed_ns = self._duration_ns(condition) if seen else self._policy.clear_ns
        if looks < LEAST_LOOKS or look.t_ns - since_ns < needed_ns:
            turning = _State(holds=state.holds, turning_ns=since_ns, looks=looks)
            self._states[condition] = turning
            return None
        self._states[condition] = _State(holds=seen)
        return QualityChange(
            condition=condition,
            state=Turn.BEGUN if seen else Turn.ENDED,
            since_ns=since_ns,
            measures=look.measures,
        )

    def _duration_ns(self, condition: Condition) -> int:
        policy = self._policy
        return {
            Condition.BLACK: policy.black_ns,
            Condition.FROZEN: policy.frozen_ns,
            Condition.NO_SIGNAL: policy.no_signal_ns,
            Condition.BLURRED: policy.blur_ns,
        }[condition]


def _seen(condition: Condition, look: Look, policy: QualityPolicy) -> bool | None:
    """Whether a look shows a condition; None: it lies between the thresholds."""
    found = look.measures
    if condition is Condition.FROZEN:
        return look.still_since_ns < look.t_ns
    if found.visible < LEAST_VISIBLE:
        return False
    match condition:
        case Condition.BLACK:
            begins, ends = found.peak <= policy.black_begin, found.peak > policy.black_end
        case Condition.NO_SIGNAL:
            coloured = found.chroma >= policy.flat_chroma
            flat = coloured and found.flat >= policy.flat_begin
            begins = flat or found.bars >= policy.bars_begin
            ends = not (coloured and found.flat >= policy.flat_end)
            ends = ends and found.bars < policy.bars_end
        case Condition.BLURRED:
            judged = found.contrast >= policy.blur_contrast
            begins = judged and found.blur >= policy.blur_begin
            ends = not judged or found.blur < policy.blur_end
    return begins or (False if ends else None)
