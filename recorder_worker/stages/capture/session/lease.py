"""One lease: from a start message to a running recording, and what is left when that fails.

The order is that of the facts: the source is open, `session.started` is won at the fence, the
manifest is written, the session has its number, the captured log begins. A crash after any step is
taken up behind it by the next delivery of the message.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress

import structlog
from blake3 import blake3

from recorder_worker.core.cipher.session_cipher import SessionCipher
from recorder_worker.core.commands import StartSession
from recorder_worker.core.errors import (
    BusUnavailableError,
    LeaseLostError,
    PermanentError,
    SourceError,
    TransientError,
)
from recorder_worker.core.events import (
    Opened,
    SessionStarted,
)
from recorder_worker.core.model import Cursor
from recorder_worker.core.sources.kinds import FileSource, RtspSource, V4l2Source
from recorder_worker.core.sources.logins import Login, with_login
from recorder_worker.ports import Delivery, FrameSource, Logged, PacketSource
from recorder_worker.stages.capture.reading.packet_reader import PacketReader
from recorder_worker.stages.capture.reading.reader import Reader
from recorder_worker.stages.capture.services import CaptureServices
from recorder_worker.stages.capture.session.admission import (
    Admission,
    bad_source,
    id_in_use,
    is_used,
)
from recorder_worker.stages.capture.session.controls import (
    masks_in_force,
    masks_sent_meanwhile,
)
from recorder_worker.stages.capture.session.degradation import Degradation
from recorder_worker.stages.capture.session.encryption import forget_late_key, session_cipher
from recorder_worker.stages.capture.session.first_opening import first_opened
from recorder_worker.stages.capture.session.giving_up import end_lost
from recorder_worker.stages.capture.session.journal import CapturedJournal, gap_behind
from recorder_worker.stages.capture.session.mailbox import Mailbox
from recorder_worker.stages.capture.session.manifest import (
    Manifest,
    decode_manifest,
    read_manifest,
    write_manifest,
)
from recorder_worker.stages.capture.session.new_manifest import new_manifest
from recorder_worker.stages.capture.session.pulse import Pulse
from recorder_worker.stages.capture.session.reader_setup import frame_rate, reader_of
from recorder_worker.stages.capture.session.recording import Recording

log = structlog.get_logger(__name__)


class Lease:
    """The right to record a session, in the hands of one delivery of its start."""

    def __init__(
        self,
        services: CaptureServices,
        session_id: str,
        command: StartSession,
        delivery: Delivery,
        login: Login | None = None,
    ) -> None:
        self._login = login
        self._services = services
        self._admission = Admission(services)
        self.session_id = session_id
        self._command = command
        self._delivery = delivery

    async def started(self) -> SessionStarted | None:
        """As `Admission.started`."""
        return await self._admission.started(self.session_id, self._command, self._delivery)

    async def record(
        self,
        started: SessionStarted | None,
        last: Logged | None,
        *,
        wake: asyncio.Event,
        release: asyncio.Event,
    ) -> None:
        """Record until the session has ended or another worker is to go on.

        Raises:
            RefusedError: a new session cannot be recorded; nothing was written.
            LeaseLostError, LeaseReleasedError: another worker has it, or shall have it.
        """
        journal = CapturedJournal.of(self._services, self.session_id, self._delivery, last)
        source, manifest, started = await self._open(started, journal, release)
        try:
            data = await asyncio.to_thread(write_manifest, self._services.store, manifest)
            manifest = decode_manifest(data)
            if journal.last is None:
                await self._accepted(started)
                await self._opened(journal, manifest, data)
            cipher = await self._cipher(journal, manifest)
            journal.masks = await masks_in_force(
                self._services.log, self.session_id, journal.controls, self._command.masks
            )
            queue_size = self._services.policy.queue_segments
            mailbox = Mailbox(asyncio.get_running_loop(), queue_size, wake)
            reader = reader_of(
                services=self._services,
                command=self._command,
                facts=manifest.source,
                journal=journal,
                source=source,
                reopen=self._open_source,
                cipher=cipher,
                deliver=mailbox.put,
            )
            masks = await masks_sent_meanwhile(self._services.log, journal)
            if masks is not None and not self._copies:
                reader.request(masks)
            pulse = Pulse(journal, self._services.clock, manifest.policy, takeover=last is not None)
            if last is not None:
                # The turn of the epoch is the first event of whoever takes over, and so his fence:
                # before it stands, the session may be another's still, and a frame that we told its
                # publisher to be accepted would be in nobody's record.
                await pulse.give()
        except BaseException as error:
            if source is not None:
                source.close()
            if isinstance(error, LeaseLostError):
                services = self._services
                # Without the bus nobody knows whether it is late: it stays, and doctor finds it.
                with suppress(BusUnavailableError):
                    await forget_late_key(
                        services.log, services.store, services.cipher_keys, self.session_id
                    )
            raise
        log.info("LeaseTaken", source=manifest.source.uri, takeover=last is not None)
        reader.start(gap=gap_behind(last), paused=journal.paused, armed=journal.armed)
        recording = Recording(
            journal=journal,
            pulse=pulse,
            reader=reader,
            mailbox=mailbox,
            wake=wake,
            release=release,
            services=self._services,
            degradation=self._degradation(reader, manifest, journal),
        )
        try:
            await recording.run()
        except (TransientError, LeaseLostError):
            raise
        except Exception as error:
            await end_lost(self._services, journal, f"{type(error).__name__}: {error}")
            raise PermanentError(f"the recording failed: {error!r}") from error

    def _degradation(
        self, reader: Reader | PacketReader, manifest: Manifest, journal: CapturedJournal
    ) -> Degradation:
        services = self._services
        return Degradation(
            session_id=self.session_id,
            command=self._command,
            facts=manifest.source,
            fps=frame_rate(manifest.source, self._command, services.policy),
            governor=services.governor,
            reader=reader,
            clock=services.clock,
            metrics=services.metrics,
            slowed=journal.slowed,
        )

    @property
    def _copies(self) -> bool:
        return self._command.profile == "copy"

    # --- opening --------------------------------------------------------------------------------

    async def _open(
        self, started: SessionStarted | None, journal: CapturedJournal, release: asyncio.Event
    ) -> tuple[FrameSource | PacketSource | None, Manifest, SessionStarted | None]:
        """The source, and what the session is; a source that was there before may be away now."""
        known = started is not None or journal.last is not None
        if not known:
            self._admission.check_wishes(self._command)
            self._admission.check_room(self.session_id, self._delivery)
            if await asyncio.to_thread(is_used, self._services.store, self.session_id):
                raise id_in_use(self.session_id)
        manifest = await asyncio.to_thread(read_manifest, self._services.store, self.session_id)
        source: FrameSource | PacketSource | None = None
        try:
            source = await first_opened(self._open_source, journal.cursor.unit, release)
        except SourceError as error:
            if not known:
                raise bad_source(self._command, error) from error
            log.warning("SourceNotThere", error=str(error))  # the reader tries again for a while
        try:
            if not known and source is not None:
                started = await self._admission.start(
                    self.session_id, self._command, self._delivery, source.facts
                )
            if manifest is None:
                manifest = await asyncio.to_thread(
                    new_manifest,
                    self._services,
                    self.session_id,
                    self._command,
                    self._delivery.command_id,
                    source,
                    started,
                )
        except BaseException:
            if source is not None:
                source.close()
            raise
        return source, manifest, started

    def _open_source(self, first_unit: int) -> FrameSource | PacketSource:
        source = self._command.source
        if isinstance(source, RtspSource):
            source = with_login(source, self._login)
        if self._copies:
            return self._services.open_packets.packets(source, first_unit)
        fps = self._command.fps
        if fps is None and not isinstance(self._command.source, FileSource | V4l2Source):
            fps = self._services.policy.default_fps
        return self._services.open_source(source, fps, first_unit)

    async def _cipher(self, journal: CapturedJournal, manifest: Manifest) -> SessionCipher | None:
        """What to seal with; a session whose key is gone ends here, rather than go on plain."""
        try:
            return await asyncio.to_thread(session_cipher, manifest, self._services.cipher_keys)
        except PermanentError as error:
            await end_lost(self._services, journal, f"{type(error).__name__}: {error}")
            raise

    async def _accepted(self, started: SessionStarted | None) -> None:
        """Before the captured log begins: where it has begun, the audit trail has the start."""
        if started is not None:
            gate = self._services.gate
            await gate.accepted(started.identity, self._delivery, self.session_id)

    async def _opened(self, journal: CapturedJournal, manifest: Manifest, data: bytes) -> None:
        identity, clock = self._services.identity, self._services.clock
        numbered = await self._services.number(self.session_id)
        journal.armed = self._command.pre_record_s is not None
        journal.cursor = Cursor(wall_ns=clock.wall_ns(), boot_ns=clock.monotonic_ns())
        await journal.append(
            Opened(
                **journal.place(),  # type: ignore[arg-type]
                manifest_digest=blake3(data).hexdigest(),
                source=manifest.source,
                profile=self._command.profile,
                fps=frame_rate(manifest.source, self._command, self._services.policy),
                masks=self._command.masks,
                policy=manifest.policy,
                node=identity.node,
                boot_id=identity.boot_id,
                software=identity.software,
                software_blake3=identity.software_blake3,
                numbered=numbered,
            )
        )
