"""What a session gives up while machine, later stages or disk do not keep up; never silently.

A display is read less often, and every change of its rate is a note on the timeline. A file or
pattern waits for its reader, so nothing of it is lost by reading later: it is held. So is what
arrives at a pace of its own, from cameras and publishers: what it brings meanwhile is a gap. Where
the disk fills up, any session may be held, and in the end all are stopped.
"""

from __future__ import annotations

import logging
import math

import msgspec
import structlog

from recorder_worker.core.commands import StartSession
from recorder_worker.core.load.disk_ladder import Rung
from recorder_worker.core.load.rate_ladder import lowered, step_of
from recorder_worker.core.model import (
    EndReason,
    GapReason,
    Slowed,
    SlowedBy,
    SourceClock,
    SourceFacts,
)
from recorder_worker.core.notes import RateChanged
from recorder_worker.core.sources.kinds import NatsSource, V4l2Source
from recorder_worker.ports import Clock, StageMetrics
from recorder_worker.stages.capture.governor import Governor
from recorder_worker.stages.capture.reading.packet_reader import PacketReader
from recorder_worker.stages.capture.reading.reader import Reader
from recorder_worker.stages.capture.reading.requests import GoOn, Hold, SetRate, Stop

ARRIVING = (V4l2Source, NatsSource)
"""What cannot be read less often, as packets that are copied cannot."""

log = structlog.get_logger(__name__)

_RATE_CHANGED = msgspec.json.Decoder(RateChanged)


class Degradation:
    """Asks the reader of one session for what its governor demands, once for each change."""

    def __init__(  # noqa: PLR0913  (all that it asks, and is asked for)
        self,
        *,
        session_id: str,
        command: StartSession,
        facts: SourceFacts,
        fps: float,
        governor: Governor,
        reader: Reader | PacketReader,
        clock: Clock,
        metrics: StageMetrics,
        slowed: Slowed | None = None,
    ) -> None:
        """`slowed`: the lower rate that the worker before has left; the ladder takes it from there.

        Whatever its reason was: what this worker has measured of itself says when it may go up.
        """
        self._session_id = session_id
        self._policy = command.when_behind
        self._paced = _paced(command, facts)
        self._own_fps = fps
        self._governor = governor
        self._reader = reader
        self._clock = clock
        self._metrics = metrics
        self._fps = fps if slowed is None else slowed.fps
        self._held: GapReason | None = None
        self._stopped = False
        self._reason: SlowedBy = "overload"
        governor.disk.join(session_id, priority=command.priority)
        if self._paced:
            step = step_of(self._fps, fps, governor.lowest_fps)
            governor.ladder.join(session_id, priority=command.priority, fps=fps, step=step)

    def slowed_by(self, note: str) -> Slowed | None:
        """What the body of a note `recorder.rate` puts in force; None: the session's own rate."""
        said = _RATE_CHANGED.decode(note)
        if said.to_fps > self._own_fps or math.isclose(said.to_fps, self._own_fps):
            return None
        return Slowed(fps=said.to_fps, reason=said.reason)

    def leave(self) -> None:
        """The session is not read here any more."""
        self._governor.ladder.leave(self._session_id)
        self._governor.disk.leave(self._session_id)

    def look(self, *, armed: bool) -> None:
        """Ask for what has changed. Armed, nothing is written and nobody is kept waiting by it."""
        now_ns = self._clock.monotonic_ns()
        ladder = self._governor.ladder
        reads, late = self._reader.ticks
        ladder.seen(self._session_id, reads=reads, late=late)
        ladder.look(now_ns)
        behind = self._governor.pressure.behind and not armed
        disk = self._governor.disk
        if disk.rung is Rung.STOP:
            self._stop(EndReason.DISK_FULL, disk.detail)
            return
        if behind and self._policy == "stop":
            detail = f"when_behind is stop: {self._governor.pressure.detail}"
            self._stop(EndReason.POLICY, detail)
            return
        reason = None
        if disk.pauses(self._session_id) and not armed:
            reason = GapReason.DISK
        elif behind and (self._policy == "gap" or not self._paced):
            reason = GapReason.BACK_PRESSURE
        self._hold(reason)
        if self._paced:
            slow = behind and self._policy == "slow"
            self._slow(
                overload=ladder.step(self._session_id),
                behind=self._governor.pressure.step(now_ns) if slow else 0,
            )

    def _stop(self, reason: EndReason, detail: str) -> None:
        if not self._stopped:
            self._stopped = True
            self._reader.request(Stop(reason=reason, detail=detail))

    def _hold(self, reason: GapReason | None) -> None:
        if reason is self._held:
            return
        before, self._held = self._held, reason
        disk = GapReason.DISK in (before, reason)
        detail = self._governor.disk.detail if disk else self._governor.pressure.detail
        if before is not None:
            self._reader.request(GoOn())  # also where another reason follows: each has its gap
        if reason is not None:
            self._reader.request(Hold(detail=detail, reason=reason))
            log.warning("SessionHeld", reason=reason.value, detail=detail)
        else:
            log.info("SessionGoesOn", detail=detail)

    def _slow(self, *, overload: int, behind: int) -> None:
        fps = lowered(self._own_fps, max(overload, behind), self._governor.lowest_fps)
        if math.isclose(fps, self._fps):
            return
        lower = fps < self._fps
        if lower:  # on the way up it is the reason that is going away
            self._reason = "behind" if behind > overload else "overload"
        detail = self._detail(self._reason)
        self._reader.request(SetRate(fps=fps, reason=self._reason, detail=detail))
        self._metrics.rate_changed(self._reason, lower=lower)
        log.log(
            logging.WARNING if lower else logging.INFO,
            "FrameRateChanged",
            reason=self._reason,
            from_fps=self._fps,
            to_fps=fps,
            own_fps=self._own_fps,
            detail=detail,
        )
        self._fps = fps

    def _detail(self, reason: SlowedBy) -> str:
        if reason == "behind":
            return self._governor.pressure.detail
        return f"{self._governor.ladder.late_share:.0%} of reads came late"


def _paced(command: StartSession, facts: SourceFacts) -> bool:
    """Whether the recorder decides how often a source is read, while time goes on without it."""
    arrives = command.profile == "copy" or isinstance(command.source, ARRIVING)
    return facts.clock is SourceClock.LIVE and not arrives
