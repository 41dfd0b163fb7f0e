"""The reader of a session, made of what was asked for, what was found, and what is allowed."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar, cast

from recorder_worker.core.cipher.session_cipher import SessionCipher
from recorder_worker.core.commands import StartSession
from recorder_worker.core.model import SourceClock, SourceFacts
from recorder_worker.core.sources.kinds import FileSource, ImagesSource, PatternSource
from recorder_worker.ports import FrameSource, PacketSource
from recorder_worker.stages.capture.reading.coverage import Coverage
from recorder_worker.stages.capture.reading.opening import OpenPackets
from recorder_worker.stages.capture.reading.packet_reader import PacketReader
from recorder_worker.stages.capture.reading.picture_watch import PictureWatch
from recorder_worker.stages.capture.reading.policy import Arming, ReaderPolicy, Reopen
from recorder_worker.stages.capture.reading.reader import Reader
from recorder_worker.stages.capture.reading.timeline import SECOND_NS, Timeline
from recorder_worker.stages.capture.segments.frame_spool import SegmentWriter
from recorder_worker.stages.capture.segments.items import Item
from recorder_worker.stages.capture.segments.packet_spool import PacketWriter
from recorder_worker.stages.capture.segments.spool import UnitWriter
from recorder_worker.stages.capture.segments.thumbnails import Thumbnails
from recorder_worker.stages.capture.services import CapturePolicy, CaptureServices
from recorder_worker.stages.capture.session.journal import CapturedJournal

W = TypeVar("W", bound=UnitWriter)


def reader_of(
    *,
    services: CaptureServices,
    command: StartSession,
    facts: SourceFacts,
    journal: CapturedJournal,
    source: FrameSource | PacketSource | None,
    reopen: Callable[[int], FrameSource | PacketSource],
    cipher: SessionCipher | None,
    deliver: Callable[[Item], None],
) -> Reader | PacketReader:
    """The reader that the profile of a start asks for; it goes on where the journal's cursor is.

    `source`, which may be away now, and what `reopen` opens are of that profile.
    """
    timeline = Timeline(
        facts.clock,
        journal.cursor,
        services.clock,
        frame_rate(facts, command, services.policy),
        same_boot=journal.same_boot,
    )

    def covered(writer: W) -> Coverage[W]:
        return Coverage(
            writer=writer,
            timeline=timeline,
            clock=services.clock,
            retry_s=services.policy.retry_s,
            writes=services.writes.of(journal.session_id),
            deliver=deliver,
        )

    if command.profile == "copy":
        return PacketReader(
            source=cast("PacketSource | None", source),
            reopen=cast("OpenPackets", reopen),
            coverage=covered(_packet_writer(services, facts, journal, cipher)),
            timeline=timeline,
            policy=_reader_policy(services, command),
            clock=services.clock,
        )
    writer = _frame_writer(services, journal, cipher)
    return Reader(
        source=cast("FrameSource | None", source),
        reopen=cast("Reopen", reopen),
        coverage=covered(writer),
        timeline=timeline,
        policy=_reader_policy(services, command),
        clock=services.clock,
        watch=_watch(services, journal.session_id, facts.kind, writer, cipher),
    )


def _frame_writer(
    services: CaptureServices, journal: CapturedJournal, cipher: SessionCipher | None
) -> SegmentWriter:
    return SegmentWriter(
        store=services.store,
        session_id=journal.session_id,
        clock=services.clock,
        cursor=journal.cursor,
        limits=services.policy.segment,
        keyframes=services.policy.keyframes,
        masks=journal.masks,
        cipher=cipher,
    )


def _packet_writer(
    services: CaptureServices,
    facts: SourceFacts,
    journal: CapturedJournal,
    cipher: SessionCipher | None,
) -> PacketWriter:
    return PacketWriter(
        store=services.store,
        session_id=journal.session_id,
        clock=services.clock,
        cursor=journal.cursor,
        limits=services.policy.segment,
        whole_groups=facts.clock is SourceClock.MEDIA,
        cipher=cipher,
    )


def _watch(
    services: CaptureServices,
    session_id: str,
    kind: str,
    writer: SegmentWriter,
    cipher: SessionCipher | None,
) -> PictureWatch | None:
    """What watches the pictures of a kind of source; None where nobody wants to know."""
    policy, optics = services.policy, services.optics
    conditions = policy.watch.told_of(kind)
    thumbnails = None
    if policy.thumbnails is not None:
        thumbnails = Thumbnails(
            store=services.store,
            session_id=session_id,
            cipher=cipher,
            optics=optics,
            policy=policy.thumbnails,
        )
    if not conditions and thumbnails is None:
        return None
    return PictureWatch(
        writer=writer,
        optics=optics,
        policy=policy.watch,
        conditions=conditions,
        thumbnails=thumbnails,
    )


def _reader_policy(services: CaptureServices, command: StartSession) -> ReaderPolicy:
    policy = services.policy
    longest_s = min(command.max_duration_s or policy.longest_session_s, policy.longest_session_s)
    return ReaderPolicy(
        native=_native(command),
        max_duration_ns=round(longest_s * SECOND_NS),
        retry_s=policy.retry_s,
        idle_stop_ns=_ns(command.idle_stop_s),
        arming=_arming(command, services),
    )


def frame_rate(facts: SourceFacts, command: StartSession, policy: CapturePolicy) -> float:
    """Frames a second: the source's own, else what was asked for, else the default."""
    return facts.frame_rate or command.fps or policy.default_fps


def _arming(command: StartSession, services: CaptureServices) -> Arming | None:
    keep_ns = _ns(command.pre_record_s)
    if keep_ns is None:
        return None
    return Arming(
        keep_ns=keep_ns,
        max_bytes=services.policy.pre_record_max_bytes,
        store=services.store,
        keyframes=services.policy.keyframes,
    )


def _ns(seconds: float | None) -> int | None:
    return None if seconds is None else round(seconds * SECOND_NS)


def _native(command: StartSession) -> bool:
    source = command.source
    return isinstance(source, FileSource | ImagesSource | PatternSource) and source.pace == "native"
