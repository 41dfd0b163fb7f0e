"""What looks after sealed sessions, put together: the door for commands, the keeper, the patrol."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from recorder_worker.bus.bus import Bus
from recorder_worker.bus.subscriptions import decode_command
from recorder_worker.core.pipeline import RETENTION
from recorder_worker.integrations.second_store.archiver import marker_of
from recorder_worker.integrations.second_store.patience import in_daemon
from recorder_worker.integrations.storage import StorageReports
from recorder_worker.ports import BlobStore, Clock, Signer
from recorder_worker.service.observing.health import Health
from recorder_worker.service.observing.keeping import KeepingGauges
from recorder_worker.service.patrol import NAME as PATROL
from recorder_worker.service.patrol import PatrolKeeping
from recorder_worker.service.retention import NAME, RetentionKeeping
from recorder_worker.service.settings.tree import Settings
from recorder_worker.stages.gate import CommandGate
from recorder_worker.stages.patrol.patrol import Patrol, Patrolled, SecondCopies
from recorder_worker.stages.retention.book import RetentionBook
from recorder_worker.stages.retention.keeper import RetentionKeeper
from recorder_worker.stages.retention.rules import RetentionLimits
from recorder_worker.stages.retention.stage import RetentionStage
from recorder_worker.stages.session_log.log_writer import LogWriter

WORKERS = 1


class Keeping:
    """Retention and patrol of one process; they share what is known of the log of sessions.

    Args:
        stores: that of the recorder, and if there is one, another that has copies: what goes, goes
            there too, and what is damaged is repaired from there.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        bus: Bus,
        stores: Sequence[BlobStore],
        signer: Signer,
        clock: Clock,
        writer: LogWriter,
        reports: StorageReports,
        worker: str,
    ) -> None:
        store = self._store = stores[0]
        self._clock = clock
        self._gauges: KeepingGauges | None = None
        self._book = RetentionBook(log=bus.log, store=store, signer=signer, writer=writer)
        limits = settings.retention
        keeper = RetentionKeeper(
            stores,
            clock,
            self._book,
            RetentionLimits(max_age_s=limits.max_age_s, max_total_bytes=limits.max_total_bytes),
            in_thread=in_daemon,
        )
        self.retention = RetentionKeeping(keeper, every_s=limits.every_s)
        self.patrol: PatrolKeeping | None = None
        if settings.patrol.bytes_per_s:
            patrol = Patrol(
                store,
                clock,
                self._book,
                worker=worker,
                bytes_per_s=settings.patrol.bytes_per_s,
                second=SecondCopies(stores[1] if len(stores) > 1 else None, self._elsewhere),
                tell=reports.chunk_failed,
                count=self._count,
            )
            self.patrol = PatrolKeeping(patrol, pause_s=settings.patrol.pause_s)

    def register(self, bus: Bus, gate: CommandGate, progressed: Callable[[], None]) -> None:
        """Register the consumer of the commands."""
        stage = RetentionStage(
            store=self._store,
            clock=self._clock,
            gate=gate,
            book=self._book,
            ordered=self.retention.ordered,
        )
        bus.register(
            RETENTION.name,
            stage.handle,
            decode=decode_command,
            workers=WORKERS,
            progressed=progressed,
        )

    def start(self, health: Health, gauges: KeepingGauges) -> None:
        """Begin, once the bus is there."""
        self._gauges = gauges
        health.add(NAME, self.retention.check)
        self.retention.start(gauges)
        if self.patrol is not None:
            health.add(PATROL, self.patrol.check)
            self.patrol.start()

    async def stop(self) -> None:
        """End both."""
        await self.retention.stop()
        if self.patrol is not None:
            await self.patrol.stop()

    def _elsewhere(self, session_id: str) -> bool:
        """Whether its chunks have left this store for the other one. Blocking."""
        marker = marker_of(self._store, session_id)
        return marker is not None and marker.leaving

    def _count(self, found: Patrolled, damaged: int) -> None:
        if self._gauges is not None:
            self._gauges.patrolled(found, damaged)
