"""Keeps the audit trail of this process going: folds, waits, tries again, says what is wrong."""

from __future__ import annotations

import asyncio
import random

import structlog

from recorder_worker.bus.background import Background
from recorder_worker.core.errors import (
    FencedError,
    IncidentError,
    RecorderError,
    TransientError,
)
from recorder_worker.core.events import SessionIncident
from recorder_worker.core.ids import event_key
from recorder_worker.core.session_log.entries import NO_SESSION
from recorder_worker.core.subjects import Fact
from recorder_worker.ports import Clock, EventLog
from recorder_worker.service.observing.health import Check
from recorder_worker.stages.audit_trail.keeper import AuditKeeper

log = structlog.get_logger(__name__)

NAME = "audit"
SOON_S = 0.2
"""Until a worker that met another one looks again; each by its own chance, so that they part."""
RETRY_S = 5.0


class AuditKeeping:
    """The task that folds; `start` and `stop` it."""

    def __init__(self, keeper: AuditKeeper, events: EventLog, clock: Clock) -> None:
        self._keeper = keeper
        self._events = events
        self._clock = clock
        self._problem = ""
        self._background = Background(self._fold_for_ever)

    def check(self) -> Check:
        """The check for `Health.add`."""
        detail = self._problem or f"{self._keeper.trail.last} events are entered"
        return Check(NAME, ok=not self._problem, detail=detail)

    def start(self) -> None:
        """Begin to fold."""
        self._background.start()

    async def stop(self) -> None:
        """Fold no more. What is not entered yet is for whoever comes next."""
        await self._background.stop()

    async def _fold_for_ever(self) -> None:
        while True:
            wait_s = await self._fold()
            if not self._background.running:
                return
            await asyncio.sleep(wait_s)

    async def _fold(self) -> float:
        """One fold; gives the seconds until the next one."""
        try:
            wait_s = await self._keeper.fold()
        except FencedError:
            return SOON_S * random.random()  # noqa: S311  (no secret)
        except IncidentError as error:
            await self._stopped(str(error))
            return RETRY_S
        except TransientError as error:
            log.warning("AuditTrailPostponed", error=str(error))
            return RETRY_S
        except Exception as error:
            # A defect must not end the task: the next try may fare better, and health says so.
            log.exception("AuditTrailFailed")
            self._problem = f"no event is entered: {error!r}; see the log of this worker"
            return RETRY_S
        self._problem = ""
        return wait_s

    async def _stopped(self, detail: str) -> None:
        """Say it once; it is tried again, and a person has to look first."""
        if detail == self._problem:
            return
        self._problem = detail
        log.error("AuditTrailStopped", reason=detail)
        incident = SessionIncident(
            session_id=NO_SESSION, stage=NAME, detail=detail, wall_ns=self._clock.wall_ns()
        )
        key = event_key(Fact.INCIDENT.value, NAME, NO_SESSION, detail)
        try:
            await self._events.emit(Fact.INCIDENT, NO_SESSION, incident, key=key)
        except RecorderError as error:
            log.warning("AuditTrailPostponed", error=str(error))
