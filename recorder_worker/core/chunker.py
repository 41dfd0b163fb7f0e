"""Where chunks begin and end, and which index each leaf gets: a fold over the captured events.

The result depends on the events and the session's policy alone, never on the time or the worker,
so every worker that folds the same log gets the same leaves. A chunk ends

* before a segment that begins with a keyframe, so that a keyframe is always the first frame of
  its chunk and a seek needs no search,
* when it has lasted as long as the policy says or its segments have reached a size limit,
* before a gap, at a pause, at a hand-over and at the end.

A chunk of packets (`fmp4`) lasts until the keyframe behind its length, so that it plays by itself;
only the size limits, or four times the length, cut it elsewhere.

A mark, a beat and the turn of an epoch get their leaves at once and do not end the chunk that is
being filled: a client that marks every second must not cost a compression window every second.
"""

from __future__ import annotations

import msgspec

from recorder_worker.core.errors import OutOfOrderError
from recorder_worker.core.events import (
    BeatCaptured,
    BeatLeaf,
    CapturedEvent,
    ChunkedEvent,
    ChunkPlanned,
    EndCaptured,
    EndLeaf,
    EpochCaptured,
    EpochLeaf,
    GapCaptured,
    GapLeaf,
    LeaseReleased,
    MarkCaptured,
    MarkLeaf,
    Opened,
    OpenLeaf,
    PauseCaptured,
    SegmentCaptured,
    SegmentRef,
)
from recorder_worker.core.model import ClockState, RecordingPolicy, Span
from recorder_worker.core.packets.fmp4 import PACKETS_FORMAT

KEYFRAME_WAIT = 4
"""So many times its length a chunk of packets may last until there is a keyframe."""

_BESIDE = (MarkCaptured, BeatCaptured, EpochCaptured)


class ChunkerState(msgspec.Struct, frozen=True, kw_only=True):
    """What the fold carries from one captured event to the next.

    `applied` is the ordinal behind the last event that was applied. Events up to `silent_until`
    have emitted their leaves already and only fill `open` again.
    """

    applied: int = 0
    silent_until: int = 0
    next_index: int = 0
    keyframe_index: int = 0
    open: tuple[SegmentCaptured, ...] = ()

    @property
    def open_from(self) -> int:
        """The ordinal of the first event that a cold start has to read."""
        return self.open[0].ordinal if self.open else self.applied


def resume_state(last: ChunkedEvent | None) -> ChunkerState:
    """The state right after a leaf was emitted; the next event to apply is `open_from`."""
    if last is None:
        return ChunkerState()
    return ChunkerState(
        applied=last.open_from,
        silent_until=last.captured + 1,
        next_index=last.index + 1,
        keyframe_index=last.keyframe_index,
    )


def advance(
    state: ChunkerState, event: CapturedEvent, policy: RecordingPolicy
) -> tuple[ChunkerState, tuple[ChunkedEvent, ...]]:
    """Apply the next captured event: the new state and the leaves that it completes.

    Raises:
        OutOfOrderError: the event is not the one behind the last that was applied.
    """
    if event.ordinal != state.applied:
        raise OutOfOrderError(
            f"session {event.session_id}: expected captured event {state.applied}, "
            f"got {event.ordinal}; earlier events are read from the log first"
        )
    fold = _Fold(state, policy)
    fold.apply(event)
    return fold.state, tuple(fold.leaves)


