"""When a session is due to say that it is alive, and when its keys have signed long enough.

Both are decided here, by the lease holder's clock, and become captured events, so that the tree
stays a function of the event log. A beat is due when none was given for a while; an epoch turns
when its time is over, and at once where another worker takes over.
"""

from __future__ import annotations

from recorder_worker.core.events import BeatCaptured, EpochCaptured
from recorder_worker.core.model import RecordingPolicy
from recorder_worker.ports import Clock
from recorder_worker.stages.capture.session.journal import CapturedJournal

SECOND_NS = 1_000_000_000
BEAT_NUMERATOR, BEAT_DENOMINATOR = 3, 4
"""A beat comes after this part of the promised interval: the rest is for the stages behind it."""


class Pulse:
    """Gives the beats and turns the epochs of one lease."""

    def __init__(
        self, journal: CapturedJournal, clock: Clock, policy: RecordingPolicy, *, takeover: bool
    ) -> None:
        self._journal = journal
        self._clock = clock
        self._beat_ns = policy.checkpoint_interval_ns * BEAT_NUMERATOR // BEAT_DENOMINATOR
        self._epoch_ns = policy.epoch_length_ns
        now_ns = clock.monotonic_ns()
        self._beat_due_ns = now_ns + self._beat_ns
        self._epoch_due_ns = now_ns if takeover else now_ns + self._epoch_ns

    async def give(self) -> None:
        """Append what is due: the turn of the epoch, which is a sign of life too, or a beat.

        Raises:
            LeaseLostError: another worker has written on.
        """
        now_ns = self._clock.monotonic_ns()
        if now_ns >= self._epoch_due_ns:
            self._journal.epoch += 1
            await self._journal.append(EpochCaptured(**self._journal.place()))  # type: ignore[arg-type]
            self._epoch_due_ns = now_ns + self._epoch_ns
        elif now_ns >= self._beat_due_ns:
            await self._journal.append(BeatCaptured(**self._journal.place()))  # type: ignore[arg-type]
        else:
            return
        self._beat_due_ns = now_ns + self._beat_ns

    def wait_s(self) -> float:
        """Seconds until something is due, at least 0."""
        due_ns = min(self._beat_due_ns, self._epoch_due_ns)
        return max(0, due_ns - self._clock.monotonic_ns()) / SECOND_NS
