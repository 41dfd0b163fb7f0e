"""From leaf events to leaf records, and the state of the tree between two of them.

Pure: the same context, state and event give the same record and the same next state, on the
machine that records, on one that takes over, and in a replay. The ledger counts; whether streams
are covered without holes is for the verifier to judge.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import msgspec
from blake3 import blake3

from recorder_worker.core import keys
from recorder_worker.core.errors import FormatError, IncidentError, OutOfOrderError
from recorder_worker.core.events import (
    ChunkStored,
    CompressedEvent,
    EndLeaf,
    GapLeaf,
    Head,
    MarkLeaf,
    OpenLeaf,
    StreamEnd,
    Totals,
)
from recorder_worker.core.model import Span
from recorder_worker.core.origins import check_recorder
from recorder_worker.core.records import (
    AnyRecord,
    ChunkRecord,
    GapRecord,
    MarkRecord,
    OpenRecord,
    Record,
    SealRecord,
    decode_record,
    encode_record,
)
from recorder_worker.core.salts import Salts
from recorder_worker.core.tree import BLAKE3, Frontier

MAX_MILLIHERTZ = 2**32 - 1


class LedgerContext(msgspec.Struct, frozen=True, kw_only=True):
    """What records bind beside their event. `public_key` is the device's, 32 bytes."""

    session_id: str
    recorder: str
    public_key: bytes
    salts: Salts


class LedgerState(msgspec.Struct, frozen=True, kw_only=True):
    """The tree after some leaves: its frontier, its totals, and where each stream stands."""

    frontier: Frontier = Frontier()
    totals: Totals = Totals()
    streams: tuple[StreamEnd, ...] = ()
    sealed: bool = False

    @property
    def size(self) -> int:
        """How many leaves there are; the index of the next one."""
        return self.frontier.size


def state_from_head(head: Head) -> LedgerState:
    """The state that a stored head describes.

    Raises:
        IncidentError: the head contradicts itself: its frontier has another size or root.
    """
    try:
        frontier = Frontier.from_bytes(bytes.fromhex(head.frontier))
    except ValueError as error:
        raise IncidentError(f"session {head.session_id}: frontier is not hexadecimal") from error
    root = frontier.root().hex()
    if (frontier.size, root) != (head.tree_size, head.root_hash):
        raise IncidentError(
            f"session {head.session_id}: expected a frontier of size {head.tree_size} and root "
            f"{head.root_hash}, found {frontier.size} and {root}; rebuild the tree from its records"
        )
    return LedgerState(
        frontier=frontier, totals=head.totals, streams=head.streams, sealed=head.sealed
    )


def apply(
    context: LedgerContext, state: LedgerState, leaf: CompressedEvent
) -> tuple[bytes, LedgerState]:
    """The record of the next leaf, and the state behind it.

    Raises:
        OutOfOrderError: the leaf's index is not the size of the tree.
        IncidentError: the tree is sealed.
        FormatError: the event does not fit a record; the text says what.
    """
    if leaf.session_id != context.session_id:
        raise FormatError(f"expected session {context.session_id}, got {leaf.session_id}")
    if leaf.index != state.size:
        raise OutOfOrderError(
            f"session {leaf.session_id}: expected leaf {state.size}, got {leaf.index}; "
            "earlier leaves are applied first, and applied ones not again"
        )
    record = _record(context, state, leaf)
    data = encode_record(record)
    return data, advance(state, record, data)


def replay_records(records: Iterable[bytes]) -> LedgerState:
    """The state behind stored records, counted from the first.

    Raises:
        IncidentError: an index is not its place, or a record stands where it must not.
        FormatError: a record cannot be decoded.
    """
    state = LedgerState()
    for data in records:
        state = advance(state, decode_record(data), data)
    return state


