"""The stages, and what goes by itself, on the ports of one process."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from nats.aio.msg import Msg
from nats.js.api import PubAck

from faults.injector import Process
from faults.session import (
    SteppedSource,
)
from recorder_worker.adapters.optics import OpenCvOptics
from recorder_worker.bus.audit_stream import JetStreamAuditStream
from recorder_worker.bus.event_log import JetStreamEventLog
from recorder_worker.bus.headers import EventHeaders
from recorder_worker.bus.last_resorts import last_resort
from recorder_worker.bus.sessions.session_bucket import SessionBucket
from recorder_worker.bus.streams.copies import JetStreamCopies
from recorder_worker.bus.subscriptions import (
    decode_captured,
    decode_command,
    decode_fact,
    decoder_of,
)
from recorder_worker.core.subjects import Fact
from recorder_worker.integrations.second_store.archiver import Archiver
from recorder_worker.integrations.second_store.copier import Copier
from recorder_worker.integrations.second_store.patience import Patience, Troubles, in_daemon
from recorder_worker.integrations.second_store.upload import Upload
from recorder_worker.integrations.session_entries import EntryKeeper
from recorder_worker.integrations.storage import StorageReports, StoredSessions
from recorder_worker.integrations.tsa_anchor import TsaAnchor
from recorder_worker.integrations.tsa_client import Authority
from recorder_worker.service import policies
from recorder_worker.service.audit_trail import AuditKeeping
from recorder_worker.service.retention import RetentionKeeping
from recorder_worker.service.second_store import by_event, claim
from recorder_worker.service.settings.disk import DiskSettings
from recorder_worker.service.settings.tree import (
    CaptureSettings,
    ChunkSettings,
    Settings,
)
from recorder_worker.stages.audit import AuditTrail
from recorder_worker.stages.audit_trail.keeper import AuditKeeper
from recorder_worker.stages.authoriser import OpenAuthoriser
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
from recorder_worker.stages.receipts import ReceiptsStage
from recorder_worker.stages.rejection import Rejections
from recorder_worker.stages.retention.book import RetentionBook
from recorder_worker.stages.retention.keeper import RetentionKeeper
from recorder_worker.stages.retention.rules import RetentionLimits
from recorder_worker.stages.retention.stage import RetentionStage
from recorder_worker.stages.retention.statement_files import StatementFiles
from recorder_worker.stages.session_log.log_writer import LogWriter
from recorder_worker.stages.session_log.numbering import number
from recorder_worker.stages.session_log.stage import SessionLogStage

if TYPE_CHECKING:
    from faults.world import World

NODE = "node"
RECORDER = "recorder-of-tests"
EPOCH_S = 60.0
DIGEST_S = 60.0
TEND_S = 3600.0
MAX_AGE_S = 3600
AUTHORITY = "http://authority.invalid"
"""Nobody asks there: tests put an authority in its place."""
SETTINGS = Settings(
    data_dir="unused",
    capture=CaptureSettings(segment_s=0.5, epoch_s=EPOCH_S, checkpoint_s=5),
    chunk=ChunkSettings(duration_s=1),
    disk=DiskSettings(floor_bytes=0),
)

Handle = Callable[[Any], Awaitable[None]]


class Turn(NamedTuple):
    """One turn of what goes by itself: how it ended, and what was asked of it."""

    done: asyncio.Future[bool]
    asked: Any = None


class ProcessJetStream:
    """JetStream as one process sees it."""

    def __init__(self, world: World, process: Process) -> None:
        self._world = world
        self._process = process

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401  (all else is the broker's)
        return getattr(self._world.broker.jetstream(), name)

    async def publish(
        self,
        subject: str,
        payload: bytes = b"",
        timeout: float | None = None,  # noqa: ASYNC109  (nats-py's own parameter)
        stream: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> PubAck:
        del timeout
        self._process.check()
        return await self._world.published(subject, payload, stream, headers or {})


class Bench:
    """The stages, on the ports of one process."""

    def __init__(self, world: World, process: Process) -> None:
        jetstream: Any = ProcessJetStream(world, process)
        self.world = world
        self.process = process
        self.jetstream = lambda: jetstream
        self.events = process.port(
            "EventLog", JetStreamEventLog(self.jetstream, EventHeaders(NODE))
        )
        self.store = process.port("BlobStore", world.witnessed)
        self.second = process.port("BlobStore", world.parts.second, "second/")
        self.signer = process.port("Signer", world.parts.signer)
        self.ciphers = process.port("CipherKeys", world.parts.ciphers)
        self.clock = world.clock
        self.metrics = world.metrics

    def _gate(self) -> CommandGate:
        rejections = Rejections(self.events, self.clock, self.metrics)
        return CommandGate(OpenAuthoriser(), AuditTrail(self.events, self.clock, NODE), rejections)

    def reports(self) -> StorageReports:
        return StorageReports(self.events, self.clock, NODE)

    def control(self) -> tuple[Handle, Callable[[Msg], Any]]:
        return ControlStage(self.events, self.clock, self._gate()).handle, decode_command

    def capture(self) -> tuple[Handle, Callable[[Msg], Any]]:
        services = CaptureServices(
            log=self.events,
            store=self.store,
            clock=self.clock,
            metrics=self.metrics,
            controls=self.world,
            gate=self._gate(),
            rejections=Rejections(self.events, self.clock, self.metrics),
            open_source=self._source,
            open_packets=None,  # type: ignore[arg-type]  # the session is one of pictures
            optics=OpenCvOptics(),
            keyframes=None,  # type: ignore[arg-type]  # as open_packets
            number=partial(number, self.events, self.store),
            cipher_keys=self.ciphers,
            key_wrap=self.world.wrap,
            identity=NodeIdentity(
                node=NODE,
                boot_id="boot",
                software="tests",
                software_blake3="00" * 32,
                worker=f"{NODE}:{id(self.process)}",
            ),
            policy=policies.capture_policy(SETTINGS),
            governor=Governor(policies.load_limits(SETTINGS), self.clock, self.metrics),
            writes=WriteWatch(self.clock, self.metrics),
            got_on=self.world.got_on,
        )
        return CaptureStage(services).handle, decode_command

    def _source(self, source: Any, fps: float | None, first_unit: int) -> SteppedSource:  # noqa: ANN401  (any kind)
        del fps
        loop = self.process._loop
        return SteppedSource(self.process, self.world.happens, loop, source, first_unit)

    def owners(self) -> tuple[Handle, Callable[[Msg], Any]]:
        copies = JetStreamCopies(self.jetstream, EventHeaders(NODE))
        stage = OwnersStage(self.events.last, self.process.port("Copies", copies))
        return stage.handle, decode_fact

    def chunk(self) -> tuple[Handle, Callable[[Msg], Any]]:
        return ChunkStage(self.events).handle, decode_captured

    def compress(self) -> tuple[Handle, Callable[[Msg], Any]]:
        stage = CompressStage(self.events, self.store, self.metrics, self.ciphers)
        resorts = self.world.disposition.last_resorts
        resorts["compress"] = last_resort(Fact.CHUNKED, stage.give_up)
        return self.reports().watching("compress", stage.handle), decoder_of(Fact.CHUNKED)

    def merkle(self) -> tuple[Handle, Callable[[Msg], Any]]:
        stage = MerkleStage(
            log=self.events,
            store=self.store,
            signer=self.signer,
            cipher_keys=self.ciphers,
            clock=self.clock,
            metrics=self.metrics,
            recorder=RECORDER,
        )
        resorts = self.world.disposition.last_resorts
        resorts["merkle"] = last_resort(Fact.COMPRESSED, stage.give_up)
        return self.reports().watching("merkle", stage.handle), decoder_of(Fact.COMPRESSED)

    def log(self) -> tuple[Handle, Callable[[Msg], Any]]:
        stage = SessionLogStage(
            log=self.events,
            store=self.store,
            signer=self.signer,
            clock=self.clock,
            recorder=RECORDER,
        )
        resorts = self.world.disposition.last_resorts
        resorts["log"] = last_resort(Fact.CHECKPOINT, stage.give_up)
        return stage.handle, decoder_of(Fact.CHECKPOINT)

    def receipts(self) -> tuple[Handle, Callable[[Msg], Any]]:
        anchors = [self.world.engine.anchor]
        authority = self.world.authority
        trusted = (authority.trusted(),) if authority is not None else ()
        stage = ReceiptsStage(self.store, trusted, wall_ns=self.clock.wall_ns, anchors=anchors)
        return stage.handle, decoder_of(Fact.ANCHOR_RECEIPT)

    def tsa(self) -> tuple[Handle, Callable[[Msg], Any]]:
        stage = TsaAnchor(self.events, Authority(url=AUTHORITY, timeout_s=1.0))
        return stage.handle, decoder_of(Fact.ANCHOR_REQUESTED)

    def storage(self) -> tuple[Handle, Callable[[Msg], Any]]:
        deleted = StatementFiles(self.store, self.signer, RECORDER).is_deleted
        stage = StoredSessions(self.events, self.store, self.reports(), deleted)
        return stage.handle, decoder_of(Fact.SEALED)

    def table(self) -> tuple[Handle, Callable[[Msg], Any]]:
        bucket = self.process.port("EntryTable", SessionBucket(self.jetstream))
        return EntryKeeper(self.events, self.store, bucket).handle, decode_fact

    def upload(self) -> tuple[Handle, Callable[[Msg], Any]]:
        def opened() -> Any:  # noqa: ANN401  (a port of this process)
            claim(self.second, RECORDER)
            return self.second

        copies = self.metrics.copies
        statements = StatementFiles(self.store, self.signer, RECORDER)
        copier = Copier(self.store, opened, copies, deletion_of=statements.deletion)
        patience = Patience(Troubles(self.clock, copies), (0.001,))
        archiver = Archiver(self.events, copier, patience, self.clock, node=NODE, keep_local=True)
        stage = Upload(self.events, copier, archiver, patience, self.clock, node=NODE)
        return by_event(self.reports(), stage), decode_fact

    def book(self) -> RetentionBook:
        writer = LogWriter(log=self.events, store=self.store, signer=self.signer, recorder=RECORDER)
        return RetentionBook(log=self.events, store=self.store, signer=self.signer, writer=writer)

    def retention(self) -> tuple[Handle, Callable[[Msg], Any]]:
        stage = RetentionStage(
            store=self.store,
            clock=self.clock,
            gate=self._gate(),
            book=self.book(),
            ordered=self.world.ordered,
        )
        return stage.handle, decode_command

    def remover(self) -> Handle:
        keeper = RetentionKeeper(
            (self.store, self.second),
            self.clock,
            self.book(),
            RetentionLimits(max_age_s=MAX_AGE_S),
            in_thread=in_daemon,
            steady_s=0,  # each process is a new one, and no time goes by while it is there
        )
        keeping = RetentionKeeping(keeper, every_s=TEND_S)

        async def tend(turn: Turn) -> None:
            wait_s = await keeping._tend()
            turn.done.set_result(wait_s == TEND_S)  # else it says how soon it tries again

        return tend

    def keeper(self) -> Handle:
        writer = LogWriter(log=self.events, store=self.store, signer=self.signer, recorder=RECORDER)
        keeper = AuditKeeper(
            JetStreamAuditStream(self.jetstream),
            self.store,
            writer,
            self.clock,
            digest_s=DIGEST_S,
            max_age_s=90 * 86_400,
        )

        keeping = AuditKeeping(keeper, self.events, self.clock)

        async def fold(turn: Turn) -> None:
            wait_s = await keeping._fold()
            turn.done.set_result(wait_s == DIGEST_S)  # else it says how soon it tries again

        return fold
