"""How far the wall clock is believed where something goes for ever because it is old.

One wrong reading would be enough to remove all there is, and nothing brings it back. So a time is
over only by a clock that

1. has gone evenly with the monotonic one for a while, which begins anew at each jump: a time daemon
   sets a wrong clock right within minutes of the boot,
2. is not far ahead of the newest time that was believed before, unless a time daemon keeps it. That
   one is kept in a small file in the store, for whoever comes next; no other clock is at hand that
   does not go wrong with this one.

What is left behind by both is in docs/retention.md ("The clock").
"""

from __future__ import annotations

from contextlib import suppress

import msgspec

from recorder_worker.core import keys
from recorder_worker.core.errors import BlobMissingError, StoreError
from recorder_worker.core.model import ClockState
from recorder_worker.ports import BlobStore, Clock

SECOND_NS = 1_000_000_000
STEADY_S = 600.0
"""So long a clock goes evenly before it is believed."""
UNKEPT_TIMES = 144
"""So many times as long where the kernel says that nothing keeps the clock: a day, for somebody to
set it right. Not for ever: in a network without time servers what is too old has to go as well."""
JUMP_NS = 60 * SECOND_NS
LEAP_NS = 31 * 86_400 * SECOND_NS
"""So far may it be ahead of what was believed last: recorders are switched off over holidays, and
clocks that lost their battery are off by years."""
NOTED_AGAIN_NS = 3600 * SECOND_NS


class SureTime(msgspec.Struct, frozen=True, kw_only=True):
    """What the wall clock says, and how far it is believed.

    Attributes:
        now_ns: what it says.
        steady_ns: for so long it has gone evenly.
        needed_ns: for so long it has to, before it is believed.
        leaps: whether it is too far ahead of what was believed last.
        doubt: what a person should know of it, if it is not believed; empty: it is, or will be in
            some minutes.
    """

    now_ns: int
    steady_ns: int = 0
    needed_ns: int = 0
    leaps: bool = False
    doubt: str = ""

    def is_sure(self, limit_s: int) -> bool:
        """Whether it may be said by it that `limit_s` are over.

        What is kept for a minute does not wait for ten more: no more than that minute is lost.
        """
        return not self.leaps and self.steady_ns >= min(self.needed_ns, limit_s * SECOND_NS)


class TimeWitness:
    """Watches the clocks of a process, look by look, and what is known in the store.

    Args:
        steady_s: as `STEADY_S`.
        notes: whether what it believes is noted; one in a process is enough.
    """

    def __init__(
        self, clock: Clock, store: BlobStore, steady_s: float = STEADY_S, *, notes: bool = True
    ) -> None:
        self._clock = clock
        self._store = store
        self._notes = notes
        self._steady_ns = round(steady_s * SECOND_NS)
        self._last: tuple[int, int] | None = None
        self._since_ns = 0
        self._jump_ns = 0
        self._first_seen_ns = 0

    def look(self, newest_ns: int = 0) -> SureTime:
        """What time it is. Blocking.

        Args:
            newest_ns: the newest time in what is stored, which stands in where none was noted. Only
                that of the first look counts: what comes later is of this very clock.

        Raises:
            StoreError: what was believed last cannot be read.
        """
        state = self._clock.state()
        steady_ns, now_ns = self._steady()
        self._first_seen_ns = self._first_seen_ns or newest_ns
        noted_ns = self._noted_ns()
        known_ns = self._first_seen_ns if noted_ns is None else noted_ns
        needed_ns = self._steady_ns
        if state is ClockState.UNSYNCHRONISED:
            needed_ns *= UNKEPT_TIMES
        kept = state is ClockState.SYNCHRONISED
        leaps = bool(known_ns) and now_ns - known_ns > LEAP_NS and not kept
        if not leaps and steady_ns >= needed_ns:
            self._jump_ns = 0
            if self._notes:
                self._note(now_ns, noted_ns, kept=kept)
        return SureTime(
            now_ns=now_ns,
            steady_ns=steady_ns,
            needed_ns=needed_ns,
            leaps=leaps,
            doubt=self._doubt(now_ns, known_ns, state, leaps=leaps, waits=steady_ns < needed_ns),
        )

    def _steady(self) -> tuple[int, int]:
        """For how long the wall clock has gone evenly, and what it says."""
        even_ns, now_ns = self._clock.monotonic_ns(), self._clock.wall_ns()
        if self._last is None:
            self._since_ns = even_ns
        else:
            jump_ns = (now_ns - self._last[1]) - (even_ns - self._last[0])
            if abs(jump_ns) > JUMP_NS:
                self._since_ns, self._jump_ns = even_ns, jump_ns
        self._last = even_ns, now_ns
        return even_ns - self._since_ns, now_ns

    def _noted_ns(self) -> int | None:
        try:
            return int(self._store.get(keys.RETENTION_CLOCK)) * SECOND_NS
        except (BlobMissingError, ValueError):
            return None

    def _note(self, now_ns: int, noted_ns: int | None, *, kept: bool) -> None:
        """Only a clock that is kept moves it back: it was wrong then."""
        moved_ns = now_ns - noted_ns if noted_ns is not None else NOTED_AGAIN_NS
        if moved_ns >= NOTED_AGAIN_NS or (kept and moved_ns <= -NOTED_AGAIN_NS):
            # A full disk must not keep from making room. It is noted an hour later, then.
            with suppress(StoreError):
                self._store.replace(keys.RETENTION_CLOCK, b"%d\n" % (now_ns // SECOND_NS))

    def _doubt(
        self, now_ns: int, known_ns: int, state: ClockState, *, leaps: bool, waits: bool
    ) -> str:
        if leaps:
            return (
                f"the clock is {(now_ns - known_ns) // (86_400 * SECOND_NS)} days ahead of the "
                "newest time that is known, and no time daemon is known to keep it; if it is "
                f"right: date +%s > {self._store.location(keys.RETENTION_CLOCK)}"
            )
        if waits and self._jump_ns:
            return (
                f"the clock has jumped by {self._jump_ns / SECOND_NS:.0f} s; it is believed once "
                "it goes evenly for a while"
            )
        if waits and state is ClockState.UNSYNCHRONISED:
            return (
                "the kernel says that nothing keeps the clock; it is believed after a day, or soon "
                "after a time daemon keeps it"
            )
        return ""
