"""The capture stage: a start message becomes a lease, and a lease a recording.

The message stays un-acked while the session is recorded, so a worker that dies gives it back by
doing nothing; whoever gets it next finds in the last captured event all that is needed to go on.
"""

from __future__ import annotations

import asyncio

import msgspec
import structlog
from blake3 import blake3

from recorder_worker.core.command_parsing import parse_command, session_id_in
from recorder_worker.core.commands import StartSession
from recorder_worker.core.errors import (
    RefusedError,
    SourceError,
)
from recorder_worker.core.events import (
    Captured,
    EndCaptured,
    LeaseReleased,
    Opened,
)
from recorder_worker.core.ids import session_id_for
from recorder_worker.core.model import Cursor, FileSource, GapReason, PatternSource, SourceFacts
from recorder_worker.core.subjects import Fact
from recorder_worker.ports import Delivery, FrameSource
from recorder_worker.stages.capture.admission import Admission, bad_source
from recorder_worker.stages.capture.journal import CapturedJournal
from recorder_worker.stages.capture.mailbox import Mailbox
from recorder_worker.stages.capture.manifest import Manifest, read_manifest, write_manifest
from recorder_worker.stages.capture.reader import Reader, ReaderPolicy
from recorder_worker.stages.capture.recording import Recording
from recorder_worker.stages.capture.services import CaptureServices
from recorder_worker.stages.capture.spool import SegmentWriter
from recorder_worker.stages.capture.timeline import SECOND_NS, Timeline

log = structlog.get_logger(__name__)