def advance(state: LedgerState, record: AnyRecord, data: bytes) -> LedgerState:
    """The state with one more record, given decoded and as its bytes. Raises IncidentError."""
    if state.sealed or record.index != state.size:
        place = "nothing behind the SEAL" if state.sealed else f"record {state.size}"
        raise IncidentError(
            f"session {record.session_id}: expected {place}, got record {record.index}; "
            "nothing more may be signed"
        )
    if isinstance(record, OpenRecord) is not (state.size == 0):
        raise IncidentError(
            f"session {record.session_id}: expected OPEN as record 0 and nowhere else, "
            f"got {type(record).__name__} as record {record.index}"
        )
    return LedgerState(
        frontier=state.frontier.append(BLAKE3.leaf(data)),
        totals=count(state.totals, record),
        streams=follow(state.streams, record),
        sealed=isinstance(record, SealRecord),
    )


def count(totals: Totals, record: Record) -> Totals:
    """The totals with one more record; OPEN and SEAL are not counted."""
    match record:
        case ChunkRecord():
            return msgspec.structs.replace(
                totals,
                chunk_count=totals.chunk_count + 1,
                frame_count=totals.frame_count + record.span.unit_count,
                raw_bytes=totals.raw_bytes + record.raw_size,
                plain_bytes=totals.plain_bytes + record.plain_size,
                stored_bytes=totals.stored_bytes + record.stored_size,
            )
        case GapRecord():
            return msgspec.structs.replace(
                totals,
                gap_count=totals.gap_count + 1,
                lost_units=totals.lost_units + record.span.unit_count,
            )
        case MarkRecord():
            return msgspec.structs.replace(totals, mark_count=totals.mark_count + 1)
        case _:
            return totals


def follow(streams: tuple[StreamEnd, ...], record: Record) -> tuple[StreamEnd, ...]:
    """Where each stream stands behind one more record, by stream number."""
    if not isinstance(record, ChunkRecord | GapRecord):
        return streams
    ends = {end.stream: end for end in streams}
    ends[record.span.stream] = end_of(record.span)
    return tuple(ends[stream] for stream in sorted(ends))


def end_of(span: Span) -> StreamEnd:
    """Where a stream stands behind a span."""
    return StreamEnd(
        stream=span.stream, next_unit=span.first_unit + span.unit_count, t_ns=span.t1_ns
    )


def _record(context: LedgerContext, state: LedgerState, leaf: CompressedEvent) -> AnyRecord:
    salt = context.salts.salt(leaf.index)
    match leaf:
        case OpenLeaf():
            return _open(context, leaf, salt)
        case ChunkStored():
            return _chunk(leaf, salt)
        case GapLeaf():
            return GapRecord(
                session_id=leaf.session_id,
                index=leaf.index,
                salt=salt,
                span=leaf.span,
                reason=leaf.reason,
                detail=leaf.detail,
                wall_ns=leaf.wall_ns,
            )
        case MarkLeaf():
            return _mark(leaf, salt)
        case EndLeaf():
            return SealRecord(
                session_id=leaf.session_id,
                index=leaf.index,
                salt=salt,
                reason=leaf.reason,
                detail=leaf.detail,
                t_ns=leaf.t_ns,
                wall_ns=leaf.wall_ns,
                totals=state.totals,
                streams=state.streams,
            )


def _open(context: LedgerContext, leaf: OpenLeaf, salt: bytes) -> OpenRecord:
    source = leaf.source
    return OpenRecord(
        session_id=leaf.session_id,
        index=leaf.index,
        salt=salt,
        tree_hash=BLAKE3.name,
        recorder=check_recorder(context.recorder),
        public_key=context.public_key,
        manifest_blake3=bytes.fromhex(leaf.manifest_digest),
        software=leaf.software,
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
        wall_ns=leaf.wall_ns,
    )


def _chunk(leaf: ChunkStored, salt: bytes) -> ChunkRecord:
    name = keys.chunk(leaf.index, compressed=leaf.codec == "zstd")
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
