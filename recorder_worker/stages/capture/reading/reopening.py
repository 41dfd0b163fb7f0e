"""A source that went away: opened again and again, for as long as the policy says."""

from __future__ import annotations

from collections.abc import Callable

from recorder_worker.core.errors import SourceError, SourceForbiddenError
from recorder_worker.ports import Clock, FrameSource
from recorder_worker.stages.capture.reading.policy import Reopen
from recorder_worker.stages.capture.reading.timeline import SECOND_NS

RETRY_WAIT_S = 0.5
RETRY_LONGEST_S = 5.0
"""It is looked for after the first of these, and then ever less often."""


class Reopening:
    """Tries until it has the source or the time is up."""

    def __init__(self, reopen: Reopen, clock: Clock, retry_s: float) -> None:
        self._reopen = reopen
        self._clock = clock
        self._retry_ns = round(retry_s * SECOND_NS)

    def source(
        self, lost: SourceError, unit: Callable[[], int], waited_until: Callable[[int], bool]
    ) -> FrameSource:
        """The source, open at `unit`. `waited_until` is False where a request came between.

        Raises:
            SourceForbiddenError: the rules do not allow it any more.
            SourceError: the time is up; the newest reason, or how it was lost.
        """
        give_up_ns = self._clock.monotonic_ns() + self._retry_ns
        reason = lost
        wait_s, more = RETRY_WAIT_S, self._retry_ns > 0
        while more:
            more = self._clock.monotonic_ns() < give_up_ns  # else this is the last try
            try:
                return self._reopen(unit())
            except SourceForbiddenError:
                raise
            except SourceError as again:
                reason = again
            retry_ns = min(self._clock.monotonic_ns() + round(wait_s * SECOND_NS), give_up_ns)
            wait_s = min(2 * wait_s, RETRY_LONGEST_S)
            if not waited_until(retry_ns):  # a request, perhaps a long pause, came between
                give_up_ns = self._clock.monotonic_ns() + self._retry_ns
                wait_s, more = RETRY_WAIT_S, True
        raise reason
