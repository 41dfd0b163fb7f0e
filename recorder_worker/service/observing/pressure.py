"""Looks all the time how far the stages behind capture are behind, and whether it can write."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import structlog

from recorder_worker.bus.background import Background
from recorder_worker.bus.bus import Bus
from recorder_worker.core.errors import StoreError
from recorder_worker.core.load.back_pressure import Lag
from recorder_worker.core.pipeline import CHUNK, COMPRESS, MERKLE
from recorder_worker.ports import BlobStore
from recorder_worker.service.observing.health import Check
from recorder_worker.service.observing.sampling import spool_size
from recorder_worker.stages.capture.governor import Governor
from recorder_worker.stages.capture.segments.write_watch import WriteWatch

log = structlog.get_logger(__name__)

LOOK_S = 1.0
LATER_STAGES = (CHUNK.name, COMPRESS.name, MERKLE.name)
WRITES = "capture.writes"


class PressureWatch:
    """Tells a worker's governor what waits, wherever those stages run.

    What gets no answer keeps its last value: a server that is away is told by other means, and what
    capture does meanwhile waits in the spool, which is measured too.
    """

    def __init__(
        self,
        bus: Bus,
        store: BlobStore,
        governor: Governor,
        sessions: Callable[[], tuple[str, ...]],
    ) -> None:
        self._bus = bus
        self._store = store
        self._governor = governor
        self._sessions = sessions
        self._waiting = dict.fromkeys(LATER_STAGES, 0)
        self._spool_bytes = 0
        self._background = Background(self._look_for_ever)

    def start(self) -> None:
        """Begin to look."""
        self._background.start()

    async def stop(self) -> None:
        """Look no more."""
        await self._background.stop()

    async def _look_for_ever(self) -> None:
        while True:
            sessions = self._sessions()
            for stage in LATER_STAGES if sessions else ():
                await self._look_at(stage)
                if not self._background.running:
                    return
            await self._measure_spool(list(sessions))
            waiting = sum(self._waiting.values())
            self._governor.measured(Lag(messages=waiting, spool_bytes=self._spool_bytes))
            await asyncio.sleep(LOOK_S)

    async def _look_at(self, stage: str) -> None:
        try:
            found = await self._bus.backlog(stage)
        except (LookupError, TimeoutError) as error:
            log.debug("BacklogUnknown", stage=stage, error=str(error))
            return
        self._waiting[stage] = found.pending + found.ack_pending

    async def _measure_spool(self, sessions: list[str]) -> None:
        try:
            _, self._spool_bytes = await asyncio.to_thread(spool_size, self._store, sessions)
        except StoreError as error:
            log.debug("SampleMissed", what="spool", error=str(error))


def writes_check(writes: WriteWatch) -> Callable[[], Check]:
    """A check that the segments of all sessions get onto the disk."""

    def check() -> Check:
        trouble = writes.trouble()
        return Check(WRITES, not trouble, trouble or "every segment was stored in time")

    return check
