"""From leaf events to leaf records, and the state of the tree between two of them.

Pure: the same context, state and event give the same record and the same next state, on the
machine that records, on one that takes over, and in a replay. The ledger counts; whether streams
are covered without holes is for the verifier to judge.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from recorder_worker.core.errors import FormatError, IncidentError, OutOfOrderError
from recorder_worker.core.events import (
    CompressedEvent,
    EpochKeys,
    Head,
    StreamEnd,
    Totals,
)
from recorder_worker.core.merkle.tree import BLAKE3, Frontier
from recorder_worker.core.model import Span
from recorder_worker.core.records.codec import decode_record, encode_record
from recorder_worker.core.records.leaves import (
    AnyRecord,
    ChunkRecord,
    EpochRecord,
    GapRecord,
    MarkRecord,
    OpenRecord,
    Record,
    SealRecord,
)
from recorder_worker.core.records.making import RecordKeys, Standing, record_of


class LedgerContext(msgspec.Struct, frozen=True, kw_only=True):
    """What records bind beside their event."""

    session_id: str
    recorder: str
    keys: RecordKeys


class LedgerState(msgspec.Struct, frozen=True, kw_only=True):
    """The tree after some leaves: its frontier, its totals, and where each stream stands.

    `signing` are the keys for the checkpoint of this very size, `epoch` those for later ones:
    the leaf that begins an epoch is still signed by the one that it closes.
    """

    session_counter: int = 0
    frontier: Frontier = Frontier()
    signing: EpochKeys = EpochKeys()
    epoch: EpochKeys = EpochKeys()
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
        session_counter=head.session_counter,
        frontier=frontier,
        signing=head.signing,
        epoch=head.epoch,
        totals=head.totals,
        streams=head.streams,
        sealed=head.sealed,
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
    standing = Standing(totals=state.totals, streams=state.streams)
    record = record_of(leaf, recorder=context.recorder, parts=context.keys, standing=standing)
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
    epoch = next_epoch(state.epoch, record)
    counter = state.session_counter
    if isinstance(record, OpenRecord):
        counter = record.session_counter
    return LedgerState(
        session_counter=counter,
        frontier=state.frontier.append(BLAKE3.leaf(data)),
        signing=state.epoch if state.size else epoch,
        epoch=epoch,
        totals=count(state.totals, record),
        streams=follow(state.streams, record),
        sealed=isinstance(record, SealRecord),
    )


def next_epoch(epoch: EpochKeys, record: AnyRecord) -> EpochKeys:
    """The keys that sign behind one more record.

    Raises:
        IncidentError: an epoch begins that is not the next one.
    """
    if isinstance(record, OpenRecord):
        return EpochKeys(number=0, keys=record.epoch_keys)
    if not isinstance(record, EpochRecord):
        return epoch
    if record.number != epoch.number + 1:
        raise IncidentError(
            f"session {record.session_id}: expected epoch {epoch.number + 1} behind epoch "
            f"{epoch.number}, got epoch {record.number} as record {record.index}"
        )
    return EpochKeys(number=record.number, keys=record.keys)


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
