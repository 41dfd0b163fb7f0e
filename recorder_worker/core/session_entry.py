"""What is known of a session, in one entry: a merge of its facts.

Facts come in any order, some of them twice, and from several workers at once. So the merge is one
where none of that matters: each field is set once, or by the fact that is furthest on.
"""

from __future__ import annotations

import msgspec

from recorder_worker.core.commands import StartSession
from recorder_worker.core.events import (
    Captured,
    Checkpoint,
    EndCaptured,
    Event,
    SessionFailed,
    SessionIncident,
    SessionPaused,
    SessionResumed,
    SessionSealed,
    SessionStarted,
    Totals,
)
from recorder_worker.core.lifecycle import State
from recorder_worker.core.model import (
    SCHEMA_VERSION,
    Count,
    Nanoseconds,
    SessionId,
    Slowed,
    SourceFacts,
    Wire,
)


class SessionEntry(Wire, frozen=True, kw_only=True):
    """The value under a session's id in the bucket `recorder-sessions`.

    Attributes:
        state: where the session stands; `requested` until its start is known here.
        source: what is recorded; null until the start is known.
        node: the machine that took it first.
        owner: whom the start command named, and `labels` what it carried; known from when
            `described` is true.
        pre_record_s: of the start command, known with them; 0: it had none. Else the session counts
            as armed until a chunk or a gap of it is signed: before a trigger there is none.
        started_wall_ns: when it was taken; 0 until known.
        totals: over the leaves under the newest checkpoint that is known here.
        tree_size: of that checkpoint; so is `root_hash`.
        turned_t_ns: session time of the newest pause or resume; 0: there was none.
        turned_wall_ns: the same by the wall clock.
        slowed: the lower frame rate in force, and why; null: its own, or it is not recorded now. As
            `held`, it is looked up with each checkpoint, so it may lag behind by one.
        held: whether nothing is read, for later stages are behind.
        failed: why recording ended against the client's wish; empty: it did not.
        incident: what contradicts what was signed; empty: nothing.
        sealed_wall_ns: when it was sealed; 0: it is not. `reason` and `location` come with it.
    """

    v: int = SCHEMA_VERSION
    session_id: SessionId
    state: State = State.REQUESTED
    source: SourceFacts | None = None
    node: str = ""
    described: bool = False
    owner: str = ""
    labels: dict[str, str] = msgspec.field(default_factory=dict)
    pre_record_s: float = 0.0
    started_wall_ns: Nanoseconds = 0
    totals: Totals = Totals()
    tree_size: Count = 0
    root_hash: str = ""
    paused: bool = False
    turned_t_ns: Nanoseconds = 0
    turned_wall_ns: Nanoseconds = 0
    slowed: Slowed | None = None
    held: bool = False
    failed: str = ""
    incident: str = ""
    sealed_wall_ns: Nanoseconds = 0
    reason: str = ""
    location: str = ""


def merged(entry: SessionEntry, event: Event) -> SessionEntry:
    """The entry with one more fact in it; the same entry where the fact says nothing new."""
    match event:
        case SessionStarted():
            entry = msgspec.structs.replace(
                entry, source=event.source, node=event.node, started_wall_ns=event.wall_ns
            )
        case SessionPaused() | SessionResumed():
            entry = _turned(entry, event)
        case Checkpoint() if event.tree_size > entry.tree_size:
            entry = msgspec.structs.replace(
                entry,
                totals=event.totals,
                tree_size=event.tree_size,
                root_hash=event.root_hash,
            )
        case SessionFailed():
            entry = msgspec.structs.replace(entry, failed=f"{event.reason.value}: {event.detail}")
        case SessionIncident():
            # Of several the least in order of text: the same one, whichever came first.
            known = [entry.incident] if entry.incident else []
            entry = msgspec.structs.replace(entry, incident=min([*known, event.detail]))
        case SessionSealed():
            entry = _sealed(entry, event)
        case _:
            return entry
    return msgspec.structs.replace(entry, state=_state(entry))


def described(entry: SessionEntry, command: StartSession) -> SessionEntry:
    """The entry with what only the command says that started the session."""
    entry = msgspec.structs.replace(
        entry,
        described=True,
        owner=command.owner,
        labels=command.labels,
        pre_record_s=command.pre_record_s or 0.0,
    )
    return msgspec.structs.replace(entry, state=_state(entry))


def read_as(entry: SessionEntry, captured: Captured) -> SessionEntry:
    """The entry with how its session is read now, as the newest captured event says."""
    if isinstance(captured, EndCaptured) or entry.sealed_wall_ns:
        return msgspec.structs.replace(entry, slowed=None, held=False)
    return msgspec.structs.replace(entry, slowed=captured.slowed, held=captured.held)


def _turned(entry: SessionEntry, event: SessionPaused | SessionResumed) -> SessionEntry:
    paused = isinstance(event, SessionPaused)
    known = (entry.turned_t_ns, entry.turned_wall_ns, not entry.paused)
    if (event.t_ns, event.wall_ns, not paused) < known:
        return entry
    return msgspec.structs.replace(
        entry,
        paused=paused,
        turned_t_ns=event.t_ns,
        turned_wall_ns=event.wall_ns,
    )


def _sealed(entry: SessionEntry, event: SessionSealed) -> SessionEntry:
    return msgspec.structs.replace(
        entry,
        totals=Totals(
            chunk_count=event.chunk_count,
            gap_count=event.gap_count,
            mark_count=event.mark_count,
            frame_count=event.frame_count,
            lost_units=event.lost_units,
            raw_bytes=event.raw_bytes,
            plain_bytes=event.plain_bytes,
            stored_bytes=event.stored_bytes,
        ),
        tree_size=event.tree_size,
        root_hash=event.root_hash,
        slowed=None,
        held=False,
        sealed_wall_ns=event.wall_ns,
        reason=event.reason.value,
        location=event.location,
    )


def _state(entry: SessionEntry) -> State:
    if entry.sealed_wall_ns:
        return State.SEALED
    if entry.failed:
        return State.STOPPING
    if entry.paused:
        return State.PAUSED
    if not entry.started_wall_ns:
        return State.REQUESTED
    recorded = entry.totals.chunk_count or entry.totals.gap_count
    return State.ARMED if entry.pre_record_s and not recorded else State.RECORDING
