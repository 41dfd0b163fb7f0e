"""The order of published frames: which one repeats, how many were skipped, and when it was made."""

from __future__ import annotations

import time
from typing import Final

from recorder_worker.core.errors import RefusedError
from recorder_worker.core.frame_messages import SEQUENCE, TIME, FrameHeaders

MOST_SKIPPED: Final = 1_000_000
MOST_AHEAD_NS: Final = 1_000_000_000
MOST_BEHIND_NS: Final = 60_000_000_000
"""How far a frame's own time may be from when it came."""
_CLOCK: Final = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


class FrameOrder:
    """What is known of the frames so far. Times are of `Clock.monotonic_ns`."""

    def __init__(self) -> None:
        self._sequence: int | None = None
        self._known = 0
        self._newest_ns: dict[bool, int] = {}
        self._steady_offset_ns: int | None = None

    def counted_already(self, count: int) -> None:
        """So many are known to be missing: the publisher's count will skip them, too."""
        self._known += count

    @property
    def counts(self) -> bool:
        """Whether its publisher counts: then the next frame tells what is missing before it."""
        return self._sequence is not None

    def forget_count(self) -> None:
        """Nobody knows what was published meanwhile: the next number is the first."""
        self._sequence, self._known = None, 0

    def repeats(self, headers: FrameHeaders) -> bool:
        """Whether this is the frame before once more, whose answer its publisher has missed."""
        return headers.sequence is not None and headers.sequence == self._sequence

    def skipped(self, headers: FrameHeaders) -> int:
        """How many frames are missing in front of one, which is counted from now on.

        Raises:
            RefusedError: the publisher counts back, or much too far.
        """
        sequence, last = headers.sequence, self._sequence
        if sequence is None:
            return 0
        if last is not None and not last < sequence <= last + MOST_SKIPPED:
            raise RefusedError(
                field=SEQUENCE,
                expected=f"{last + 1}, or a little above it",
                got=str(sequence),
                hint="count every frame by one; a publisher that begins anew begins a new session",
            )
        self._sequence = sequence
        missing = 0 if last is None else sequence - last - 1
        known = min(missing, self._known)
        self._known -= known
        return missing - known

    def time_of(self, headers: FrameHeaders, arrived_ns: int) -> int:
        """When a frame was made; when it came, where it does not say.

        Raises:
            RefusedError: that was before the frame before it, much too long ago, or is yet to be.
        """
        if headers.time_ns is None:
            return arrived_ns
        if headers.unix:
            offset_ns = time.clock_gettime_ns(_CLOCK) - time.time_ns()
        else:
            # The clock of another machine: its first frame was made when it came.
            if self._steady_offset_ns is None:
                self._steady_offset_ns = arrived_ns - headers.time_ns
            offset_ns = self._steady_offset_ns
        t_ns = headers.time_ns + offset_ns
        if not arrived_ns - MOST_BEHIND_NS <= t_ns <= arrived_ns + MOST_AHEAD_NS:
            raise RefusedError(
                field=TIME,
                expected=f"a time at most {MOST_BEHIND_NS // 10**9} s before now, and at most "
                f"{MOST_AHEAD_NS // 10**9} s behind it",
                got=f"{headers.time_ns}, which is {(t_ns - arrived_ns) / 1e9:+.3f} s",
                hint="set the publisher's clock, or leave the time out: then a frame is of when it "
                "came",
            )
        newest_ns = self._newest_ns.get(headers.unix, -1)
        if headers.time_ns <= newest_ns:
            raise RefusedError(
                field=TIME,
                expected=f"a time behind that of the frame before, {newest_ns}",
                got=str(headers.time_ns),
                hint="publish frames in order; the clock may have been set back, where a monotonic "
                "one (Recorder-Clock) would not be",
            )
        return t_ns

    def took(self, headers: FrameHeaders) -> None:
        """A frame is recorded; one without a time of its own sets no bound."""
        if headers.time_ns is not None:
            self._newest_ns[headers.unix] = headers.time_ns
