"""Puts the stages of this process on the bus."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable
from functools import partial
from pathlib import Path

from recorder_worker.adapters.keyframes import AvKeyframes
from recorder_worker.adapters.optics import OpenCvOptics
from recorder_worker.adapters.sources.opener import GuardedOpener
from recorder_worker.bus.bus import Bus
from recorder_worker.bus.last_resorts import last_resort, last_resort_of_commands
from recorder_worker.bus.subscriptions import (
    decode_captured,
    decode_command,
    decode_fact,
    decoder_of,
)
from recorder_worker.core.pipeline import (
    CAPTURE,
    CHUNK,
    COMPRESS,
    CONTROL,
    MERKLE,
    OWNERS,
    RETENTION,
    SESSION_LOG,
)
from recorder_worker.core.subjects import Fact
from recorder_worker.integrations.storage import StorageReports
from recorder_worker.ports import BlobStore, Clock, Signer, StageMetrics
from recorder_worker.service import policies
from recorder_worker.service.anchors import register_anchors
from recorder_worker.service.audit_trail import AuditKeeping
from recorder_worker.service.authorisation import authoriser_for
from recorder_worker.service.encryption import cipher_keys, key_wrap
from recorder_worker.service.integrations import register_integrations
from recorder_worker.service.keeping import Keeping
from recorder_worker.service.settings.tree import Settings
from recorder_worker.service.signing import file_signer
from recorder_worker.service.software import SOFTWARE, software_blake3
from recorder_worker.stages.audit import AuditTrail
from recorder_worker.stages.audit_trail.keeper import AuditKeeper
from recorder_worker.stages.capture.governor import Governor
from recorder_worker.stages.capture.segments.write_watch import WriteWatch
from recorder_worker.stages.capture.services import CaptureServices, NodeIdentity
from recorder_worker.stages.capture.stage import CaptureStage
from recorder_worker.stages.chunk import ChunkStage
from recorder_worker.stages.compress import CompressStage
from recorder_worker.stages.control import ControlStage
from recorder_worker.stages.gate import CommandGate
from recorder_worker.stages.merkle.stage import MerkleStage
from recorder_worker.stages.owners import OwnersStage
from recorder_worker.stages.rejection import Rejections
from recorder_worker.stages.retention.statement_files import StatementFiles
from recorder_worker.stages.session_log.log_writer import LogWriter
from recorder_worker.stages.session_log.numbering import number
from recorder_worker.stages.session_log.stage import SessionLogStage

BOOT_ID_FILE = Path("/proc/sys/kernel/random/boot_id")

Progressed = Callable[[str], Callable[[], None]]
"""For a stage's name: what to call whenever it has handled a message."""


