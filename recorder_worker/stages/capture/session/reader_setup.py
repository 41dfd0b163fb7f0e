"""The reader of a session, made of what was asked for, what was found, and what is allowed."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar, cast

import msgspec

from recorder_worker.core.cipher.session_cipher import SessionCipher
from recorder_worker.core.commands import StartSession
from recorder_worker.core.model import Slowed, SourceClock, SourceFacts
from recorder_worker.core.notes import RateChanged
from recorder_worker.core.sources.kinds import FileSource, ImagesSource, PatternSource
from recorder_worker.ports import FrameSource, PacketSource
from recorder_worker.stages.capture.reading.coverage import Coverage
from recorder_worker.stages.capture.reading.keyframe_looks import KeyframeLooks
from recorder_worker.stages.capture.reading.opening import OpenPackets
from recorder_worker.stages.capture.reading.packet_reader import PacketReader
from recorder_worker.stages.capture.reading.picture_watch import PictureWatch, WatchPolicy
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

CARRIED_DETAIL = "so it was at the worker that had this session before"


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
    own_fps = frame_rate(facts, command, services.policy)
    timeline = Timeline(
        facts.clock,
        journal.cursor,
        services.clock,
        own_fps if journal.slowed is None else journal.slowed.fps,
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
            looks=_looks(services, command, facts, journal.session_id, cipher),
        )
    writer = _frame_writer(services, journal, cipher)
    return Reader(
        source=cast("FrameSource | None", source),
        reopen=cast("Reopen", reopen),
        coverage=covered(writer),
        timeline=timeline,
        policy=_reader_policy(services, command),
        clock=services.clock,
        watch=_watch(services, services.policy.watch, facts.kind, journal.session_id, cipher),
        carried=_carried(own_fps, journal.slowed),
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
    watched: WatchPolicy,
    kind: str,
    session_id: str,
    cipher: SessionCipher | None,
) -> PictureWatch | None:
    """What watches the pictures of a kind of source; None where nobody wants to know."""
    policy, optics = services.policy, services.optics
    conditions = watched.told_of(kind)
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
        optics=optics,
        policy=watched,
        conditions=conditions,
        thumbnails=thumbnails,
    )


def _looks(
    services: CaptureServices,
    command: StartSession,
    facts: SourceFacts,
    session_id: str,
    cipher: SessionCipher | None,
) -> KeyframeLooks | None:
    """What looks at copied packets; None where nobody wants to know."""
    policy = services.policy.watch
    each = msgspec.structs.replace(policy, look_ns=0)  # what is decoded is looked at
    watch = _watch(services, each, facts.kind, session_id, cipher)
    if watch is None:
        return None
    return KeyframeLooks(
        decoder=services.keyframes,
        watch=watch,
        look_ns=policy.look_ns,
        clock=services.clock,
        metrics=services.metrics,
        waits=facts.clock is SourceClock.MEDIA and not _native(command),
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


def _carried(own_fps: float, slowed: Slowed | None) -> RateChanged | None:
    """The note of a takeover at a lower rate: behind its gap the session's own would hold."""
    if slowed is None:
        return None
    return RateChanged(
        from_fps=own_fps, to_fps=slowed.fps, reason=slowed.reason, detail=CARRIED_DETAIL
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
