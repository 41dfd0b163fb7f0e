"""The event log of a session: everything later is a function of it."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from recorder_worker.core.events.event import Event
from recorder_worker.core.events.register import SessionNumbered
from recorder_worker.core.model import (
    ClockState,
    Count,
    Cursor,
    EndReason,
    GapReason,
    Hex32,
    Mask,
    Nanoseconds,
    RecordingPolicy,
    SessionId,
    Slowed,
    SourceFacts,
    Span,
)


class Captured(Event, frozen=True, kw_only=True):
    """What every captured event carries.

    `ordinal` is its place in the log, `lease` names the holder that wrote it, `controls` is how
    many control events had been applied by then, `cursor` is how far the stream is covered, and
    `epoch` the number of the key epoch: the last captured event is all that another worker needs
    to go on. `boot` is the boot id of the machine that wrote it, `clock` the state of its clock.
    `slowed` is set while a lower frame rate than the session's own is in force, `held` while
    nothing is read, for later stages are behind.
    """

    session_id: SessionId
    ordinal: Count
    lease: str
    controls: Count
    cursor: Cursor
    paused: bool = False
    armed: bool = False
    slowed: Slowed | None = None
    held: bool = False
    boot: str = ""
    epoch: Annotated[int, Meta(ge=0, le=2**32 - 1)] = 0
    clock: ClockState = ClockState.UNKNOWN
    wall_ns: Nanoseconds


class Opened(Captured, frozen=True, kw_only=True, tag="opened", tag_field="type"):
    """The source is open. Always ordinal 0."""

    manifest_digest: Hex32
    source: SourceFacts
    profile: str
    fps: Annotated[float, Meta(ge=0)]
    masks: tuple[Mask, ...]
    policy: RecordingPolicy
    node: str
    boot_id: str
    software: str
    software_blake3: Hex32
    numbered: SessionNumbered


class SegmentCaptured(Captured, frozen=True, kw_only=True, tag="segment", tag_field="type"):
    """One segment is durable in the spool."""

    span: Span
    keyframe: bool
    name: str
    raw_size: Count
    plain_size: Count
    plain_blake3: Hex32
    stored_size: Count
    stored_blake3: Hex32


class GapCaptured(Captured, frozen=True, kw_only=True, tag="gap", tag_field="type"):
    """Units that are known to be missing. `span.unit_count` is how many."""

    span: Span
    reason: GapReason
    detail: str


class MarkCaptured(Captured, frozen=True, kw_only=True, tag="mark", tag_field="type"):
    """A client's mark. `body` is the JSON text that is stored and digested."""

    t_ns: Nanoseconds
    kind: str
    by: str
    body: str


class PauseCaptured(Captured, frozen=True, kw_only=True, tag="paused", tag_field="type"):
    """Recording pauses here; the gap leaf follows when it goes on or ends."""

    t_ns: Nanoseconds
    by: str


class LeaseReleased(Captured, frozen=True, kw_only=True, tag="released", tag_field="type"):
    """The holder shuts down in good order; the next one's gap is a hand-over, not a crash."""

    t_ns: Nanoseconds


class EpochCaptured(Captured, frozen=True, kw_only=True, tag="epoch", tag_field="type"):
    """From here on other keys sign: those of epoch number `epoch`."""


class BeatCaptured(Captured, frozen=True, kw_only=True, tag="beat", tag_field="type"):
    """The lease holder is alive: the stream is captured and durable up to `cursor`."""


class EndCaptured(Captured, frozen=True, kw_only=True, tag="ended", tag_field="type"):
    """The last captured event of a session."""

    t_ns: Nanoseconds
    reason: EndReason
    detail: str


CapturedEvent = (
    Opened
    | SegmentCaptured
    | GapCaptured
    | MarkCaptured
    | PauseCaptured
    | LeaseReleased
    | EpochCaptured
    | BeatCaptured
    | EndCaptured
)
