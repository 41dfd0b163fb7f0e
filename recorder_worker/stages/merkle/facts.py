"""The facts that the merkle stage tells, out of what it knows."""

from __future__ import annotations

from recorder_worker.core.events import Checkpoint, CompressedEvent, EndLeaf, Head, SessionSealed
from recorder_worker.core.model import EndReason
from recorder_worker.core.records.ledger import LedgerState


def head_of(leaf: CompressedEvent, state: LedgerState, signed_at_s: int) -> Head:
    """The head behind a leaf, to be signed at `signed_at_s` (seconds since the Unix epoch)."""
    return Head(
        session_id=leaf.session_id,
        session_counter=state.session_counter,
        tree_size=state.size,
        root_hash=state.frontier.root().hex(),
        frontier=state.frontier.to_bytes().hex(),
        totals=state.totals,
        streams=state.streams,
        signing=state.signing,
        epoch=state.epoch,
        signed_at_s=signed_at_s,
        sealed=state.sealed,
        reason=leaf.reason.value if isinstance(leaf, EndLeaf) else "",
    )


def checkpoint_of(head: Head, note: bytes) -> Checkpoint:
    """The signed checkpoint `note` of a head, as it is published."""
    return Checkpoint(
        session_id=head.session_id,
        session_counter=head.session_counter,
        tree_size=head.tree_size,
        root_hash=head.root_hash,
        note=note.decode(),
        totals=head.totals,
        sealed=head.sealed,
    )


def sealed_of(head: Head, location: str, wall_ns: int) -> SessionSealed:
    """The seal of a session, from its last head."""
    totals = head.totals
    return SessionSealed(
        session_id=head.session_id,
        root_hash=head.root_hash,
        tree_size=head.tree_size,
        chunk_count=totals.chunk_count,
        gap_count=totals.gap_count,
        mark_count=totals.mark_count,
        frame_count=totals.frame_count,
        lost_units=totals.lost_units,
        raw_bytes=totals.raw_bytes,
        plain_bytes=totals.plain_bytes,
        stored_bytes=totals.stored_bytes,
        reason=EndReason(head.reason),
        location=location,
        wall_ns=wall_ns,
    )
