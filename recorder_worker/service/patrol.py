"""Keeps the patrol of this process going: walks, rests, tries again, says what is damaged."""

from __future__ import annotations

import asyncio

import structlog

from recorder_worker.bus.background import Background
from recorder_worker.core.errors import RecorderError
from recorder_worker.service.observing.health import Check
from recorder_worker.stages.patrol.patrol import Patrol

log = structlog.get_logger(__name__)

NAME = "patrol"
RETRY_S = 30.0
LONGEST_REST_S = 30.0
"""So often is looked whether another worker, which walked, is gone."""
SHOWN = 3


class PatrolKeeping:
    """The task that walks; `start` and `stop` it. `pause_s` is from round to round."""

    def __init__(self, patrol: Patrol, *, pause_s: float) -> None:
        self._patrol = patrol
        self._pause_s = pause_s
        self._problem = ""
        self._background = Background(self._walk_for_ever)

    def check(self) -> Check:
        """The check for `Health.add`.

        Damage does not make a worker unfit: it is told by a fact and a metric, and shown here.
        """
        place = self._patrol.place
        damaged = ", ".join(damage.key for damage in place.damaged[:SHOWN])
        found = f"{len(place.damaged)} damaged chunks: {damaged}" if damaged else "no damage known"
        detail = self._problem or f"round {place.round}, {found}"
        return Check(NAME, ok=not self._problem, detail=detail)

    def start(self) -> None:
        """Begin to walk."""
        self._background.start()

    async def stop(self) -> None:
        """Walk no further; whoever comes next goes on from here."""
        await self._background.stop()

    async def _walk_for_ever(self) -> None:
        while True:
            try:
                wait_s = min(await self._patrol.walk(self._pause_s), LONGEST_REST_S)
                self._problem = ""
            except RecorderError as error:
                log.warning("PatrolPostponed", error=str(error))
                wait_s = RETRY_S
            except Exception as error:
                # A defect must not end the task: the next try may fare better, and health says so.
                log.exception("PatrolFailed")
                self._problem = f"nothing is read: {error!r}; see the log of this worker"
                wait_s = RETRY_S
            if not self._background.running:
                return
            await asyncio.sleep(wait_s)
