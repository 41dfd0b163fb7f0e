"""Leaf records: what is hashed into the tree, as values (docs/format.md, "Leaf records").

How they are written is in `layouts`, reading and writing in `codec`.
"""

from __future__ import annotations

import msgspec

from recorder_worker.core.events import StreamEnd, Totals
from recorder_worker.core.model import (
    ClockState,
    EndReason,
    GapReason,
    Mask,
    SourceClock,
    Span,
)
from recorder_worker.core.signing.signing_keys import PublicKey


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """What every record begins with. `salt` is 16 bytes."""

    session_id: str
    index: int
    salt: bytes


class OpenRecord(Record, frozen=True, kw_only=True):
    """Index 0: who records what, with which keys, under which policy. Rates are in millihertz.

    `device_signatures` are of `signed_open`, one by each device key.
    """

    tree_hash: str
    recorder: str
    session_counter: int
    previous_seal: bytes
    device_keys: tuple[PublicKey, ...]
    epoch_keys: tuple[PublicKey, ...]
    manifest_blake3: bytes
    software: str
    software_blake3: bytes
    node: str
    boot_id: str
    source_kind: str
    source_uri: str
    source_description: str
    source_width: int
    source_height: int
    source_rate_mhz: int
    source_clock: SourceClock
    profile: str
    frame_rate_mhz: int
    masks: tuple[Mask, ...]
    checkpoint_interval_ns: int
    checkpoint_leaves: int
    epoch_length_ns: int
    wall_ns: int
    clock: ClockState
    beacon: bytes
    timestamped: bytes
    timestamp: bytes
    device_signatures: tuple[bytes, ...] = ()


class ChunkRecord(Record, frozen=True, kw_only=True):
    """A chunk of units that were recorded, and every digest of its bytes."""

    span: Span
    frames: str
    codec: str
    cipher: str
    raw_size: int
    plain_size: int
    plain_blake3: bytes
    stored_size: int
    stored_blake3: bytes
    stored_sha256: bytes
    keyframe: bool
    keyframe_index: int
    clock: ClockState


class GapRecord(Record, frozen=True, kw_only=True):
    """Units that are known to be missing, and why."""

    span: Span
    reason: GapReason
    detail: str
    wall_ns: int


class MarkRecord(Record, frozen=True, kw_only=True):
    """A client's mark; its body is stored beside the records."""

    t_ns: int
    wall_ns: int
    kind: str
    by: str
    body_size: int
    body_blake3: bytes


class SealRecord(Record, frozen=True, kw_only=True):
    """The last record: why the session ended, and the totals of all before it."""

    reason: EndReason
    detail: str
    t_ns: int
    wall_ns: int
    totals: Totals
    streams: tuple[StreamEnd, ...]


class EpochRecord(Record, frozen=True, kw_only=True):
    """Epoch `number` begins: its keys sign behind this record. The old ones sign over it."""

    number: int
    t_ns: int
    wall_ns: int
    clock: ClockState
    keys: tuple[PublicKey, ...]


class BeatRecord(Record, frozen=True, kw_only=True):
    """Still alive: stream 0 is captured up to `unit` and `t_ns`; `streams` is what leaves hold."""

    unit: int
    t_ns: int
    wall_ns: int
    clock: ClockState
    streams: tuple[StreamEnd, ...]


AnyRecord = (
    OpenRecord | ChunkRecord | GapRecord | MarkRecord | SealRecord | EpochRecord | BeatRecord
)
