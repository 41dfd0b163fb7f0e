"""From a leaf event to its record: what the event says, and what only a signer can add."""

from __future__ import annotations

import math
from typing import Protocol

import msgspec
from blake3 import blake3

from recorder_worker.core import keys
from recorder_worker.core.cipher.names import CIPHER_NONE
from recorder_worker.core.errors import FormatError
from recorder_worker.core.events import (
    BeatLeaf,
    ChunkStored,
    CompressedEvent,
    EndLeaf,
    EpochLeaf,
    GapLeaf,
    MarkLeaf,
    OpenLeaf,
    StreamEnd,
    Totals,
)
from recorder_worker.core.merkle.tree import BLAKE3
from recorder_worker.core.records.codec import signed_open
from recorder_worker.core.records.leaves import (
    AnyRecord,
    BeatRecord,
    ChunkRecord,
    EpochRecord,
    GapRecord,
    MarkRecord,
    OpenRecord,
    SealRecord,
)
from recorder_worker.core.signing.origins import check_recorder
from recorder_worker.core.signing.signing_keys import PublicKey

MAX_MILLIHERTZ = 2**32 - 1


class RecordKeys(Protocol):
    """What only the signer of a session can give to its records; always the same when repeated."""

    def salt(self, index: int) -> bytes:
        """The 16 bytes that keep a record from being guessed."""
        ...

    def device_keys(self) -> tuple[PublicKey, ...]:
        """The public keys of the device."""
        ...

    def endorse(self, message: bytes) -> tuple[bytes, ...]:
        """A signature of a message by each device key."""
        ...

    def epoch_keys(self, number: int) -> tuple[PublicKey, ...]:
        """The public keys of an epoch."""
        ...


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """What the tree amounts to before a leaf: some records hold it."""

    totals: Totals
    streams: tuple[StreamEnd, ...]


def record_of(
    leaf: CompressedEvent, *, recorder: str, parts: RecordKeys, standing: Standing
) -> AnyRecord:
    """The record of a leaf.

    Raises:
        FormatError: the event does not fit a record; the text says what.
    """
    salt = parts.salt(leaf.index)
    record: AnyRecord
    match leaf:
        case OpenLeaf():
            record = _open(leaf, recorder, parts, salt)
        case ChunkStored():
            record = _chunk(leaf, salt)
        case MarkLeaf():
            record = _mark(leaf, salt)
        case GapLeaf():
            record = GapRecord(
                session_id=leaf.session_id,
                index=leaf.index,
                salt=salt,
                span=leaf.span,
                reason=leaf.reason,
                detail=leaf.detail,
                wall_ns=leaf.wall_ns,
            )
        case EpochLeaf():
            record = EpochRecord(
                session_id=leaf.session_id,
                index=leaf.index,
                salt=salt,
                number=leaf.number,
                t_ns=leaf.t_ns,
                wall_ns=leaf.wall_ns,
                clock=leaf.clock,
                keys=parts.epoch_keys(leaf.number),
            )
        case BeatLeaf():
            record = BeatRecord(
                session_id=leaf.session_id,
                index=leaf.index,
                salt=salt,
                unit=leaf.unit,
                t_ns=leaf.t_ns,
                wall_ns=leaf.wall_ns,
                clock=leaf.clock,
                streams=standing.streams,
            )
        case EndLeaf():
            record = SealRecord(
                session_id=leaf.session_id,
                index=leaf.index,
                salt=salt,
                reason=leaf.reason,
                detail=leaf.detail,
                t_ns=leaf.t_ns,
                wall_ns=leaf.wall_ns,
                totals=standing.totals,
                streams=standing.streams,
            )
    return record


def _open(leaf: OpenLeaf, recorder: str, parts: RecordKeys, salt: bytes) -> OpenRecord:
    source, policy, numbered = leaf.source, leaf.policy, leaf.numbered
    record = OpenRecord(
        session_id=leaf.session_id,
        index=leaf.index,
        salt=salt,
        tree_hash=BLAKE3.name,
        recorder=check_recorder(recorder),
        session_counter=numbered.counter,
        previous_seal=bytes.fromhex(numbered.previous_seal),
        device_keys=parts.device_keys(),
        epoch_keys=parts.epoch_keys(0),
        manifest_blake3=bytes.fromhex(leaf.manifest_digest),
        software=leaf.software,
        software_blake3=bytes.fromhex(leaf.software_blake3),
        node=leaf.node,
        boot_id=leaf.boot_id,
        source_kind=source.kind,
        source_uri=source.uri,
        source_description=source.description,
        source_width=source.width,
        source_height=source.height,
        source_rate_mhz=millihertz(source.frame_rate),
        source_clock=source.clock,
        profile=leaf.profile,
        frame_rate_mhz=millihertz(leaf.fps),
        masks=leaf.masks,
        checkpoint_interval_ns=policy.checkpoint_interval_ns,
        checkpoint_leaves=policy.checkpoint_leaves,
        epoch_length_ns=policy.epoch_length_ns,
        wall_ns=leaf.wall_ns,
        clock=leaf.clock,
        beacon=numbered.beacon.encode(),
        timestamped=numbered.timestamped.encode(),
        timestamp=numbered.timestamp,
    )
    signatures = parts.endorse(signed_open(record))
    return msgspec.structs.replace(record, device_signatures=signatures)


def _chunk(leaf: ChunkStored, salt: bytes) -> ChunkRecord:
    name = keys.chunk(
        leaf.index, compressed=leaf.codec == "zstd", encrypted=leaf.cipher != CIPHER_NONE
    )
    if leaf.name != name:
        raise FormatError(
            f"leaf {leaf.index}: expected its chunk to be stored as {name}, got {leaf.name!r}; "
            "the record does not hold the name, so it must be this one"
        )
    return ChunkRecord(
        session_id=leaf.session_id,
        index=leaf.index,
        salt=salt,
        span=leaf.span,
        frames=leaf.frames,
        codec=leaf.codec,
        cipher=leaf.cipher,
        raw_size=leaf.raw_size,
        plain_size=leaf.plain_size,
        plain_blake3=bytes.fromhex(leaf.plain_blake3),
        stored_size=leaf.stored_size,
        stored_blake3=bytes.fromhex(leaf.stored_blake3),
        stored_sha256=bytes.fromhex(leaf.stored_sha256),
        keyframe=leaf.keyframe,
        keyframe_index=leaf.keyframe_index,
        clock=leaf.clock,
    )


def _mark(leaf: MarkLeaf, salt: bytes) -> MarkRecord:
    body = leaf.body.encode()
    return MarkRecord(
        session_id=leaf.session_id,
        index=leaf.index,
        salt=salt,
        t_ns=leaf.t_ns,
        wall_ns=leaf.wall_ns,
        kind=leaf.kind,
        by=leaf.by,
        body_size=len(body),
        body_blake3=blake3(body).digest(),
    )


def millihertz(rate: float) -> int:
    """A rate in hertz as whole millihertz; what is more than the field holds stays at its most.

    Raises:
        FormatError: it is negative or not a number.
    """
    if not math.isfinite(rate) or rate < 0:
        raise FormatError(f"rate: expected a number of hertz from 0, got {rate}")
    return min(round(rate * 1000), MAX_MILLIHERTZ)
