"""Facts of a session's life, for clients, and the accepted commands for the lease holder."""

from __future__ import annotations

from recorder_worker.core.access.identity import NOBODY, Identity
from recorder_worker.core.events.event import Event
from recorder_worker.core.model import Count, EndReason, Hex32, Nanoseconds, SessionId, SourceFacts
from recorder_worker.core.quality.conditions import Condition, Turn
from recorder_worker.core.quality.measures import Measures


class SessionStarted(Event, frozen=True, kw_only=True, tag="started", tag_field="type"):
    """`session.started.<id>`: the session is being recorded. `command_id` names the start.

    `command_sequence` and `command_received_ns` say where and when COMMANDS stored it: by them a
    worker that takes the session over knows the start, and does not ask for its token again.
    `owner` is whose session it is: who hears what becomes of it.
    """

    session_id: SessionId
    command_id: str
    command_digest: Hex32
    command_sequence: Count
    command_received_ns: Nanoseconds = 0
    owner: str = ""
    identity: Identity = NOBODY
    source: SourceFacts
    node: str
    wall_ns: Nanoseconds


class SessionRejected(Event, frozen=True, kw_only=True, tag="rejected", tag_field="type"):
    """`session.rejected.<id>` or `session.rejected.unknown`: a command was refused, and why.

    `owner` is that of a refused start; of another command it is empty.
    """

    session_id: str
    command: str
    command_id: str
    field: str
    expected: str
    got: str
    hint: str
    owner: str = ""
    wall_ns: Nanoseconds


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
    """`session.failed.<id>`: recording ended against the client's wish; sealed all the same."""

    session_id: SessionId
    reason: EndReason
    detail: str
    wall_ns: Nanoseconds


class SessionQuality(Event, frozen=True, kw_only=True, tag="quality", tag_field="type"):
    """`session.quality.<id>`: what pictures are like has changed; a mark says so, too.

    `since_ns` is the session time of the first picture that shows it, `t_ns` when it was certain.
    A condition that has begun holds until it ends, the session does, or another worker takes over,
    which looks anew.
    """

    session_id: SessionId
    t_ns: Nanoseconds
    condition: Condition
    state: Turn
    since_ns: Nanoseconds
    measures: Measures
    wall_ns: Nanoseconds


class Control(Event, frozen=True, kw_only=True, tag="control", tag_field="type"):
    """`session.control.<id>`: an accepted command, with its place among those of the session.

    `command_sequence` and `command_received_ns` say where and when COMMANDS stored it, so that an
    older command that is delivered again is known without reading the log.
    """

    session_id: SessionId
    ordinal: Count
    command: str
    command_id: str
    command_sequence: Count = 0
    command_received_ns: Nanoseconds = 0
    by: str
    identity: Identity = NOBODY
    body: str
    wall_ns: Nanoseconds


class SessionIncident(Event, frozen=True, kw_only=True, tag="incident", tag_field="type"):
    """`session.incident.<id>`: the record contradicts what was signed; signing has stopped."""

    session_id: SessionId
    stage: str
    detail: str
    wall_ns: Nanoseconds
