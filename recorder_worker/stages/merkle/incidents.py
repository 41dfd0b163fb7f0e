"""Incidents of the merkle stage: signing has stopped for a session, everything is kept."""

from __future__ import annotations

import structlog

from recorder_worker.core.errors import PermanentError
from recorder_worker.core.events import CompressedEvent, SessionIncident
from recorder_worker.core.ids import event_key
from recorder_worker.core.subjects import Fact
from recorder_worker.ports import Clock, EventLog

log = structlog.get_logger(__name__)

STAGE = "merkle"


class Incidents:
    """Reads and reports them."""

    def __init__(self, event_log: EventLog, clock: Clock) -> None:
        self._log = event_log
        self._clock = clock

    async def refuse_behind_one(self, leaf: CompressedEvent) -> None:
        """Raises PermanentError where the leaf before this one will never come."""
        stopped = await self._of(leaf.session_id)
        if stopped is not None:
            raise PermanentError(
                f"session {leaf.session_id}: leaf {leaf.index} waits for one that will not come, "
                f"for signing has stopped: {stopped.detail}"
            )

    async def report_first(self, session_id: str, detail: str) -> None:
        """As `report`, unless signing had stopped before."""
        if await self._of(session_id) is None:
            await self.report(session_id, detail)

    async def report(self, session_id: str, detail: str) -> None:
        """Tell the world that signing has stopped for this session."""
        log.error("SigningStopped", session_id=session_id, reason=detail)
        incident = SessionIncident(
            session_id=session_id,
            stage=STAGE,
            detail=detail,
            wall_ns=self._clock.wall_ns(),
        )
        key = event_key(Fact.INCIDENT.value, session_id, detail)
        await self._log.emit(Fact.INCIDENT, session_id, incident, key=key)

    async def _of(self, session_id: str) -> SessionIncident | None:
        """Our own incident of a session; one of the log of sessions stops no recording."""
        async for logged in self._log.read(Fact.INCIDENT, session_id):
            if isinstance(logged.event, SessionIncident) and logged.event.stage == STAGE:
                return logged.event
        return None
