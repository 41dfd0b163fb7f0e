"""A source that went away: opened again and again, for as long as the policy says."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from recorder_worker.core.errors import SourceError, SourceForbiddenError
from recorder_worker.ports import Clock, FrameSource
from recorder_worker.stages.capture.reader_policy import Reopen
from recorder_worker.stages.capture.timeline import SECOND_NS

RETRY_WAIT_S: Final = 0.5


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
        while self._clock.monotonic_ns() < give_up_ns:
            try:
                return self._reopen(unit())
            except SourceForbiddenError:
                raise
            except SourceError as again:
                reason = again
            retry_ns = self._clock.monotonic_ns() + round(RETRY_WAIT_S * SECOND_NS)
            if not waited_until(retry_ns):  # a request, perhaps a long pause, came between
                give_up_ns = self._clock.monotonic_ns() + self._retry_ns
        raise reason
