"""Says what stays because no clock can be believed about it; a person has to know, once each."""

from __future__ import annotations

from collections.abc import Sequence

import structlog

from recorder_worker.stages.retention.rules import (
    RetentionLimits,
    begins,
    limit_of,
    old_by_clock,
)
from recorder_worker.stages.retention.sealed_session import SealedSession
from recorder_worker.stages.sure_time import SureTime

log = structlog.get_logger(__name__)


class Doubts:
    """What one keeper has said."""

    def __init__(self, limits: RetentionLimits) -> None:
        self._limits = limits
        self._said = ""
        self._undated: set[str] = set()

    def say(self, sessions: Sequence[SealedSession], held: set[str], time: SureTime) -> str:
        """Say what is new; gives all of it in a line, empty: nothing."""
        undated = self._say_undated(sessions, time)
        waiting = [
            session
            for session in old_by_clock(sessions, self._limits, time.now_ns)
            if session.session_id not in held and not time.is_sure(limit_of(session, self._limits))
        ]
        doubt = time.doubt if waiting else ""
        if doubt and doubt != self._said:
            log.warning("ClockDoubted", reason=doubt, sessions=len(waiting))
        self._said = doubt
        lines = [f"{len(waiting)} would be too old, but {doubt}"] if doubt else []
        if undated:
            lines.append(f"{undated} were sealed by a clock that was not set, and do not age")
        return "; ".join(lines)

    def _say_undated(self, sessions: Sequence[SealedSession], time: SureTime) -> int:
        since, count = begins(sessions, time.now_ns), 0
        for session in sessions:
            if session.session_id in since or not limit_of(session, self._limits):
                continue
            count += 1
            if session.session_id not in self._undated:
                self._undated.add(session.session_id)
                log.warning(
                    "SealTimeDoubted",
                    session_id=session.session_id,
                    sealed_ns=session.sealed_ns,
                    hint="no rule of age removes it: recorder delete, once it may go",
                )
        return count
