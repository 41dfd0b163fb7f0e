"""Facts about what is kept of a session, and what is let go."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from recorder_worker.core.access.identity import NOBODY, Identity
from recorder_worker.core.events.event import Event
from recorder_worker.core.model import Count, Nanoseconds, SessionId

RetentionKind = Literal["hold", "release", "delete", "tombstone"]


class SessionRetention(Event, frozen=True, kw_only=True, tag="session_retention", tag_field="type"):
    """`session.retention.<id>`: a statement was signed, and stands in the log of sessions.

    Attributes:
        number: of the statement in its session, from 1; what holds is what the newest one says.
        kind: `hold` or `release`; `delete`: its bytes go from now on; `tombstone`: they are gone.
        by: who wanted it; `recorder`: a rule did.
        rule: of a deletion and its tombstone; else empty.
        holds: the names of the holds in force behind it.
        chunk_count: chunks that go, or are gone, of `chunk_bytes` stored bytes; else 0.
        key_removed: the key of an encrypted session goes with them.
        identity: who asked, where somebody was asked who he is.
        command_id: of the command; empty: a rule.
        statement: the signed statement, as it is stored.
    """

    session_id: SessionId
    number: Annotated[int, Meta(ge=1, le=9999)]
    kind: RetentionKind
    by: str
    reason: str
    rule: str = ""
    holds: tuple[str, ...] = ()
    chunk_count: Count = 0
    chunk_bytes: Count = 0
    key_removed: bool = False
    identity: Identity = NOBODY
    command_id: str
    statement: str
    wall_ns: Nanoseconds