class _Fold:
    """One step of the fold: the state being changed and the leaves made so far."""

    def __init__(self, state: ChunkerState, policy: RecordingPolicy) -> None:
        self.state = state
        self.policy = policy
        self.leaves: list[ChunkedEvent] = []

    def apply(self, event: CapturedEvent) -> None:
        silent = event.ordinal < self.state.silent_until
        if isinstance(event, SegmentCaptured):
            self._segment(event)
        elif not silent:
            if not isinstance(event, _BESIDE):
                self._flush()
            self._other(event)
        self.state = msgspec.structs.replace(self.state, applied=event.ordinal + 1)

    def _segment(self, event: SegmentCaptured) -> None:
        if event.keyframe and not self._goes_on():
            self._flush()
        opened = (*self.state.open, event)
        self.state = msgspec.structs.replace(self.state, open=opened, applied=event.ordinal + 1)
        if self._full(opened):
            self._flush()

    def _goes_on(self) -> bool:
        """Whether a keyframe may stand inside the open chunk."""
        opened = self.state.open
        return (
            self.policy.frames == PACKETS_FORMAT
            and bool(opened)
            and opened[0].keyframe
            and _joined(opened).duration_ns < self.policy.chunk_duration_ns
        )

    def _full(self, segments: tuple[SegmentCaptured, ...]) -> bool:
        waits = KEYFRAME_WAIT if self.policy.frames == PACKETS_FORMAT else 1
        return (
            _joined(segments).duration_ns >= self.policy.chunk_duration_ns * waits
            or sum(s.stored_size for s in segments) >= self.policy.chunk_max_stored_size
            or sum(s.plain_size for s in segments) >= self.policy.chunk_max_plain_size
        )

    def _flush(self) -> None:
        """Emit the open segments as one chunk."""
        segments = self.state.open
        if not segments:
            return
        index = self.state.next_index
        keyframe_index = index if segments[0].keyframe else self.state.keyframe_index
        last = self.state.applied - 1  # marks behind the last segment have their leaves by now
        self._emit(
            ChunkPlanned(
                session_id=segments[0].session_id,
                index=index,
                captured=last,
                clock=_worst(segments),
                open_from=last + 1,
                keyframe_index=keyframe_index,
                span=_joined(segments),
                keyframe=segments[0].keyframe,
                raw_size=sum(s.raw_size for s in segments),
                plain_size=sum(s.plain_size for s in segments),
                zstd_level=self.policy.zstd_level,
                zstd_window_log=self.policy.zstd_window_log,
                cipher=self.policy.cipher,
                frames=self.policy.frames,
                segments=tuple(_reference(s) for s in segments),
            ),
            open_segments=(),
        )

    def _other(self, event: CapturedEvent) -> None:
        """Emit the leaf of an event that is not a segment; a pause has none of its own."""
        place = _Place(
            session_id=event.session_id,
            index=self.state.next_index,
            captured=event.ordinal,
            clock=event.clock,
            open_from=self.state.open[0].ordinal if self.state.open else event.ordinal + 1,
            keyframe_index=self.state.keyframe_index,
        )
        leaf = _leaf(event, place)
        if leaf is not None:
            self._emit(leaf, open_segments=self.state.open)

    def _emit(self, leaf: ChunkedEvent, open_segments: tuple[SegmentCaptured, ...]) -> None:
        self.leaves.append(leaf)
        self.state = msgspec.structs.replace(
            self.state,
            next_index=leaf.index + 1,
            keyframe_index=leaf.keyframe_index,
            open=open_segments,
        )


class _Place(msgspec.Struct, frozen=True, kw_only=True):
    """The fields that every leaf has."""

    session_id: str
    index: int
    captured: int
    clock: ClockState
    open_from: int
    keyframe_index: int


def _leaf(event: CapturedEvent, place: _Place) -> ChunkedEvent | None:
    at = msgspec.structs.asdict(place)
    leaf: ChunkedEvent | None = None
    match event:
        case Opened():
            leaf = OpenLeaf(
                **at,
                manifest_digest=event.manifest_digest,
                source=event.source,
                profile=event.profile,
                fps=event.fps,
                masks=event.masks,
                node=event.node,
                boot_id=event.boot_id,
                software=event.software,
                software_blake3=event.software_blake3,
                policy=event.policy,
                numbered=event.numbered,
                wall_ns=event.wall_ns,
            )
        case GapCaptured():
            leaf = GapLeaf(
                **at,
                span=event.span,
                reason=event.reason,
                detail=event.detail,
                wall_ns=event.wall_ns,
            )
        case MarkCaptured():
            leaf = MarkLeaf(
                **at,
                t_ns=event.t_ns,
                kind=event.kind,
                by=event.by,
                body=event.body,
                wall_ns=event.wall_ns,
            )
        case EpochCaptured():
            leaf = EpochLeaf(
                **at, number=event.epoch, t_ns=event.cursor.t_ns, wall_ns=event.wall_ns
            )
        case BeatCaptured():
            leaf = BeatLeaf(
                **at, unit=event.cursor.unit, t_ns=event.cursor.t_ns, wall_ns=event.wall_ns
            )
        case EndCaptured():
            leaf = EndLeaf(
                **at,
                t_ns=event.t_ns,
                reason=event.reason,
                detail=event.detail,
                wall_ns=event.wall_ns,
            )
        case PauseCaptured() | LeaseReleased() | SegmentCaptured():
            pass
    return leaf


def _joined(segments: tuple[SegmentCaptured, ...]) -> Span:
    """The span from the first segment's begin to the last one's end."""
    first, last = segments[0].span, segments[-1].span
    return Span(
        stream=first.stream,
        first_unit=first.first_unit,
        unit_count=sum(s.span.unit_count for s in segments),
        t0_ns=first.t0_ns,
        t1_ns=last.t1_ns,
        wall0_ns=first.wall0_ns,
        wall1_ns=last.wall1_ns,
    )


def _worst(segments: tuple[SegmentCaptured, ...]) -> ClockState:
    """The state of the clock that holds for all of them."""
    states = {segment.clock for segment in segments}
    for state in (ClockState.UNSYNCHRONISED, ClockState.UNKNOWN):
        if state in states:
            return state
    return ClockState.SYNCHRONISED


def _reference(segment: SegmentCaptured) -> SegmentRef:
    return SegmentRef(
        name=segment.name,
        plain_size=segment.plain_size,
        plain_blake3=segment.plain_blake3,
        stored_size=segment.stored_size,
        stored_blake3=segment.stored_blake3,
    )
