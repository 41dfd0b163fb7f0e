"""A source that went away: opened again and again, for as long as the policy says."""

from __future__ import annotations

from collections.abc import Callable

from recorder_worker.core.errors import SourceError, SourceForbiddenError
from recorder_worker.ports import Clock, FrameSource
from recorder_worker.stages.capture.reading.opening import Opening, Patience
from recorder_worker.stages.capture.reading.policy import Reopen
from recorder_worker.stages.capture.reading.timeline import SECOND_NS

RETRY_WAIT_S = 0.5
RETRY_LONGEST_S = 5.0
"""It is looked for after the first of these, and then ever less often."""
LISTEN_S = 0.05
"""How long a try may last before requests are looked at again."""


class Reopening:
    """Tries until it has the source or the time is up.

    Each try has a thread of its own: a camera that hangs must keep nobody from stopping.

    Args:
        reopen: opens it again.
        clock: tells how long it takes.
        retry_s: for how long it is looked for.
        waits: the material waits for its reader. What could not be read of it twice is not tried
            for a third time: nothing would ever end that.

    Attributes:
        away: why the source is looked for now; empty where it is not.
    """

    def __init__(self, reopen: Reopen, clock: Clock, retry_s: float, *, waits: bool) -> None:
        self._waits = waits
        self._reopen = reopen
        self._clock = clock
        self._retry_ns = round(retry_s * SECOND_NS)
        self._patience = Patience(clock)
        self._lost_at: int | None = None
        self.away = ""

    def source(
        self, lost: SourceError, unit: Callable[[], int], waited_until: Callable[[int], bool]
    ) -> FrameSource:
        """The source, open at `unit`. `waited_until` is False where a request came between.

        Raises:
            SourceForbiddenError: the rules do not allow it any more.
            SourceError: the time is up; the newest reason, or how it was lost.
        """
        if self._waits and self._lost_at == unit():
            raise lost
        self._lost_at, self.away = unit(), str(lost)
        try:
            return self._looked_for(lost, unit, waited_until)
        finally:
            self.away = ""

    def _looked_for(
        self, lost: SourceError, unit: Callable[[], int], waited_until: Callable[[int], bool]
    ) -> FrameSource:
        give_up_ns = self._clock.monotonic_ns() + self._retry_ns
        reason = lost
        wait_s, more = RETRY_WAIT_S, self._retry_ns > 0
        first_ns = self._patience.wait_ns(self._retry_ns)
        heard = first_ns > 0 and not waited_until(self._clock.monotonic_ns() + first_ns)
        while more or heard:
            if heard:  # a request, perhaps a long pause, came between
                give_up_ns = self._clock.monotonic_ns() + self._retry_ns
                wait_s = RETRY_WAIT_S
            more = self._clock.monotonic_ns() < give_up_ns  # else this is the last try
            try:
                source = self._tried(unit(), waited_until)
                if source is not None:
                    self._patience.found()
                    return source
                heard = True
                continue
            except SourceForbiddenError:
                raise
            except SourceError as again:
                reason = again
            retry_ns = min(self._clock.monotonic_ns() + round(wait_s * SECOND_NS), give_up_ns)
            wait_s = min(2 * wait_s, RETRY_LONGEST_S)
            heard = not waited_until(retry_ns)
        raise reason

    def _tried(self, unit: int, waited_until: Callable[[int], bool]) -> FrameSource | None:
        """The source; None where a request came between, behind which it is opened anew.

        What would be shown meanwhile, in a long pause, is none of anybody's business.
        """
        opening = Opening(self._reopen, unit)
        try:
            while (source := opening.result(LISTEN_S)) is None:
                if not waited_until(self._clock.monotonic_ns()):
                    return None
            return source
        finally:
            opening.abandon()
