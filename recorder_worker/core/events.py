"""Facts that the stages publish, as they stand on the wire.

`captured` is the event log of a session: everything later is a function of it. `chunked` gives
each leaf its index; `compressed` is the same leaf with its payload stored; `head` and
`checkpoint` are the tree.
"""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from recorder_worker.core.errors import Refusal
from recorder_worker.core.model import (
    SCHEMA_VERSION,
    Count,
    EndReason,
    GapReason,
    Hex32,
    Mask,
    Nanoseconds,
    SessionId,
    SourceFacts,
    Span,
    Wire,
)


class Event(Wire, frozen=True, kw_only=True):
    """What every fact carries."""

    v: Annotated[int, Meta(ge=1)] = SCHEMA_VERSION


# --- the session's life, for clients -----------------------------------------------------------


class SessionStarted(Event, frozen=True, kw_only=True, tag="started", tag_field="type"):
    """`session.started.<id>`: the session is being recorded. `command_id` names the start."""

    session_id: SessionId
    command_id: str
    command_digest: Hex32
    command_sequence: Count
    source: SourceFacts
    node: str
    wall_ns: Nanoseconds


class SessionRejected(Event, frozen=True, kw_only=True, tag="rejected", tag_field="type"):
    """`session.rejected.<id>` or `session.rejected.unknown`: a command was refused, and why."""

    session_id: str
    command: str
    command_id: str
    refusals: tuple[Refusal, ...]
    wall_ns: Nanoseconds

    field: str
    expected: str
    got: str
    hint: str


class SessionPaused(Event, frozen=True, kw_only=True, tag="paused", tag_field="type"):
    """`session.paused.<id>`."""

    session_id: SessionId
    t_ns: Nanoseconds
    by: str
    wall_ns: Nanoseconds


class SessionResumed(Event, frozen=True, kw_only=True, tag="resumed", tag_field="type"):
    """`session.resumed.<id>`."""

    session_id: SessionId
    t_ns: Nanoseconds
    by: str
    wall_ns: Nanoseconds


class SessionFailed(Event, frozen=True, kw_only=True, tag="failed", tag_field="type"):
    """`session.failed.<id>`: recording ended against the client's wish; it is sealed all the same."""

    session_id: SessionId
    reason: EndReason
    detail: str
    wall_ns: Nanoseconds


# --- control: accepted commands, in order, for the lease holder -----------------------------------


class Control(Event, frozen=True, kw_only=True, tag="control", tag_field="type"):
    """`session.control.<id>`: an accepted command, with its place among those of the session."""

    session_id: SessionId
    ordinal: Count
    command: str
    command_id: str
    by: str
    body: str
    wall_ns: Nanoseconds


# --- captured -----------------------------------------------------------------------------------


class Captured(Event, frozen=True, kw_only=True):
    """What every captured event carries: its place in the log, the lease that wrote it, and how
    many control events had been applied by then."""

    session_id: SessionId
    ordinal: Count
    lease: str
    controls: Count
    wall_ns: Nanoseconds


class Opened(Captured, frozen=True, kw_only=True, tag="opened", tag_field="type"):
    """The source is open. Always ordinal 0."""

    manifest_digest: Hex32
    source: SourceFacts
    profile: str
    fps: Annotated[float, Meta(ge=0)]
    masks: tuple[Mask, ...]
    node: str
    boot_id: str
    software: str


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


class EndCaptured(Captured, frozen=True, kw_only=True, tag="ended", tag_field="type"):
    """The last captured event of a session."""

    t_ns: Nanoseconds
    reason: EndReason
    detail: str


CapturedEvent = Opened | SegmentCaptured | GapCaptured | MarkCaptured | PauseCaptured | EndCaptured


# --- leaves: chunked and compressed -------------------------------------------------------------


class Leaf(Event, frozen=True, kw_only=True):
    """What every leaf carries: its index in the tree and the last captured ordinal in it."""

    session_id: SessionId
    index: Count
    captured: Count


