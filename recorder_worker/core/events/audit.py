"""Facts about who did what: every command that was accepted or denied, every look and copy.

They go into a stream of their own, `AUDIT`, which ages later than the others; the digest of that
stream is entered in the log of sessions.
"""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from recorder_worker.core.access.identity import Actor, Role, TokenId
from recorder_worker.core.events.event import Event
from recorder_worker.core.model import Hex32, Nanoseconds


class Audited(Event, frozen=True, kw_only=True):
    """What every audit fact carries.

    Attributes:
        actor: the subject of the token; empty where none was shown or asked for.
        role: the role of that token.
        token_id: its `jti`; empty where it has none.
        session_id: the session; `unknown` where none was named.
        node: the machine that decided or answered.
        wall_ns: when.
    """

    actor: Actor
    role: Role
    token_id: TokenId = ""
    session_id: str
    node: str
    wall_ns: Nanoseconds


class CommandAccepted(Audited, frozen=True, kw_only=True, tag="command_accepted", tag_field="type"):
    """`audit.command.accepted`: a command was allowed, and is carried out.

    `command_blake3` is over the message's bytes as they came.
    """

    command: str
    command_id: str
    command_blake3: Hex32


class CommandDenied(Audited, frozen=True, kw_only=True, tag="command_denied", tag_field="type"):
    """`audit.command.denied`: a command, or a request to the gateway, was refused, and why.

    `command` is the subject of a command, or what the gateway was asked for, which has no digest.
    """

    command: str
    command_id: str
    command_blake3: Hex32 | None = None
    field: str
    reason: str


class RecordingViewed(Audited, frozen=True, kw_only=True, tag="recording_viewed", tag_field="type"):
    """`audit.recording.viewed`: somebody was shown what is known of a recording, or of all."""

    what: Annotated[str, Meta(min_length=1, max_length=64)]


class RecordingExported(
    Audited, frozen=True, kw_only=True, tag="recording_exported", tag_field="type"
):
    """`audit.recording.exported`: somebody was given bytes or proofs of a recording to keep."""

    what: Annotated[str, Meta(min_length=1, max_length=64)]
    detail: Annotated[str, Meta(max_length=4096)] = ""


class DeadLetterSettled(
    Audited, frozen=True, kw_only=True, tag="dead_letter_settled", tag_field="type"
):
    """`audit.dead.settled`: somebody had a dead letter tried again, or dropped it, and why.

    The same stands on `session.dead.<stage>.<letter>`, where each letter has one at most.

    Attributes:
        letter: the letter's id.
        stage: what could not process it.
        action: what was done about it.
        by: who, in the words of whoever asked, where nobody is asked for a token.
        why: the reason that was given.
    """

    letter: Annotated[str, Meta(pattern=r"^[0-9a-f]{16}$")]
    stage: Annotated[str, Meta(max_length=64)]
    action: Literal["retried", "dropped"]
    by: Annotated[str, Meta(max_length=256)] = ""
    why: Annotated[str, Meta(max_length=1024)] = ""
