"""Puts the integrations on the bus: storage, table of sessions, gateway, node reports.

None of them holds anything up: each has its own consumer or task, none counts for readiness, and
one that cannot start is logged and left out.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable

import structlog

from recorder_worker.adapters.machine import Machine
from recorder_worker.bus.bus import Bus
from recorder_worker.bus.micro_service import MicroService
from recorder_worker.bus.sessions.session_bucket import SessionBucket
from recorder_worker.bus.streams.topology import AUDIT_STREAM, COMMANDS_STREAM, SESSIONS_STREAM
from recorder_worker.bus.subscriptions import decode_fact, decoder_of
from recorder_worker.core.gateway_messages import StageBacklog, StreamUse
from recorder_worker.core.pipeline import CONSUMERS, MERKLE, STORAGE, TABLE, UPLOAD
from recorder_worker.core.subjects import Fact
from recorder_worker.integrations.audit_room import AuditRoom
from recorder_worker.integrations.audited_gate import AuditedGate
from recorder_worker.integrations.dead_letters.desk import DeadLetterDesk
from recorder_worker.integrations.gateway import Gateway, Surroundings
from recorder_worker.integrations.node_reporter import NodeAbout, NodeReporter
from recorder_worker.integrations.session_entries import EntryKeeper
from recorder_worker.integrations.storage import StorageReports, StoredSessions
from recorder_worker.ports import BlobStore, Clock
from recorder_worker.service.authorisation import authoriser_for
from recorder_worker.service.consumer_keeper import ConsumerKeeper
from recorder_worker.service.observing.metrics import Metrics
from recorder_worker.service.settings.tree import Settings
from recorder_worker.service.software import SOFTWARE
from recorder_worker.stages.audit import AuditTrail

log = structlog.get_logger(__name__)

STORAGE_WORKERS = 1
TABLE_WORKERS = 4
"""Each checkpoint of each session is written into the table; of one session one at a time."""
START_S = 10.0


def register_integrations(
    bus: Bus, store: BlobStore, reports: StorageReports, is_deleted: Callable[[str], bool]
) -> list[str]:
    """Register the consumers of `storage` and `table`; gives their names."""
    bus.register(
        STORAGE.name,
        StoredSessions(bus.log, store, reports, is_deleted).handle,
        decode=decoder_of(Fact.SEALED),
        workers=STORAGE_WORKERS,
        progressed=lambda: None,
    )
    bus.register(
        TABLE.name,
        EntryKeeper(bus.log, store, SessionBucket(bus.jetstream), lambda: bus.reconnects).handle,
        decode=decode_fact,
        workers=TABLE_WORKERS,
        progressed=lambda: None,
    )
    return [STORAGE.name, TABLE.name]


class Integrations:
    """What answers and tells beside the stages, from the start of the bus to its end."""

    def __init__(
        self,
        settings: Settings,
        *,
        node: str,
        worker: str,
        store: BlobStore,
        clock: Clock,
        metrics: Metrics,
        sessions: Callable[[], tuple[str, ...]],
    ) -> None:
        self._settings = settings
        self._node = node
        self._worker = worker
        self._store = store
        self._clock = clock
        self._metrics = metrics
        self._sessions = sessions
        self._service: MicroService | None = None
        self._keeper: ConsumerKeeper | None = None
        self._reporter: NodeReporter | None = None

    async def start(self, bus: Bus) -> None:
        """Start what this worker runs of them."""
        await _unless_it_fails("gateway", lambda: self._start_gateway(bus))
        await _unless_it_fails("node", lambda: self._start_reporter(bus))

    async def draining(self) -> None:
        """Say that this worker is about to give its leases back."""
        if self._reporter is not None:
            await self._reporter.draining()

    async def stop(self) -> None:
        """Take no more requests."""
        if self._keeper is not None:
            await self._keeper.stop()
        if self._service is not None:
            await self._service.stop()

    async def _start_gateway(self, bus: Bus) -> None:
        if MERKLE.name not in self._settings.stages:
            return
        copied = () if self._settings.storage.kind == "none" else (UPLOAD.name,)
        self._keeper = ConsumerKeeper(bus, (STORAGE.name, TABLE.name, *copied))
        self._keeper.start()
        gate = AuditedGate(
            authoriser_for(self._settings.auth, bus.jetstream),
            AuditTrail(bus.log, self._clock, self._node),
            AuditRoom(lambda: bus.fill(AUDIT_STREAM), self._clock),
            self._clock,
        )
        gateway = Gateway(
            SessionBucket(bus.jetstream),
            self._store,
            gate,
            Surroundings(
                software=SOFTWARE,
                node=self._node,
                backlogs=lambda: _backlogs(bus),
                streams=lambda: _streams(bus),
            ),
        )
        desk = DeadLetterDesk(bus.dead_letters, bus.log, gate, self._clock, self._node)
        self._service = gateway.service(*desk.served())
        await self._service.start(bus.client)

    async def _start_reporter(self, bus: Bus) -> None:
        records = "capture" in self._settings.stages
        about = NodeAbout(
            worker=subject_token(self._worker),
            node=self._node,
            stages=self._settings.stages,
            software=SOFTWARE,
            capacity=self._settings.capture.capacity if records else 0,
            heartbeat_s=self._settings.nodes.heartbeat_s,
        )
        self._reporter = NodeReporter(
            bus.log,
            self._clock,
            about,
            sessions=self._sessions,
            load=Machine(self._settings.data_path).load,
            throughput=self._metrics.throughput,
        )
        self._reporter.start()


def subject_token(name: str) -> str:
    """A worker's name as one token of a subject."""
    return re.sub(r"[^A-Za-z0-9_-]", "_", name)


async def _unless_it_fails(what: str, start: Callable[[], Awaitable[None]]) -> None:
    try:
        async with asyncio.timeout(START_S):
            await start()
    except Exception as error:  # noqa: BLE001  (recording is worth more than any integration)
        log.warning("IntegrationLeftOut", integration=what, error=repr(error))


async def _backlogs(bus: Bus) -> tuple[StageBacklog, ...]:
    found = []
    for stage in CONSUMERS:
        try:
            backlog = await bus.backlog(stage.name)
        except LookupError:
            continue  # it is gone from the server; /readyz says so
        found.append(
            StageBacklog(stage=stage.name, pending=backlog.pending, ack_pending=backlog.ack_pending)
        )
    return tuple(found)


async def _streams(bus: Bus) -> tuple[StreamUse, ...]:
    fills = [(stream, await bus.fill(stream)) for stream in (COMMANDS_STREAM, SESSIONS_STREAM)]
    return tuple(
        StreamUse(stream=stream, stored_bytes=fill.stored_bytes, max_bytes=fill.max_bytes)
        for stream, fill in fills
    )