class OpenLeaf(Leaf, frozen=True, kw_only=True, tag="open", tag_field="type"):
    """Index 0: what is recorded, by whom, under which policy."""

    manifest_digest: Hex32
    source: SourceFacts
    profile: str
    fps: Annotated[float, Meta(ge=0)]
    masks: tuple[Mask, ...]
    node: str
    boot_id: str
    software: str
    wall_ns: Nanoseconds


class SegmentRef(Wire, frozen=True, kw_only=True):
    """A segment that a chunk is made of."""

    name: str
    plain_size: Count
    plain_blake3: Hex32
    stored_size: Count
    stored_blake3: Hex32


class ChunkPlanned(Leaf, frozen=True, kw_only=True, tag="chunk", tag_field="type"):
    """A chunk by reference: its payload is its segments, one after the other."""

    span: Span
    keyframe: bool
    keyframe_index: Count
    raw_size: Count
    plain_size: Count
    segments: tuple[SegmentRef, ...]


class ChunkStored(Leaf, frozen=True, kw_only=True, tag="stored", tag_field="type"):
    """A chunk whose payload is durable in the blob store."""

    span: Span
    keyframe: bool
    keyframe_index: Count
    name: str
    frames: str
    codec: str
    cipher: str
    raw_size: Count
    plain_size: Count
    plain_blake3: Hex32
    stored_size: Count
    stored_blake3: Hex32
    stored_sha256: Hex32


class GapLeaf(Leaf, frozen=True, kw_only=True, tag="gap", tag_field="type"):
    """Units that are known to be missing."""

    span: Span
    reason: GapReason
    detail: str
    wall_ns: Nanoseconds


class MarkLeaf(Leaf, frozen=True, kw_only=True, tag="mark", tag_field="type"):
    """A client's mark."""

    t_ns: Nanoseconds
    kind: str
    by: str
    body: str
    wall_ns: Nanoseconds


class EndLeaf(Leaf, frozen=True, kw_only=True, tag="end", tag_field="type"):
    """The last leaf: becomes SEAL, with the totals of the tree."""

    t_ns: Nanoseconds
    reason: EndReason
    detail: str
    wall_ns: Nanoseconds


ChunkedEvent = OpenLeaf | ChunkPlanned | GapLeaf | MarkLeaf | EndLeaf
CompressedEvent = OpenLeaf | ChunkStored | GapLeaf | MarkLeaf | EndLeaf


# --- the tree -----------------------------------------------------------------------------------


class Totals(Wire, frozen=True, kw_only=True):
    """Running totals over the leaves of a tree."""

    chunk_count: Count = 0
    gap_count: Count = 0
    mark_count: Count = 0
    frame_count: Count = 0
    lost_units: Count = 0
    raw_bytes: Count = 0
    plain_bytes: Count = 0
    stored_bytes: Count = 0


class Head(Event, frozen=True, kw_only=True, tag="head", tag_field="type"):
    """`session.head.<id>`: the tree that is about to be signed, with all that signing and going
    on needs. Stored with compare-and-set before the signature is made, so that there are never
    two roots for one size."""

    session_id: SessionId
    tree_size: Count
    root_hash: Hex32
    frontier: str
    totals: Totals
    signed_at_s: Count
    sealed: bool
    reason: str


class Checkpoint(Event, frozen=True, kw_only=True, tag="checkpoint", tag_field="type"):
    """`session.checkpoint.<id>`: a signed checkpoint is durable in the recording."""

    session_id: SessionId
    tree_size: Count
    root_hash: Hex32
    note: str
    totals: Totals
    sealed: bool


class SessionSealed(Event, frozen=True, kw_only=True, tag="sealed", tag_field="type"):
    """`session.sealed.<id>`: the record is complete and signed."""

    session_id: SessionId
    root_hash: Hex32
    tree_size: Count
    chunk_count: Count
    gap_count: Count
    mark_count: Count
    frame_count: Count
    lost_units: Count
    raw_bytes: Count
    plain_bytes: Count
    stored_bytes: Count
    reason: EndReason
    location: str
    wall_ns: Nanoseconds