class CaptureStage:
    """Handles `session.start`: one call records one session from its begin to its end."""

    def __init__(self, services: CaptureServices) -> None:
        self._services = services
        self._admission = Admission(services)
        self._release = asyncio.Event()
        self._active: dict[str, asyncio.Future[None]] = {}
        self._idle = asyncio.Event()
        self._idle.set()

    @property
    def active_sessions(self) -> tuple[str, ...]:
        """The sessions that this worker holds the lease of."""
        return tuple(self._active)

    async def release_all(self) -> None:
        """Give every session to another worker, because this one shuts down; wait for it."""
        self._release.set()
        await self._idle.wait()

    async def handle(self, delivery: Delivery) -> None:
        """Record a session, from its begin or from where another worker left it.

        Raises:
            LeaseLostError, LeaseReleasedError: another worker has it, or shall have it.
            TransientError: try again.
        """
        try:
            command = parse_command(delivery.command, delivery.body)
            if not isinstance(command, StartSession):
                raise TypeError(f"{delivery.command} is not a start")
        except RefusedError as error:
            await self._reject(error, delivery, session_id_in(delivery.body))
            return
        session_id = command.session_id or session_id_for(delivery.command_id, delivery.received_ns)
        with structlog.contextvars.bound_contextvars(session_id=session_id):
            try:
                await self._hold(session_id, command, delivery)
            except RefusedError as error:
                await self._reject(error, delivery, session_id)

    async def _hold(self, session_id: str, command: StartSession, delivery: Delivery) -> None:
        """Hold the lease; a redelivery to the worker that has it already waits with it."""
        held = self._active.get(session_id)
        if held is not None:
            if await self._admission.is_duplicate(session_id, command, delivery):
                return
            log.info("LeaseRedelivered")
            await asyncio.shield(held)
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._active[session_id] = future
        self._idle.clear()
        self._services.metrics.sessions_active(len(self._active))
        try:
            await self._record(session_id, command, delivery)
        except BaseException as error:
            future.set_exception(error)
            future.exception()  # seen: nobody else may be waiting for it
            raise
        else:
            future.set_result(None)
        finally:
            del self._active[session_id]
            if not self._active:
                self._idle.set()
            self._services.metrics.sessions_active(len(self._active))

    async def _record(self, session_id: str, command: StartSession, delivery: Delivery) -> None:
        if await self._admission.is_duplicate(session_id, command, delivery):
            return
        last = await self._services.log.last(Fact.CAPTURED, session_id)
        if last is not None and isinstance(last.event, EndCaptured):
            return
        identity = self._services.identity
        lease = f"{identity.worker}:{delivery.command_id[:16]}:{delivery.deliveries}"
        journal = CapturedJournal(self._services.log, self._services.clock, session_id, lease, last)
        manifest = await asyncio.to_thread(read_manifest, self._services.store, session_id)
        source: FrameSource | None = None
        try:
            source = await asyncio.to_thread(self._open, command, journal.cursor.unit)
        except SourceError as error:
            if manifest is None:
                raise bad_source(command, error) from error
            log.warning("SourceNotThere", error=str(error))  # the reader tries again for a while
        if manifest is None and source is not None:
            self._admission.check_room()
            manifest = self._manifest(session_id, command, delivery, source.facts)
        if manifest is None:
            raise TypeError("a session without a source has no manifest")
        await self._run(command, delivery, journal, source, manifest)

    async def _run(
        self,
        command: StartSession,
        delivery: Delivery,
        journal: CapturedJournal,
        source: FrameSource | None,
        manifest: Manifest,
    ) -> None:
        try:
            before = journal.last
            data = await asyncio.to_thread(write_manifest, self._services.store, manifest)
            await self._admission.start(journal.session_id, command, delivery, manifest)
            if before is None:
                await self._opened(journal, command, manifest, data)
            wake = asyncio.Event()
            mailbox = Mailbox(
                asyncio.get_running_loop(), self._services.policy.queue_segments, wake
            )
            reader = self._reader(command, journal, source, manifest, mailbox)
        except BaseException:
            if source is not None:
                source.close()
            raise
        log.info("LeaseTaken", source=manifest.source.uri, takeover=before is not None)
        reader.start(gap=_gap_behind(before), paused=journal.paused)
        await Recording(
            journal=journal,
            reader=reader,
            mailbox=mailbox,
            wake=wake,
            release=self._release,
            services=self._services,
        ).run()

    # --- beginning --------------------------------------------------------------------------------

    def _open(self, command: StartSession, first_unit: int) -> FrameSource:
        fps = command.fps
        if fps is None and not isinstance(command.source, FileSource):
            fps = self._services.policy.default_fps
        return self._services.open_source(command.source, fps, first_unit)

    def _manifest(
        self, session_id: str, command: StartSession, delivery: Delivery, facts: SourceFacts
    ) -> Manifest:
        return Manifest(
            session_id=session_id,
            command_id=delivery.command_id,
            command=msgspec.structs.replace(command, session_id=session_id),
            source=facts,
            policy=self._services.policy.recording,
            node=self._services.identity.node,
            software=self._services.identity.software,
            accepted_wall_ns=self._services.clock.wall_ns(),
        )

    async def _opened(
        self, journal: CapturedJournal, command: StartSession, manifest: Manifest, data: bytes
    ) -> None:
        identity = self._services.identity
        journal.cursor = Cursor(wall_ns=self._services.clock.wall_ns())
        await journal.append(
            Opened(
                **journal.place(),  # type: ignore[arg-type]
                manifest_digest=blake3(data).hexdigest(),
                source=manifest.source,
                profile=command.profile,
                fps=self._rate(command, manifest.source),
                masks=command.masks,
                policy=manifest.policy,
                node=identity.node,
                boot_id=identity.boot_id,
                software=identity.software,
            )
        )

    def _rate(self, command: StartSession, facts: SourceFacts) -> float:
        return facts.frame_rate or command.fps or self._services.policy.default_fps

    def _reader(
        self,
        command: StartSession,
        journal: CapturedJournal,
        source: FrameSource | None,
        manifest: Manifest,
        mailbox: Mailbox,
    ) -> Reader:
        services, policy = self._services, self._services.policy
        fps = self._rate(command, manifest.source)
        limit_s = command.max_duration_s
        return Reader(
            source=source,
            reopen=lambda unit: self._open(command, unit),
            writer=SegmentWriter(
                store=services.store,
                session_id=journal.session_id,
                clock=services.clock,
                cursor=journal.cursor,
                limits=policy.segment,
                keyframes=policy.keyframes,
                masks=command.masks,
            ),
            timeline=Timeline(manifest.source.clock, journal.cursor, services.clock, fps),
            policy=ReaderPolicy(
                native=_native(command),
                max_duration_ns=round(limit_s * SECOND_NS) if limit_s else None,
                retry_s=policy.retry_s,
            ),
            clock=services.clock,
            deliver=mailbox.put,
        )

    async def _reject(self, error: RefusedError, delivery: Delivery, session_id: str) -> None:
        await self._services.rejections.publish(
            error,
            command=delivery.command.value,
            command_id=delivery.command_id,
            session_id=session_id,
        )


def _native(command: StartSession) -> bool:
    source = command.source
    return isinstance(source, FileSource | PatternSource) and source.pace == "native"


def _gap_behind(last: Captured | None) -> GapReason | None:
    """What separates us from the last captured event: nothing, a hand-over or a crash."""
    if last is None:
        return None
    return GapReason.HANDOVER if isinstance(last, LeaseReleased) else GapReason.CRASH
