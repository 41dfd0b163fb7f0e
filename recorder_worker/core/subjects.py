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
    """Per-session subjects that the recorder publishes to: `<fact>.<session_id>`."""

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

    def of(self, session_id: str) -> str:
        """The subject of this fact for one session."""
        return f"{self.value}.{session_id}"

    @property
    def wildcard(self) -> str:
        """The subject that matches this fact for every session."""
        return f"{self.value}.*"


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
