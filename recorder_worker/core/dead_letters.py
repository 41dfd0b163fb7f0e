"""Dead letters as values: what is known of a message that a stage could not process."""

from __future__ import annotations

import msgspec
from blake3 import blake3

from recorder_worker.core.events import DeadLetterSettled
from recorder_worker.core.subjects import UNKNOWN_SESSION, Fact, session_of

ID_CHARACTERS = 16
CONTEXT = "session-recorder 2026-11 dead letter id v1"


class DeadLetter(msgspec.Struct, frozen=True, kw_only=True):
    """A message that a stage could not process, without its body.

    Attributes:
        letter: its id, made of where and when the message was stored.
        place: its sequence in the stream `DEAD`: where to read it, and no identity.
        died_ns: when it was stored there, nanoseconds since 1970.
        stage: who could not process it.
        subject: of the message.
        stream: that held it, `sequence` its place there, `stored_ns` when it was stored.
        deliveries: how often it was tried.
        reason: what the last try raised, with its text.
        error: the type of that alone.
        where: file, line and function where it was raised.
        stack: a digest over types and functions of the whole stack: what failed alike has one.
        session_id: the session that it is about; `unknown` where it names none.
        command_id: of a command: its identity.
        headers: of the message, without any token.
        size: of the body, in bytes; `blake3` its digest.
        kept: whether the body is here. One that with its reason would not fit into a message of
            the server is not.
        retry_of: the letter that was tried again and became this one.
    """

    letter: str
    place: int
    died_ns: int
    stage: str
    subject: str
    stream: str
    sequence: int
    stored_ns: int
    deliveries: int
    reason: str
    error: str = ""
    where: str = ""
    stack: str = ""
    session_id: str = UNKNOWN_SESSION
    command_id: str = ""
    headers: dict[str, str] = {}
    size: int = 0
    blake3: str = ""
    kept: bool = True
    retry_of: str = ""

    @property
    def fact(self) -> Fact | None:
        """The fact that it claims to be; None of a command, or of what is neither."""
        for name in (self.subject, self.subject.rpartition(".")[0]):
            if name in set(Fact):
                return Fact(name)
        return None


class LetterSeen(msgspec.Struct, frozen=True, kw_only=True):
    """A dead letter, and what became of it; None: nobody has dealt with it."""

    letter: DeadLetter
    settled: DeadLetterSettled | None = None


def letter_id(message_id: str) -> str:
    """The id of a letter, from the `Nats-Msg-Id` under which it was stored."""
    digest = blake3(message_id.encode(), derive_key_context=CONTEXT).hexdigest()
    return digest[:ID_CHARACTERS]


def session_in_subject(subject: str) -> str:
    """The session in the subject of a per-session fact; empty where it has none."""
    name = subject.rpartition(".")[0]
    return session_of(subject) if name in set(Fact) and Fact(name).per_session else ""
