"""One session in the hands of its lease holder.

Items from the reader and commands from clients become captured events, one after the other.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress

import msgspec
import structlog

from recorder_worker.core import notes
from recorder_worker.core.errors import LeaseReleasedError
from recorder_worker.core.events import (
    EndCaptured,
    GapCaptured,
    LeaseReleased,
    MarkCaptured,
    PauseCaptured,
    SegmentCaptured,
    SessionPaused,
    SessionQuality,
    SessionResumed,
)
from recorder_worker.core.model import GapReason
from recorder_worker.core.notes import MASKS, RECORDER, MasksChanged, note_text
from recorder_worker.core.quality.conditions import QualityChange
from recorder_worker.core.subjects import Fact
from recorder_worker.stages.capture.reading.packet_reader import PacketReader
from recorder_worker.stages.capture.reading.reader import Reader
from recorder_worker.stages.capture.reading.requests import Release
from recorder_worker.stages.capture.segments import items
from recorder_worker.stages.capture.services import CaptureServices
from recorder_worker.stages.capture.session.aftermath import tell_aftermath
from recorder_worker.stages.capture.session.controls import LOOK_S, Controls
from recorder_worker.stages.capture.session.degradation import Degradation
from recorder_worker.stages.capture.session.journal import CapturedJournal
from recorder_worker.stages.capture.session.mailbox import Mailbox
from recorder_worker.stages.capture.session.pulse import Pulse

log = structlog.get_logger(__name__)

JOIN_S = 5.0

_QUALITY = msgspec.json.Decoder(QualityChange)


class Recording:
    """Runs until the session has ended, or another worker is to go on with it."""

    def __init__(
        self,
        *,
        journal: CapturedJournal,
        pulse: Pulse,
        reader: Reader | PacketReader,
        mailbox: Mailbox,
        wake: asyncio.Event,
        release: asyncio.Event,
        services: CaptureServices,
        degradation: Degradation,
    ) -> None:
        self._journal = journal
        self._pulse = pulse
        self._reader = reader
        self._mailbox = mailbox
        self._wake = wake
        self._services = services
        self._feed = services.controls
        self._clock = services.clock
        self._metrics = services.metrics
        self._release = release
        self._degradation = degradation
        self._controls = Controls(journal, reader, services)
        self._ended = False

    async def run(self) -> None:
        """Record until the end.

        Raises:
            LeaseLostError: another worker has taken over.
            LeaseReleasedError: this worker shuts down; the session waits for another.
        """
        with self._feed.listen(self._journal.session_id, self._announced):
            released = False
            try:
                while not self._ended:
                    if self._release.is_set() and not released:
                        released = True
                        self._reader.request(Release())
                    await self._take_items()
                    if not self._ended:
                        await self._pulse.give()
                    if not self._ended and not released:
                        await self._controls.take()
                    self._services.writes.look()
                    if not self._ended and not released:
                        self._degradation.look(armed=self._journal.armed)
                    await self._sleep()
            finally:
                self._degradation.leave()
                self._mailbox.close()
                self._reader.request(Release())  # a reader that is paused puts nothing: wake it
                await asyncio.to_thread(self._reader.join, JOIN_S)

    def _announced(self) -> None:
        self._controls.announced()
        self._wake.set()

    async def _sleep(self) -> None:
        """Until something happens: an item, an announced control event, or a look anyway."""
        if self._ended:
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(min(LOOK_S, self._pulse.wait_s())):
                await self._wake.wait()
        self._wake.clear()

    # --- items ------------------------------------------------------------------------------------

    async def _take_items(self) -> None:
        while not self._ended:
            item = self._mailbox.take()
            if item is None:
                return
            await self._record(item)

    async def _record(self, item: items.Item) -> None:
        match item:
            case items.Segment():
                await self._segment(item)
            case items.Gap():
                await self._gap(item)
            case items.Note():
                await self._note(item)
            case items.Paused():
                await self._paused(item)
            case items.Resumed():
                await self._resumed(item)
            case items.Masked() | items.Triggered():
                await self._adjusted(item)
            case items.Ended():
                await self._end(item)
            case items.Released():
                await self._released(item)
            case items.Crashed(error=error):
                raise error

    async def _segment(self, item: items.Segment) -> None:
        self._journal.cursor, self._journal.armed = item.cursor, False
        await self._journal.append(
            SegmentCaptured(
                **self._journal.place(),  # type: ignore[arg-type]
                span=item.span,
                keyframe=item.keyframe,
                name=item.name,
                raw_size=item.raw_size,
                plain_size=item.plain_size,
                plain_blake3=item.plain_blake3,
                stored_size=item.stored_size,
                stored_blake3=item.stored_blake3,
            )
        )
        self._metrics.segment_captured(item.span.unit_count, item.raw_size, item.plain_size)

    async def _gap(self, item: items.Gap) -> None:
        self._journal.cursor, self._journal.armed = item.cursor, False
        self._journal.held = item.held
        await self._journal.append(
            GapCaptured(
                **self._journal.place(),  # type: ignore[arg-type]
                span=item.span,
                reason=item.reason,
                detail=item.detail,
            )
        )
        self._metrics.gap_captured(item.reason.value, item.span.unit_count)
        log.log(
            _severity(item),
            "UnitsMissing",
            reason=item.reason.value,
            lost_units=item.span.unit_count,
            detail=item.detail,
        )

    async def _note(self, item: items.Note) -> None:
        if item.kind == notes.RATE:
            self._journal.slowed = self._degradation.slowed_by(item.body)
        await self._journal.append(
            MarkCaptured(
                **self._journal.place(),  # type: ignore[arg-type]
                t_ns=item.t_ns,
                kind=item.kind,
                by=RECORDER,
                body=item.body,
            )
        )
        if item.kind == notes.QUALITY:
            await self._quality(item)

    async def _quality(self, item: items.Note) -> None:
        change = _QUALITY.decode(item.body)
        told = SessionQuality(
            session_id=self._journal.session_id,
            t_ns=item.t_ns,
            wall_ns=self._clock.wall_ns(),
            **msgspec.structs.asdict(change),
        )
        await self._journal.tell(Fact.QUALITY, told, self._journal.next_ordinal)
        log.info("PictureTurned", condition=change.condition.value, state=change.state.value)

    async def _paused(self, item: items.Paused) -> None:
        by = self._controls.took_effect()
        self._journal.cursor, self._journal.paused = item.cursor, True
        at_ns = item.cursor.t_ns
        place = self._journal.place()
        await self._journal.append(PauseCaptured(**place, t_ns=at_ns, by=by))  # type: ignore[arg-type]
        paused = SessionPaused(
            session_id=self._journal.session_id, t_ns=at_ns, by=by, wall_ns=self._clock.wall_ns()
        )
        await self._journal.tell(Fact.PAUSED, paused, self._journal.next_ordinal)

    async def _resumed(self, item: items.Resumed) -> None:
        by = self._controls.took_effect()
        self._journal.paused = False
        resumed = SessionResumed(
            session_id=self._journal.session_id,
            t_ns=item.cursor.t_ns,
            by=by,
            wall_ns=self._clock.wall_ns(),
        )
        await self._journal.tell(Fact.RESUMED, resumed, self._journal.next_ordinal)

    async def _adjusted(self, item: items.Masked | items.Triggered) -> None:
        if isinstance(item, items.Triggered):
            self._journal.armed = False
            await self._controls.triggered(item.t_ns)
            return
        self._controls.masked()
        body = note_text(MasksChanged(masks=item.masks, by=item.by))
        await self._note(items.Note(t_ns=item.t_ns, kind=MASKS, body=body))

    async def _released(self, item: items.Released) -> None:
        self._journal.held = False
        place = self._journal.place()
        await self._journal.append(LeaseReleased(**place, t_ns=item.cursor.t_ns))  # type: ignore[arg-type]
        raise LeaseReleasedError("this worker is shutting down; another one goes on")

    async def _end(self, item: items.Ended) -> None:
        self._controls.ended()
        self._ended = True
        self._journal.cursor, self._journal.armed = item.cursor, False
        await self._journal.append(
            EndCaptured(
                **self._journal.place(),  # type: ignore[arg-type]
                t_ns=item.cursor.t_ns,
                reason=item.reason,
                detail=item.detail,
            )
        )
        log.info("RecordingEnded", reason=item.reason.value, detail=item.detail)
        if isinstance(self._journal.last, EndCaptured):
            await tell_aftermath(self._services, self._journal.last)


def _severity(gap: items.Gap) -> int:
    """A gap that lost something nobody asked to leave out is an error."""
    asked_for = (GapReason.PAUSE, GapReason.ARMED)
    lost = gap.span.unit_count > 0 and gap.reason not in asked_for
    return logging.ERROR if lost else logging.WARNING
