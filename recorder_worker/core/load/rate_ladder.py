"""Who is slowed down when the machine is overloaded: a ladder of frame rates, by priority.

Overload is measured where it hurts: by the share of reads of live sources that came late, over all
sessions of a worker and a window of some seconds. At a high share the sessions of the lowest
priority go down by one step, and each step halves the frame rate; when they can go no lower, those
of the next priority follow. After some windows in a row with a low share, those of the highest
priority that were slowed down get one step back. Between the two shares nothing changes.
"""

from __future__ import annotations

import math

import msgspec


class LadderLimits(msgspec.Struct, frozen=True, kw_only=True):
    """`late_high` and `late_low` are shares of reads; times are nanoseconds."""

    window_ns: int
    late_high: float
    late_low: float
    calm_windows: int
    lowest_fps: float


class _Member(msgspec.Struct):
    """One session on the ladder; `reads` and `late` are counted since it was taken here."""

    priority: int
    fps: float
    step: int = 0
    reads: int = 0
    late: int = 0


def lowered(fps: float, step: int, lowest_fps: float) -> float:
    """The frame rate so many steps below a session's own; never below `lowest_fps` for a step."""
    return min(fps, max(fps * 0.5**step, lowest_fps))


def step_of(fps: float, own_fps: float, lowest_fps: float) -> int:
    """The first step at which a session of `own_fps` is at `fps` or below, or goes no lower."""
    step = 0
    while (now := lowered(own_fps, step, lowest_fps)) > fps and not math.isclose(now, fps):
        if math.isclose(lowered(own_fps, step + 1, lowest_fps), now):
            break
        step += 1
    return step


class RateLadder:
    """The steps of all sessions of one worker."""

    def __init__(self, limits: LadderLimits) -> None:
        self._limits = limits
        self._members: dict[str, _Member] = {}
        self._ends_ns: int | None = None
        self._reads = 0
        self._late = 0
        self._calm = 0
        self.late_share = 0.0
        """Of the newest window that was judged."""

    def join(self, session_id: str, *, priority: int, fps: float, step: int = 0) -> None:
        """A live session, with its own frame rate, and the step at which it comes."""
        self._members[session_id] = _Member(priority, fps, step)

    def leave(self, session_id: str) -> None:
        """It has ended, or another worker has it; harmless where it never joined."""
        self._members.pop(session_id, None)

    def seen(self, session_id: str, *, reads: int, late: int) -> None:
        """How often a session's source was read, and how often too late, since it joined."""
        member = self._members.get(session_id)
        if member is None:
            return
        self._reads += max(0, reads - member.reads)
        self._late += max(0, late - member.late)
        member.reads, member.late = reads, late

    def look(self, now_ns: int) -> None:
        """Judge the window, where it is over."""
        if self._ends_ns is None:
            self._ends_ns = now_ns + self._limits.window_ns
        if now_ns < self._ends_ns:
            return
        self._ends_ns = now_ns + self._limits.window_ns
        self.late_share = self._late / self._reads if self._reads else 0.0
        self._reads = self._late = 0
        if self.late_share >= self._limits.late_high:
            self._calm = 0
            self._go_down()
        elif self.late_share < self._limits.late_low:
            self._calm += 1
            if self._calm >= self._limits.calm_windows:
                self._calm = 0
                self._go_up()
        else:
            self._calm = 0

    def step(self, session_id: str) -> int:
        """How many times a session's frame rate is halved now."""
        member = self._members.get(session_id)
        return member.step if member is not None else 0

    def _go_down(self) -> None:
        able = [member for member in self._members.values() if self._can_go_down(member)]
        lowest = min((member.priority for member in able), default=None)
        for member in able:
            member.step += member.priority == lowest

    def _can_go_down(self, member: _Member) -> bool:
        limit = self._limits.lowest_fps
        before = lowered(member.fps, member.step, limit)
        return not math.isclose(lowered(member.fps, member.step + 1, limit), before)

    def _go_up(self) -> None:
        slowed = [member for member in self._members.values() if member.step]
        highest = max((member.priority for member in slowed), default=None)
        for member in slowed:
            member.step -= member.priority == highest
