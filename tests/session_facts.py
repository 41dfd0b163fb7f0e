"""Facts about one session, as they reach whoever keeps the table of sessions."""

from __future__ import annotations

from functools import reduce

from recorder_worker.core.events import (
    Checkpoint,
    Event,
    SessionFailed,
    SessionIncident,
    SessionPaused,
    SessionResumed,
    SessionSealed,
    SessionStarted,
    Totals,
)
from recorder_worker.core.model import EndReason, SourceClock, SourceFacts
from recorder_worker.core.session_entry import SessionEntry, merged

ID = "01890a5d-ac96-774b-bcce-b302099a8057"
HEX = "ab" * 32
SOURCE = SourceFacts(
    kind="pattern",
    uri="pattern:desktop",
    description="d",
    width=3,
    height=4,
    clock=SourceClock.LIVE,
    frame_rate=10,
)
STARTED = SessionStarted(
    session_id=ID,
    command_id="c",
    command_digest=HEX,
    command_sequence=1,
    source=SOURCE,
    node="vm",
    wall_ns=1000,
)
PAUSED = SessionPaused(session_id=ID, t_ns=10, by="kim", wall_ns=1010)
RESUMED = SessionResumed(session_id=ID, t_ns=20, by="kim", wall_ns=1020)
PAUSED_AGAIN = SessionPaused(session_id=ID, t_ns=30, by="kim", wall_ns=1030)
FAILED = SessionFailed(session_id=ID, reason=EndReason.SOURCE_LOST, detail="gone", wall_ns=1040)
INCIDENTS = [
    SessionIncident(session_id=ID, stage="merkle", detail=detail, wall_ns=1) for detail in "ba"
]
SEALED = SessionSealed(
    session_id=ID,
    root_hash="cd" * 32,
    tree_size=9,
    chunk_count=1,
    gap_count=2,
    mark_count=3,
    frame_count=4,
    lost_units=5,
    raw_bytes=6,
    plain_bytes=7,
    stored_bytes=8,
    reason=EndReason.SOURCE_LOST,
    location="/data/sessions/1",
    wall_ns=1050,
)


def checkpoint(size: int) -> Checkpoint:
    return Checkpoint(
        session_id=ID,
        tree_size=size,
        root_hash=f"{size:064x}",
        note="n",
        totals=Totals(chunk_count=size),
        sealed=False,
    )


def entry_of(*events: Event) -> SessionEntry:
    return reduce(merged, events, SessionEntry(session_id=ID))
