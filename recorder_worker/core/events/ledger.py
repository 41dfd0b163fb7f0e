"""Facts about the tree: its head, its signed checkpoints, its seal."""

from __future__ import annotations

from recorder_worker.core.events.event import Event
from recorder_worker.core.model import Count, EndReason, Hex32, Nanoseconds, SessionId, Wire
from recorder_worker.core.signing.signing_keys import PublicKey


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


class StreamEnd(Wire, frozen=True, kw_only=True):
    """Where a stream stands: the next unit, and the session time up to which it is covered."""

    stream: Count
    next_unit: Count
    t_ns: Nanoseconds


class EpochKeys(Wire, frozen=True, kw_only=True):
    """The public keys of a key epoch: Ed25519 first."""

    number: Count = 0
    keys: tuple[PublicKey, ...] = ()


class Head(Event, frozen=True, kw_only=True, tag="head", tag_field="type"):
    """`session.head.<id>`: the tree that is about to be signed, with all that going on needs.

    Stored with compare-and-set before the signature is made: never two roots for one size.
    `signing` are the keys that sign this head; `epoch` those that sign the next one, which differ
    where the last leaf begins an epoch.
    """

    session_id: SessionId
    session_counter: Count
    tree_size: Count
    root_hash: Hex32
    frontier: str
    totals: Totals
    streams: tuple[StreamEnd, ...] = ()
    signing: EpochKeys
    epoch: EpochKeys
    signed_at_s: Count
    sealed: bool
    reason: str


class Checkpoint(Event, frozen=True, kw_only=True, tag="checkpoint", tag_field="type"):
    """`session.checkpoint.<id>`: a signed checkpoint is durable in the recording."""

    session_id: SessionId
    session_counter: Count = 0
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
