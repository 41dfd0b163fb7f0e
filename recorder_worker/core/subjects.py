"""Every NATS subject, made in one place."""

from __future__ import annotations

from enum import StrEnum


class Command(StrEnum):
    """Subjects that clients publish to."""

    START = "session.start"
    STOP = "session.stop"
    PAUSE = "session.pause"
    RESUME = "session.resume"
    MARK = "session.mark"


class Fact(StrEnum):
    """Subjects that the recorder publishes to.

    Those that begin with `session.` are per session: `<fact>.<session_id>`. Those that begin with
    `integration.` are one subject each, for other systems; those that begin with `audit.` too,
    for whoever has to know who did what.
    """

    STARTED = "session.started"
    REJECTED = "session.rejected"
    PAUSED = "session.paused"
    RESUMED = "session.resumed"
    FAILED = "session.failed"
    CONTROL = "session.control"
    CAPTURED = "session.captured"
    CHUNKED = "session.chunked"
    COMPRESSED = "session.compressed"
    HEAD = "session.head"
    CHECKPOINT = "session.checkpoint"
    SEALED = "session.sealed"
    INCIDENT = "session.incident"
    NUMBERED = "session.numbered"
    LOGGED = "session.logged"
    ANCHOR_REQUESTED = "integration.anchor.requested"
    ANCHOR_RECEIPT = "integration.anchor.receipt"
    ANCHOR_STATE = "integration.anchor.state"
    AUDIT_ACCEPTED = "audit.command.accepted"
    AUDIT_DENIED = "audit.command.denied"
    AUDIT_VIEWED = "audit.recording.viewed"
    AUDIT_EXPORTED = "audit.recording.exported"

    @property
    def per_session(self) -> bool:
        """Whether every session has a subject of its own."""
        return self.value.startswith("session.")

    def of(self, session_id: str) -> str:
        """The subject of this fact for one session."""
        return f"{self.value}.{session_id}" if self.per_session else self.value

    @property
    def wildcard(self) -> str:
        """The subject that matches this fact for every session."""
        return f"{self.value}.*" if self.per_session else self.value


DEAD = "session.dead"
"""Dead letters: `session.dead.<stage>`."""

UNKNOWN_SESSION = "unknown"
"""Stands for the session id in `session.rejected.unknown`, where a command named none."""


def dead_letters(stage: str) -> str:
    """The subject to which messages that a stage cannot process are moved."""
    return f"{DEAD}.{stage}"


def session_of(subject: str) -> str:
    """The last token of a per-session subject: its session id."""
    return subject.rsplit(".", 1)[-1]
