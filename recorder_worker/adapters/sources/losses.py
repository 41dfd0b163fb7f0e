"""What an arriving source has lost and not told yet: told at most once a second for each reason."""

from __future__ import annotations

from typing import Final

from recorder_worker.core.errors import UnitsMissingError
from recorder_worker.core.model import GapReason

TELL_EVERY_NS: Final = 1_000_000_000
"""A gap ends a segment: a flood of losses must not become a flood of gaps."""


class Losses:
    """Counts units by why they are missing; of each reason the first text is kept."""

    def __init__(self, noun: str = "frames") -> None:
        self._noun = noun
        self._counts: dict[GapReason, int] = {}
        self._texts: dict[GapReason, str] = {}
        self._due_ns = 0
        self._off = ""

    def add(self, reason: GapReason, unit_count: int, text: str) -> None:
        """Units that are missing; of none, nothing is told."""
        if unit_count > 0:
            self._counts[reason] = self._counts.get(reason, 0) + unit_count
            self._texts.setdefault(reason, text)

    def part(self, reason: GapReason, text: str) -> None:
        """Nothing is missing, and yet what comes goes on by itself: an empty gap."""
        self._counts.setdefault(reason, 0)
        self._texts.setdefault(reason, text)

    def broken_off(self, text: str) -> None:
        """Nobody knows whether something is missing: an empty gap, in just this place."""
        self._off = self._off or text

    @property
    def any(self) -> bool:
        """Whether something is not told yet."""
        return bool(self._counts or self._off)

    def due(self, now_ns: int, *, at_once: bool) -> bool:
        """Whether something is to be told now: `at_once` where nothing will come behind it."""
        return bool(self._off) or (bool(self._counts) and (at_once or now_ns >= self._due_ns))

    def told(self, now_ns: int, t_ns: int) -> UnitsMissingError:
        """The oldest, which counts as told; what comes behind it begins at `t_ns`."""
        if self._off:
            text, self._off = self._off, ""
            return UnitsMissingError(0, t_ns, GapReason.SOURCE_LOST, text)
        reason = next(iter(self._counts))
        count, text = self._counts.pop(reason), self._texts.pop(reason)
        if not self._counts:
            self._due_ns = now_ns + TELL_EVERY_NS
        more = f"{count} {self._noun}; of the first: " if count > 1 else ""
        return UnitsMissingError(count, t_ns, reason, more + text)