class StageSet:
    """The stages that the settings name, wired to one bus."""

    def __init__(
        self,
        settings: Settings,
        *,
        node: str,
        store: BlobStore,
        clock: Clock,
        metrics: StageMetrics,
        second: BlobStore | None = None,
    ) -> None:
        self._settings = settings
        self._node = node
        self._store = store
        self._clock = clock
        self._metrics = metrics
        self._stores = (store,) if second is None else (store, second)
        self.identity = _identity(node)
        self.governor = Governor(policies.load_limits(settings), clock, metrics)
        self.writes = WriteWatch(clock, metrics)
        self.capture: CaptureStage | None = None
        self.audit_trail: AuditKeeping | None = None
        self.keeping: Keeping | None = None
        self.registered: list[str] = []
        self.statements: StatementFiles | None = None
        """What was said of sessions, by this recorder, where `merkle` runs here."""

    def register(self, bus: Bus, progressed: Progressed) -> None:
        """Register every stage that this process runs."""
        wiring = {
            CAPTURE.name: self._capture,
            CHUNK.name: self._chunk,
            COMPRESS.name: self._compress,
            MERKLE.name: self._merkle,
        }
        for stage in self._settings.stages:
            wiring[stage](bus, progressed)

    def look_again(self) -> None:
        """Something changed that sessions recorded here look at: they need not find out late."""
        if self.capture is not None:
            self.capture.wake_all()

    def _capture(self, bus: Bus, progressed: Progressed) -> None:
        rejections = Rejections(bus.log, self._clock, self._metrics)
        gate = CommandGate(
            authoriser_for(self._settings.auth, bus.jetstream),
            AuditTrail(bus.log, self._clock, self._node),
            rejections,
        )
        opener = GuardedOpener(
            policies.source_rules(self._settings),
            bus.frames,
            self._settings.sources.credentials_dir,
        )
        control = ControlStage(bus.log, self._clock, gate)
        self.capture = CaptureStage(
            CaptureServices(
                log=bus.log,
                store=self._store,
                clock=self._clock,
                metrics=self._metrics,
                controls=bus.controls,
                gate=gate,
                rejections=rejections,
                open_source=opener,
                open_packets=opener,
                optics=OpenCvOptics(),
                keyframes=AvKeyframes(self._settings.sources.max_pixels, os.cpu_count() or 1),
                number=partial(number, bus.log, self._store),
                identity=self.identity,
                cipher_keys=cipher_keys(self._settings),
                key_wrap=key_wrap(self._settings),
                policy=policies.capture_policy(self._settings),
                governor=self.governor,
                writes=self.writes,
                got_on=lambda delivery: bus.attempts.got_on(CAPTURE.name, delivery.place),
            )
        )
        bus.register(
            CONTROL.name,
            control.handle,
            decode=decode_command,
            workers=policies.CONTROL_WORKERS,
            progressed=progressed(CONTROL.name),
        )
        bus.register(
            CAPTURE.name,
            self.capture.handle,
            decode=decode_command,
            workers=self._settings.capture.capacity,
            progressed=progressed(CAPTURE.name),
            # A session that has begun is ended, so that it is sealed with what it has.
            last_resort=last_resort_of_commands(self.capture.give_up),
        )
        bus.register(
            OWNERS.name,
            OwnersStage(bus.log.last, bus.copies).handle,
            decode=decode_fact,
            workers=policies.OWNERS_WORKERS,
            progressed=progressed(OWNERS.name),
        )
        self.registered += [CONTROL.name, CAPTURE.name, OWNERS.name]

    def _chunk(self, bus: Bus, progressed: Progressed) -> None:
        stage = ChunkStage(bus.log, lambda: bus.reconnects)
        bus.register(
            CHUNK.name,
            stage.handle,
            decode=decode_captured,
            workers=self._settings.chunk.workers,
            progressed=progressed(CHUNK.name),
        )
        self.registered.append(CHUNK.name)

    def _compress(self, bus: Bus, progressed: Progressed) -> None:
        keys = cipher_keys(self._settings)
        stage = CompressStage(bus.log, self._store, self._metrics, keys)
        bus.register(
            COMPRESS.name,
            self._reports(bus).watching(COMPRESS.name, stage.handle),
            decode=decoder_of(Fact.CHUNKED),
            workers=self._settings.compress.workers,
            progressed=progressed(COMPRESS.name),
            # A chunk that cannot be made becomes a gap.
            last_resort=last_resort(Fact.CHUNKED, stage.give_up),
        )
        self.registered.append(COMPRESS.name)

    def _merkle(self, bus: Bus, progressed: Progressed) -> None:
        signer = file_signer(self._settings)
        recorder = self._settings.merkle.recorder or signer.recorder
        self.statements = StatementFiles(self._store, signer, recorder)
        stage = MerkleStage(
            log=bus.log,
            store=self._store,
            signer=signer,
            cipher_keys=cipher_keys(self._settings),
            clock=self._clock,
            metrics=self._metrics,
            recorder=recorder,
            connection=lambda: bus.reconnects,
        )
        bus.register(
            MERKLE.name,
            self._reports(bus).watching(MERKLE.name, stage.handle),
            decode=decoder_of(Fact.COMPRESSED),
            workers=self._settings.merkle.workers,
            progressed=progressed(MERKLE.name),
            # A leaf that the tree will never have stops its session, aloud.
            last_resort=last_resort(Fact.COMPRESSED, stage.give_up),
        )
        self.registered.append(MERKLE.name)
        self._session_log(bus, progressed, signer, recorder)
        self.registered += register_anchors(bus, self._settings.anchors, self._store, progressed)
        deleted = StatementFiles(self._store, signer, recorder).is_deleted
        self.registered += register_integrations(bus, self._store, self._reports(bus), deleted)

    def _reports(self, bus: Bus) -> StorageReports:
        return StorageReports(bus.log, self._clock, self._node)

    def _session_log(self, bus: Bus, progressed: Progressed, signer: Signer, recorder: str) -> None:
        stage = SessionLogStage(
            log=bus.log,
            store=self._store,
            signer=signer,
            clock=self._clock,
            recorder=recorder,
            connection=lambda: bus.reconnects,
        )
        bus.register(
            SESSION_LOG.name,
            stage.handle,
            decode=decoder_of(Fact.CHECKPOINT),
            workers=policies.LOG_WORKERS,
            progressed=progressed(SESSION_LOG.name),
            # A session that is not in the log is said aloud.
            last_resort=last_resort(Fact.CHECKPOINT, stage.give_up),
        )
        self.registered.append(SESSION_LOG.name)
        self._retention(bus, progressed, signer, stage.writer)
        keeper = AuditKeeper(
            bus.audit,
            self._store,
            stage.writer,
            self._clock,
            digest_s=self._settings.audit.digest_s,
            max_age_s=self._settings.audit.max_age_s,
        )
        self.audit_trail = AuditKeeping(keeper, bus.log, self._clock)

    def _retention(
        self, bus: Bus, progressed: Progressed, signer: Signer, writer: LogWriter
    ) -> None:
        self.keeping = Keeping(
            self._settings,
            bus=bus,
            stores=self._stores,
            signer=signer,
            clock=self._clock,
            writer=writer,
            reports=self._reports(bus),
            worker=self.identity.worker,
        )
        gate = CommandGate(
            authoriser_for(self._settings.auth, bus.jetstream),
            AuditTrail(bus.log, self._clock, self._node),
            Rejections(bus.log, self._clock, self._metrics),
        )
        self.keeping.register(bus, gate, progressed(RETENTION.name))
        self.registered.append(RETENTION.name)


def _identity(node: str) -> NodeIdentity:
    """This process: its machine, the machine's present boot, its software, its own name."""
    boot_id = BOOT_ID_FILE.read_text().strip() if BOOT_ID_FILE.exists() else ""
    return NodeIdentity(
        node=node,
        boot_id=boot_id,
        software=SOFTWARE,
        software_blake3=software_blake3(),
        worker=f"{node}:{os.getpid()}:{secrets.token_hex(4)}",
    )
