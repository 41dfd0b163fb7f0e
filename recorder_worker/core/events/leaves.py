"""Leaves of the tree: `chunked` gives each its index, `compressed` stores its payload."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from recorder_worker.core.cipher.names import CIPHER_NONE
from recorder_worker.core.events.event import Event
from recorder_worker.core.events.register import SessionNumbered
from recorder_worker.core.model import (
    ClockState,
    Count,
    EndReason,
    GapReason,
    Hex32,
    Mask,
    Nanoseconds,
    RecordingPolicy,
    SessionId,
    SourceFacts,
    Span,
    Wire,
)


class Leaf(Event, frozen=True, kw_only=True):
    """What every leaf carries: its index, and where in the captured log the next one begins.

    `captured` is the ordinal of the last captured event that had been applied, `open_from` the
    ordinal of the first one that is not in a leaf yet (segments wait for their chunk), and
    `keyframe_index` the leaf of the chunk that holds the newest keyframe. `clock` is the state of
    the clock that told the leaf's times. `read_after` is a hint about this one stream, set by the
    stage: all events from `open_from` on stand behind that sequence.
    """

    session_id: SessionId
    index: Count
    captured: Count
    clock: ClockState = ClockState.UNKNOWN
    open_from: Count = 0
    keyframe_index: Count = 0
    read_after: Count = 0


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
    software_blake3: Hex32
    policy: RecordingPolicy
    numbered: SessionNumbered
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
    raw_size: Count
    plain_size: Count
    zstd_level: Annotated[int, Meta(ge=1, le=22)]
    zstd_window_log: Annotated[int, Meta(ge=10, le=23)]
    cipher: str = CIPHER_NONE
    frames: str = "tiles64-bgr"
    segments: tuple[SegmentRef, ...]


class ChunkStored(Leaf, frozen=True, kw_only=True, tag="stored", tag_field="type"):
    """A chunk whose payload is durable in the blob store."""

    span: Span
    keyframe: bool
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


class EpochLeaf(Leaf, frozen=True, kw_only=True, tag="epoch", tag_field="type"):
    """Other keys sign behind this leaf; what they are is for the signer to say."""

    number: Annotated[int, Meta(ge=1, le=2**32 - 1)]
    t_ns: Nanoseconds
    wall_ns: Nanoseconds


class BeatLeaf(Leaf, frozen=True, kw_only=True, tag="beat", tag_field="type"):
    """The lease holder is alive; stream 0 is captured up to `unit` and `t_ns`."""

    unit: Count
    t_ns: Nanoseconds
    wall_ns: Nanoseconds


class EndLeaf(Leaf, frozen=True, kw_only=True, tag="end", tag_field="type"):
    """The last leaf: becomes SEAL, with the totals of the tree."""

    t_ns: Nanoseconds
    reason: EndReason
    detail: str
    wall_ns: Nanoseconds


ChunkedEvent = OpenLeaf | ChunkPlanned | GapLeaf | MarkLeaf | EpochLeaf | BeatLeaf | EndLeaf
CompressedEvent = OpenLeaf | ChunkStored | GapLeaf | MarkLeaf | EpochLeaf | BeatLeaf | EndLeaf
