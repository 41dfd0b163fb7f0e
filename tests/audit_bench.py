"""One recorder's audit trail on a real server, and any number of workers that keep it."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Self

from fresh_streams import BEHIND_WINDOW_S
from memory_signer import MemorySigner
from mortal import Axe, Mortal
from nats.js.api import RawStreamMsg
from two_clocks import TwoClocks

from recorder_worker.adapters.directory_store import DirectoryStore
from recorder_worker.bus.audit_stream import JetStreamAuditStream
from recorder_worker.bus.connection.broker import RecorderBroker
from recorder_worker.bus.event_log import JetStreamEventLog
from recorder_worker.bus.headers import EventHeaders
from recorder_worker.bus.streams.topology import AUDIT_STREAM
from recorder_worker.cli.data_directory import DataDirectory
from recorder_worker.core import keys
from recorder_worker.core.audit_trail.bundle import Bundle, parse_bundle
from recorder_worker.core.errors import FencedError
from recorder_worker.core.events import (
    CommandAccepted,
    CommandDenied,
    RecordingExported,
    RecordingViewed,
)
from recorder_worker.core.log_audit.audit import audit_log
from recorder_worker.core.log_audit.report import LogReport
from recorder_worker.core.model import ClockState
from recorder_worker.core.session_log.entries import EntryKind, LogEntry
from recorder_worker.core.session_log.stored_log import check_log, read_checkpoint
from recorder_worker.core.subjects import Fact
from recorder_worker.stages.audit_trail.keeper import AuditKeeper
from recorder_worker.stages.session_log.log_files import LogFiles
from recorder_worker.stages.session_log.log_writer import LogWriter
from recorder_worker.stages.session_log.stage import SessionLogStage

RECORDER = "recorder-of-tests"
SESSION = "0192f3a4-5b6c-7d8e-9f00-112233445566"
SECOND_NS = 1_000_000_000
DAY_NS = 86_400 * SECOND_NS
DIGEST_S = 60.0
MAX_AGE_S = 90 * 86_400


class SetClock:
    """A clock that a test moves."""

    def __init__(self, wall_ns: int) -> None:
        self.now_ns = wall_ns

    def monotonic_ns(self) -> int:
        return self.now_ns

    def wall_ns(self) -> int:
        return self.now_ns

    def state(self) -> ClockState:
        return ClockState.SYNCHRONISED

    def pass_s(self, seconds: float) -> None:
        self.now_ns += round(seconds * SECOND_NS)


class AuditBench:
    """Publishes audit events, and makes keepers that may die."""

    def __init__(self, broker: RecorderBroker, folder: Path, clock: SetClock | TwoClocks) -> None:
        self.broker = broker
        self.folder = folder
        self.clock = clock
        self.log = JetStreamEventLog(lambda: broker.jetstream, EventHeaders("node"))
        self.stream = JetStreamAuditStream(lambda: broker.jetstream)
        self.store = DirectoryStore(folder)
        self.signer = MemorySigner()
        self.published = 0

    def beside(self, name: str) -> Self:
        """Another recorder on the same server."""
        return type(self)(self.broker, self.folder.parent / name, self.clock)

    # --- the workers ------------------------------------------------------------------------------

    def keeper(
        self,
        axe: Axe | None = None,
        *,
        max_age_s: int = MAX_AGE_S,
        stage: SessionLogStage | None = None,
        steady_s: float = 0,
    ) -> AuditKeeper:
        axe = axe or Axe()
        store = Mortal(self.store, axe, "put", "replace", "delete")
        writer = LogWriter(
            log=Mortal(self.log, axe, "append", "append_to_all", "emit"),
            store=store,
            signer=Mortal(self.signer, axe, "sign_device"),
            recorder=RECORDER,
        )
        return AuditKeeper(
            self.stream,
            store,
            stage.writer if stage else writer,
            self.clock,
            digest_s=DIGEST_S,
            max_age_s=max_age_s,
            steady_s=steady_s,
        )

    def session_stage(self) -> SessionLogStage:
        return SessionLogStage(
            log=self.log,
            store=self.store,
            signer=self.signer,
            clock=self.clock,
            recorder=RECORDER,
        )

    async def fold(self, keeper: AuditKeeper) -> float:
        """As a worker does: again, where another one was quicker."""
        while True:
            try:
                return await keeper.fold()
            except FencedError:
                await asyncio.sleep(0.005)

    async def enter(self, count: int = 2, keeper: AuditKeeper | None = None) -> None:
        """Some events, and their entry a minute later."""
        await self.events(count)
        self.clock.pass_s(DIGEST_S)
        await self.fold(keeper or self.keeper())

    # --- what happens on the bus ------------------------------------------------------------------

    async def events(self, count: int) -> None:
        """Somebody starts, is refused, looks and takes away."""
        for _ in range(count):
            self.published += 1
            await self._event(self.published)

    async def _event(self, number: int) -> None:
        who = {
            "actor": f"kim-{number}",
            "role": "USER",
            "session_id": SESSION,
            "node": "node",
            "wall_ns": self.clock.wall_ns() + number,
        }
        command = {"command": "session.stop", "command_id": f"c{number}"}
        digest = {"command_blake3": f"{number:064x}"}
        facts = (
            (Fact.AUDIT_ACCEPTED, CommandAccepted(**who, **command, **digest)),  # type: ignore[arg-type]
            (
                Fact.AUDIT_DENIED,
                CommandDenied(**who, **command, **digest, field="by", reason="not the owner"),  # type: ignore[arg-type]
            ),
            (Fact.AUDIT_VIEWED, RecordingViewed(**who, what="list")),  # type: ignore[arg-type]
            (Fact.AUDIT_EXPORTED, RecordingExported(**who, what="proof", detail="chunk 3")),  # type: ignore[arg-type]
        )
        fact, event = facts[number % len(facts)]
        key = f"{self.folder.name} {number}"
        await self.log.emit(fact, SESSION, event, key=key)

    async def stored(self) -> list[RawStreamMsg]:
        """All that the stream has."""
        jetstream = self.broker.jetstream
        state = (await jetstream.stream_info(AUDIT_STREAM)).state
        sequences = range(state.first_seq, state.last_seq + 1)
        return [await jetstream.get_msg(AUDIT_STREAM, seq=sequence) for sequence in sequences]

    async def forget_ids(self) -> None:
        await asyncio.sleep(BEHIND_WINDOW_S)

    # --- what is stored ---------------------------------------------------------------------------

    def bundle_path(self, first: int) -> Path:
        return self.folder / keys.audit_bundle(first)

    def overwrite(self, first: int, data: bytes) -> None:
        """What an attacker does."""
        path = self.bundle_path(first)
        path.unlink(missing_ok=True)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)

    def bundles(self) -> list[Bundle]:
        paths = sorted((self.folder / keys.AUDIT).glob("*.jsonl"))
        return [parse_bundle(path.read_bytes()) for path in paths]

    def bodies(self) -> list[bytes]:
        return [event.body for bundle in self.bundles() for event in bundle.events]

    def entries(self) -> list[LogEntry]:
        files = LogFiles(self.store)
        note = read_checkpoint(files.read)
        return list(check_log(files.read, note).entries) if note else []

    def audits(self) -> list[LogEntry]:
        return [entry for entry in self.entries() if entry.kind is EntryKind.AUDIT]

    def report(self) -> LogReport:
        data = DataDirectory(self.folder)
        return audit_log(data.read, data, bundles=data)

    async def check(self) -> LogReport:
        """Whole and signed; every event once, in the order of the stream, byte by byte."""
        report = self.report()
        assert report.problems == (), report.problems
        assert report.warnings == (), report.warnings
        assert self.bodies() == [message.data or b"" for message in await self.stored()]
        numbers = [line.n for bundle in self.bundles() for line in bundle.lines]
        assert numbers == list(range(1, report.audit.last + 1))
        return report
