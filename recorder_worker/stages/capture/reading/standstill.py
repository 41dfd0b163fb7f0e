"""Standing still: nothing is read until a request comes, and what passes meanwhile is a gap."""

from __future__ import annotations

from collections.abc import Callable

from recorder_worker.core.model import GapReason
from recorder_worker.stages.capture.reading.coverage import Coverage
from recorder_worker.stages.capture.reading.limits import Limits
from recorder_worker.stages.capture.reading.requests import (
    GoOn,
    Hold,
    Pause,
    Release,
    Request,
    RequestBox,
    Resume,
    Stop,
)
from recorder_worker.stages.capture.segments.spool import UnitWriter

_HELD = {
    GapReason.BACK_PRESSURE: "later stages were behind",
    GapReason.DISK: "there was no room on the disk",
}
LOOK_S = 0.25
"""How long a wait may last before limits are looked at again."""


class Standstill:
    """Waits as long as a session is paused, or held for later stages or for want of room."""

    def __init__(
        self,
        requests: RequestBox,
        limits: Limits,
        coverage: Coverage[UnitWriter],
        gap: Callable[[GapReason, str], None],
        other: Callable[[Request], None],
    ) -> None:
        """`gap` declares what passed as missing; `other` takes requests that end no standstill."""
        self._requests = requests
        self._limits = limits
        self._coverage = coverage
        self._gap = gap
        self._other = other

    def until_resumed(self, by: str = "") -> None:
        """Wait for a Resume; `by` whom it was paused stands in the gap. Raises as `until`."""
        detail = f"paused by {by}" if by else ""
        self.until(Resume, reason=GapReason.PAUSE, detail=detail, doing="paused")

    def until_caught_up(self, hold: Hold, covered_ns: int) -> Request:
        """Wait, from session time `covered_ns` on, until what the session is held for is over.

        The request is GoOn, or a Pause, which is not answered yet. Raises Finished, as `until`.
        """
        self._coverage.hold(hold.reason, hold.detail, covered_ns)
        return self.until(
            GoOn,
            Pause,
            reason=hold.reason,
            detail=hold.detail,
            doing=_HELD[hold.reason],
        )

    def until(self, *kinds: type[Request], reason: GapReason, detail: str, doing: str) -> Request:
        """Wait for a request of some kinds, which is given; `doing` says it of a session.

        Raises:
            Finished: the session has ended here, or another worker is to go on.
        """
        while True:
            request = self._requests.next(LOOK_S)
            match request:
                case None:
                    self._limits.check_standing(lambda: self._gap(reason, detail), doing)
                case Release():
                    self._coverage.released()
                case Stop(reason=why, detail=said):
                    self._gap(reason, detail)
                    self._coverage.end(why, said, self._coverage.cursor.t_ns)
                case _ if isinstance(request, kinds):
                    self._gap(reason, detail)
                    return request
                case _:
                    self._other(request)
