"""The reader of a session, made of what was asked for, what was found, and what is allowed."""

from __future__ import annotations

from collections.abc import Callable

from recorder_worker.core.cipher.session_cipher import SessionCipher
from recorder_worker.core.commands import StartSession
from recorder_worker.core.model import FileSource, PatternSource, SourceClock, SourceFacts
from recorder_worker.ports import FrameSource, PacketSource
from recorder_worker.stages.capture.items import Item
from recorder_worker.stages.capture.journal import CapturedJournal
from recorder_worker.stages.capture.opening import OpenPackets
from recorder_worker.stages.capture.packet_reader import PacketReader
from recorder_worker.stages.capture.packet_spool import PacketWriter
from recorder_worker.stages.capture.reader import Reader
from recorder_worker.stages.capture.reader_policy import ReaderPolicy, Reopen
from recorder_worker.stages.capture.services import CapturePolicy, CaptureServices
from recorder_worker.stages.capture.spool import SegmentWriter
from recorder_worker.stages.capture.timeline import SECOND_NS, Timeline


def make_reader(
    *,
    services: CaptureServices,
    command: StartSession,
    facts: SourceFacts,
    journal: CapturedJournal,
    source: FrameSource | None,
    reopen: Reopen,
    cipher: SessionCipher | None,
    deliver: Callable[[Item], None],
) -> Reader:
    """A reader that goes on where the journal's cursor is; its source may be away now."""
    policy = services.policy
    return Reader(
        source=source,
        reopen=reopen,
        writer=SegmentWriter(
            store=services.store,
            session_id=journal.session_id,
            clock=services.clock,
            cursor=journal.cursor,
            limits=policy.segment,
            keyframes=policy.keyframes,
            masks=command.masks,
            cipher=cipher,
        ),
        timeline=_timeline(services, command, facts, journal),
        policy=_reader_policy(services.policy, command),
        clock=services.clock,
        deliver=deliver,
    )


def make_packet_reader(
    *,
    services: CaptureServices,
    command: StartSession,
    facts: SourceFacts,
    journal: CapturedJournal,
    source: PacketSource | None,
    reopen: OpenPackets,
    cipher: SessionCipher | None,
    deliver: Callable[[Item], None],
) -> PacketReader:
    """As `make_reader`, for the profile `copy`."""
    return PacketReader(
        source=source,
        reopen=reopen,
        writer=PacketWriter(
            store=services.store,
            session_id=journal.session_id,
            clock=services.clock,
            cursor=journal.cursor,
            limits=services.policy.segment,
            whole_groups=facts.clock is SourceClock.MEDIA,
            cipher=cipher,
        ),
        timeline=_timeline(services, command, facts, journal),
        policy=_reader_policy(services.policy, command),
        clock=services.clock,
        deliver=deliver,
    )


def _timeline(
    services: CaptureServices,
    command: StartSession,
    facts: SourceFacts,
    journal: CapturedJournal,
) -> Timeline:
    return Timeline(
        facts.clock,
        journal.cursor,
        services.clock,
        frame_rate(facts, command, services.policy),
        same_boot=journal.same_boot,
    )


def _reader_policy(policy: CapturePolicy, command: StartSession) -> ReaderPolicy:
    longest_s = min(command.max_duration_s or policy.longest_session_s, policy.longest_session_s)
    return ReaderPolicy(
        native=_native(command),
        max_duration_ns=round(longest_s * SECOND_NS),
        retry_s=policy.retry_s,
    )


def frame_rate(facts: SourceFacts, command: StartSession, policy: CapturePolicy) -> float:
    """Frames a second: the source's own, else what was asked for, else the default."""
    return facts.frame_rate or command.fps or policy.default_fps


def _native(command: StartSession) -> bool:
    source = command.source
    return isinstance(source, FileSource | PatternSource) and source.pace == "native"
