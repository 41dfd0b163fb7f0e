"""Every NATS subject, made in one place."""

from __future__ import annotations

import re
from enum import StrEnum


class Command(StrEnum):
    """Subjects that clients publish to."""

    START = "session.start"
    STOP = "session.stop"
    PAUSE = "session.pause"
    RESUME = "session.resume"
    MARK = "session.mark"
    MASK = "session.mask"
    HOLD = "session.hold"
    RELEASE = "session.release"
    DELETE = "session.delete"


class Fact(StrEnum):
    """Subjects that the recorder publishes to.

    Those that begin with `session.` are per session: `<fact>.<session_id>`. Those that begin with
    `integration.` are one subject each, for other systems; those that begin with `audit.` too,
    for whoever has to know who did what. `integration.node.` is per worker process, so that the
    newest word of each can be read.
    """

    STARTED = "session.started"
    REJECTED = "session.rejected"
    PAUSED = "session.paused"
    RESUMED = "session.resumed"
    FAILED = "session.failed"
    QUALITY = "session.quality"
    CONTROL = "session.control"
    CAPTURED = "session.captured"
    CHUNKED = "session.chunked"
    COMPRESSED = "session.compressed"
    HEAD = "session.head"
    CHECKPOINT = "session.checkpoint"
    SEALED = "session.sealed"
    INCIDENT = "session.incident"
    RETENTION = "session.retention"
    NUMBERED = "session.numbered"
    LOGGED = "session.logged"
    ANCHOR_REQUESTED = "integration.anchor.requested"
    ANCHOR_RECEIPT = "integration.anchor.receipt"
    ANCHOR_STATE = "integration.anchor.state"
    STORED = "integration.storage.stored"
    BLOB_COPIED = "integration.storage.copied"
    ARCHIVED = "integration.storage.archived"
    OFFLOADED = "integration.storage.offloaded"
    INTEGRITY_FAILED = "integration.storage.integrity_failed"
    NODE_REGISTERED = "integration.node.registered"
    NODE_HEARTBEAT = "integration.node.heartbeat"
    NODE_DRAINING = "integration.node.draining"
    AUDIT_ACCEPTED = "audit.command.accepted"
    AUDIT_DENIED = "audit.command.denied"
    AUDIT_VIEWED = "audit.recording.viewed"
    AUDIT_EXPORTED = "audit.recording.exported"
    AUDIT_SETTLED = "audit.dead.settled"

    @property
    def keyed_by(self) -> str:
        """What stands behind this fact in its subject: `session_id`, `worker`, or nothing."""
        if self.value.startswith("session."):
            return "session_id"
        return "worker" if self.value.startswith("integration.node.") else ""

    @property
    def per_session(self) -> bool:
        """Whether every session has a subject of its own."""
        return self.keyed_by == "session_id"

    def of(self, name: str) -> str:
        """The subject of this fact for one session, or one worker."""
        return f"{self.value}.{name}" if self.keyed_by else self.value

    @property
    def wildcard(self) -> str:
        """The subject that matches this fact for every session, or every worker."""
        return f"{self.value}.*" if self.keyed_by else self.value


class Endpoint(StrEnum):
    """Subjects on which the recorder answers requests, as a NATS service."""

    LIST = "recorder.api.list"
    GET = "recorder.api.get"
    PROOF = "recorder.api.proof"
    STATS = "recorder.api.stats"
    RETRY = "recorder.api.dead.retry"
    DROP = "recorder.api.dead.drop"


SETTLING = (Endpoint.RETRY, Endpoint.DROP)
"""Those that change something: not for everybody who may be told of sessions."""


FRAMES = "source"
"""Frames that clients publish to be recorded: `source.<name>.frames`, or any other below it."""

SERVICE = "session-recorder"
"""The name of that service, by which `$SRV` finds it."""

SESSIONS_BUCKET = "recorder-sessions"
"""The key-value bucket with one entry for each session, under its id."""

DEAD = "session.dead"
"""Dead letters: `session.dead.<stage>`; what became of one: `session.dead.<stage>.<letter>`."""

AGAIN = "session.again"
"""A dead letter that is tried again: `session.again.<stage>.<letter>`, in the stream that it came
from. Not on its own subject: the log of a session must never hold a second copy of an event."""

STORED = "stored"
"""What a stream has stored is told again on `stored.<subject>`, for users with accounts of their
own: nats-server passes what comes out of one account on to no other."""

CLIENT = "client"
"""Copies for the owner of a session: `client.<owner>.<fact>.<session_id>`."""

COPIED = (
    Fact.STARTED,
    Fact.REJECTED,
    Fact.PAUSED,
    Fact.RESUMED,
    Fact.FAILED,
    Fact.QUALITY,
    Fact.CHECKPOINT,
    Fact.SEALED,
    Fact.INCIDENT,
    Fact.RETENTION,
)
"""The facts that an owner gets: what became of a session. How it is made is nobody's business."""

UNKNOWN_SESSION = "unknown"
"""Stands for the session id in `session.rejected.unknown`, where a command named none."""


def dead_letters(stage: str) -> str:
    """The subject to which messages that a stage cannot process are moved."""
    return f"{DEAD}.{stage}"


def settled(stage: str, letter: str) -> str:
    """The subject that says what became of a dead letter; there is one for each."""
    return f"{DEAD}.{stage}.{letter}"


def again(stage: str, letter: str) -> str:
    """The subject on which a stage gets a dead letter once more; there is one for each."""
    return f"{AGAIN}.{stage}.{letter}"


def session_of(subject: str) -> str:
    """The last token of a per-session subject: its session id."""
    return subject.rsplit(".", 1)[-1]


OWNER_NAME = r"[a-z][a-z0-9-]{0,31}"
"""Owners that can hear of their sessions: what can be a NATS user, and one token of a subject."""


def is_owner_name(owner: str) -> bool:
    """Whether copies for this owner have a subject; of others, nothing is copied."""
    return re.fullmatch(OWNER_NAME, owner) is not None


def copy_for(owner: str, fact: Fact, session_id: str) -> str:
    """The subject on which the owner of a session hears a fact about it."""
    return f"{CLIENT}.{owner}.{fact.value}.{session_id}"


def copies_of(owner: str, session_id: str) -> str:
    """The subject that matches all copies about one session, or, with `*`, about all of them."""
    return f"{CLIENT}.{owner}.session.*.{session_id}"


def without_owner(subject: str) -> str:
    """The subject of a fact, for that of a copy of it; any other as it is."""
    if subject.startswith(f"{CLIENT}."):
        return subject.split(".", 2)[-1]
    return subject
