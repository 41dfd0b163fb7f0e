"""Facts of the register: which number a session has, and what the log of sessions holds.

The register is never aged: a number is never given twice, and the log never begins anew.
"""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from recorder_worker.core.events.event import Event
from recorder_worker.core.model import Count, Hex32, SessionId

Counter = Annotated[int, Meta(ge=1, le=2**63 - 1)]


class SessionNumbered(Event, frozen=True, kw_only=True, tag="numbered", tag_field="type"):
    """`session.numbered.<id>`: a session's number, and what had happened before it.

    Attributes:
        counter: place among all sessions of the recorder, from 1.
        previous_seal: SHA-256 of the newest signed seal in the log of sessions; zeros: none.
        beacon: the newest signed checkpoint of that log, as text; empty: none yet.
        timestamped: the newest of them that has a time-stamp; empty: none.
        timestamp: that time-stamp: RFC 3161, DER, base64 in JSON; empty: none.
    """

    session_id: SessionId
    counter: Counter
    previous_seal: Hex32 = "0" * 64
    beacon: str = ""
    timestamped: str = ""
    timestamp: bytes = b""


LoggedKind = Literal["open", "seal", "audit", "hold", "release", "delete", "tombstone"]


class SessionLogged(Event, frozen=True, kw_only=True, tag="logged", tag_field="type"):
    """`session.logged.<id>`: an entry of the log of sessions, and the log's head with it.

    The newest of all of them is the head: what is to be signed, or was.

    Attributes:
        session_id: the session that the entry is about; all zeros where the kind is `audit`.
        kind: what became of the session, `hold` and those behind it by a signed statement; or
            `audit`: the trail of audit events has grown.
        counter: the session's number; of `audit`: how many events there are.
        note_sha256: SHA-256 of the signed checkpoint of the session, or of the statement, that
            the entry holds; of `audit`: the digest of the trail.
        size: entries in the log, this one included; its index is one less.
        root_hash: SHA-256 root over them (RFC 6962).
        frontier: the compact range over them, in hexadecimal.
        last_seal: SHA-256 of the newest signed seal in the log; zeros: none.
        max_counter: the largest session number in the log.
    """

    session_id: SessionId
    kind: LoggedKind
    counter: Counter
    note_sha256: Hex32
    size: Annotated[int, Meta(ge=1, le=2**63 - 1)]
    root_hash: Hex32
    frontier: Annotated[str, Meta(pattern=r"^[0-9a-f]+$", max_length=5000)]
    last_seal: Hex32
    max_counter: Count
