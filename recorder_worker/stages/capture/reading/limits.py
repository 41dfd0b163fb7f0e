"""What ends a session by itself: its longest duration, and a picture that does not change."""

from __future__ import annotations

from collections.abc import Callable

from recorder_worker.core.model import EndReason, Mask
from recorder_worker.ports import Frame
from recorder_worker.stages.capture.reading.coverage import Coverage
from recorder_worker.stages.capture.reading.idle import IdleWatch
from recorder_worker.stages.capture.reading.policy import ReaderPolicy
from recorder_worker.stages.capture.reading.timeline import SECOND_NS, Timeline
from recorder_worker.stages.capture.segments.spool import UnitWriter


class Limits:
    """Ends the session, as `Coverage.end`, where a limit is reached."""

    def __init__(
        self, policy: ReaderPolicy, timeline: Timeline, coverage: Coverage[UnitWriter]
    ) -> None:
        self._longest_ns = policy.max_duration_ns
        self._idle_ns = policy.idle_stop_ns
        self._idle = None if policy.idle_stop_ns is None else IdleWatch(policy.idle_stop_ns)
        self._timeline = timeline
        self._coverage = coverage

    def forget(self) -> None:
        """Behind a gap, and at a trigger, idleness begins anew."""
        if self._idle is not None:
            self._idle.forget()

    def check_now(self) -> None:
        """A live source: whether the time is up now. Raises Finished."""
        if self._longest_ns is not None and self._is_over():
            self._time_is_up(self._longest_ns, max(self._longest_ns, self._timeline.last_ns + 1))

    def check_frame(self, t_ns: int) -> None:
        """Whether the time is up before a frame at session time `t_ns`. Raises Finished."""
        if self._longest_ns is not None and t_ns >= self._longest_ns:
            self._time_is_up(self._longest_ns, self._longest_ns)

    def check_standing(self, gap: Callable[[], None], doing: str) -> None:
        """As `check_now`, while nothing is read; `gap` declares what passed. Raises Finished."""
        if self._is_over():
            gap()
            end_ns = self._coverage.cursor.t_ns
            self._coverage.end(EndReason.MAX_DURATION, f"the time was up while {doing}", end_ns)

    def check_idle(self, frame: Frame, masks: tuple[Mask, ...], t_ns: int) -> None:
        """Take a frame that is recorded now, with these masks. Raises Finished.

        Not while armed: nothing is recorded then, so nothing is gained by an end.
        """
        idle, limit_ns = self._idle, self._idle_ns
        if idle is None or limit_ns is None or self._coverage.armed:
            return
        if idle.is_over(frame, masks, t_ns):
            detail = f"nothing changed on the picture for {limit_ns / SECOND_NS:g} s"
            self._coverage.end(EndReason.IDLE, detail, self._timeline.end_ns())

    def _is_over(self) -> bool:
        return self._timeline.over(self._longest_ns)

    def _time_is_up(self, limit_ns: int, t1_ns: int) -> None:
        detail = f"recorded for {limit_ns / SECOND_NS:g} s"
        self._coverage.end(EndReason.MAX_DURATION, detail, t1_ns)
