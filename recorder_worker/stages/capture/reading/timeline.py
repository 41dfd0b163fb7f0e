"""Session time: how a source's own clock becomes the time of the recording, and when to read.

Session time is nanoseconds since the session began and never steps back. A `live` source lives
in it: what passes while nobody reads is lost. A `media` source brings its own: the position in
the material, which stands still while nobody reads.
"""

from __future__ import annotations

import math

from recorder_worker.core.model import Cursor, SourceClock, Span
from recorder_worker.ports import Clock

SECOND_NS = 1_000_000_000


class Timeline:
    """Maps a source's times to session time, from where the stream is covered."""

    def __init__(
        self, kind: SourceClock, cursor: Cursor, clock: Clock, fps: float, *, same_boot: bool
    ) -> None:
        self.live = kind is SourceClock.LIVE
        """Whether time passes while nobody reads."""
        self.fps = fps
        self.period_ns = _period_ns(fps)
        self._clock = clock
        self.last_ns = cursor.t_ns - 1
        """The session time of the newest frame."""
        self._zero_ns = clock.monotonic_ns() - cursor.t_ns
        if self.live:
            # The session has gone on since the worker before us stopped.
            self._zero_ns -= _since(cursor, clock, same_boot=same_boot)

    def pace(self, fps: float) -> None:
        """From now on so many frames a second are read, and counted where they are missed."""
        self.fps = fps
        self.period_ns = _period_ns(fps)

    def now_ns(self) -> int:
        """Session time now, or as far as a `media` source has been read."""
        if self.live:
            return max(self.last_ns + 1, self._clock.monotonic_ns() - self._zero_ns)
        return self.last_ns + 1

    def frame_time(self, t_ns: int, covered_ns: int = 0) -> int:
        """The session time of a frame: behind every earlier one, and behind what is covered.

        One that was on its way while a segment was closed counts from there.
        """
        self.last_ns = max(self.session_time(t_ns), self.last_ns + 1, covered_ns)
        return self.last_ns

    def session_time(self, t_ns: int) -> int:
        """A time of the source's own clock, as session time."""
        return t_ns - self._zero_ns if self.live else t_ns

    def over(self, limit_ns: int | None) -> bool:
        """Whether a live session has lasted as long as it may."""
        return limit_ns is not None and self.live and self.now_ns() >= limit_ns

    def end_ns(self) -> int:
        """The time up to which the frames so far cover: the last one stands for one period."""
        if self.live:
            return self.now_ns()
        return self.last_ns + self.period_ns if self.last_ns >= 0 else 0

    def missed(self, cursor: Cursor, to_ns: int) -> Span:
        """The span from the cursor to session time `to_ns`, with the units lost in it."""
        lost = math.floor((to_ns - cursor.t_ns) / self.period_ns) if self.live else 0
        return Span(
            first_unit=cursor.unit,
            unit_count=max(0, lost),
            t0_ns=cursor.t_ns,
            t1_ns=max(cursor.t_ns, to_ns),
            wall0_ns=cursor.wall_ns,
            wall1_ns=self._clock.wall_ns(),
        )


def _period_ns(fps: float) -> int:
    return max(1, round(SECOND_NS / fps))


def _since(cursor: Cursor, clock: Clock, *, same_boot: bool) -> int:
    """Nanoseconds since a cursor was written; by the wall clock only where nothing else tells."""
    if same_boot and cursor.boot_ns:
        return max(0, clock.monotonic_ns() - cursor.boot_ns)
    return max(0, clock.wall_ns() - cursor.wall_ns) if cursor.wall_ns else 0


class Pacer:
    """When the next frame is due, in the clock's monotonic nanoseconds."""

    def __init__(self, clock: Clock, period_ns: int, *, native: bool) -> None:
        self._clock = clock
        self._period_ns = period_ns
        self._native = native
        self._next_tick_ns = clock.monotonic_ns()
        self._anchor: tuple[int, int] | None = None
        self.reads = 0
        """Ticks that were used."""
        self.late = 0
        """… and how many of them half a period, or more, behind their time."""

    def pace(self, period_ns: int) -> None:
        """Another time between ticks, from the next one on."""
        self._period_ns = period_ns

    def rebase(self) -> None:
        """Begin anew from now: after a pause or a gap."""
        self._next_tick_ns = self._clock.monotonic_ns()
        self._anchor = None

    def tick(self) -> int:
        """When a live source is to be read next."""
        return self._next_tick_ns

    def ticked(self) -> None:
        """The tick was used; ticks that have passed meanwhile are skipped, not made up for."""
        behind_ns = max(0, self._clock.monotonic_ns() - self._next_tick_ns)
        self.reads += 1
        self.late += 2 * behind_ns >= self._period_ns
        self._next_tick_ns += self._period_ns * (1 + behind_ns // self._period_ns)

    def due(self, t_ns: int) -> int:
        """When a frame of session time `t_ns` is to be recorded: at once but at native pace."""
        now_ns = self._clock.monotonic_ns()
        if not self._native:
            return now_ns
        if self._anchor is None:
            self._anchor = (t_ns, now_ns)
        return self._anchor[1] + t_ns - self._anchor[0]
