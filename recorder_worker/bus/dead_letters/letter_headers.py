"""The headers of a dead letter: made of a message and an error, and read again.

The body of a dead letter is that of the message, byte by byte. Everything else stands in headers.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from typing import TypeVar

import msgspec
from blake3 import blake3
from nats.aio.msg import Msg
from nats.js.api import RawStreamMsg

from recorder_worker.bus.dead_letters.stack import stack_digest, where
from recorder_worker.bus.dead_letters.tried_again import (
    COMMAND_HEADER,
    LETTER_HEADER,
    original_of,
    original_place,
)
from recorder_worker.bus.event_log import MESSAGE_ID
from recorder_worker.bus.rights.bearer import AUTHORIZATION
from recorder_worker.core.command_parsing import session_id_in
from recorder_worker.core.dead_letters import DeadLetter, letter_id, session_in_subject
from recorder_worker.core.ids import command_id
from recorder_worker.core.subjects import DEAD, Command

SUBJECT = "Recorder-Subject"
REASON = "Recorder-Reason"
WHERE = "Recorder-Where"
DELIVERIES = "Recorder-Deliveries"
ERROR = "Recorder-Error"
STACK = "Recorder-Stack"
STREAM = "Recorder-Stream"
SEQUENCE = "Recorder-Sequence"
STORED_NS = "Recorder-Stored-Ns"
SESSION = "Recorder-Session"
COMMAND = COMMAND_HEADER
HEADERS = "Recorder-Headers"
SIZE = "Recorder-Size"
BLAKE3 = "Recorder-Blake3"
KEPT = "Recorder-Kept"
RETRY_OF = "Recorder-Retry-Of"

REASON_CHARACTERS = 500
HEADERS_BYTES = 8192
"""Of the message's own headers no more is kept: anybody may send a command with a million."""
ROOM_BYTES = 64
"""For what NATS puts around headers."""

T = TypeVar("T")

_TEXTS = msgspec.json.Decoder(dict[str, str])


def reason_of(error: Exception) -> str:
    """An error in one line."""
    return " ".join(f"{type(error).__name__}: {error}".split())[:REASON_CHARACTERS]


def letter_of(
    message: Msg, stage: str, deliveries: int, error: Exception, most_bytes: int
) -> tuple[bytes, dict[str, str]]:
    """Body and headers of a dead letter that is no larger than `most_bytes`."""
    original, metadata = original_of(message), message.metadata
    sequence, stored_ns = original_place(message)
    headers = {
        MESSAGE_ID: f"dead:{metadata.stream}:{stage}:{metadata.sequence.stream}:"
        f"{metadata.timestamp}",
        SUBJECT: original.subject,
        DELIVERIES: str(deliveries),
        REASON: reason_of(error),
        WHERE: where(error),
        ERROR: type(error).__name__,
        STACK: stack_digest(error),
        STREAM: metadata.stream,
        SEQUENCE: str(sequence),
        STORED_NS: str(stored_ns),
        SESSION: session_in_subject(original.subject) or session_id_in(original.data),
        HEADERS: _kept_headers(original.headers),
        SIZE: str(len(original.data)),
        BLAKE3: blake3(original.data).hexdigest(),
        KEPT: "yes",
    }
    if original.subject in set(Command):
        given = (original.headers or {}).get(MESSAGE_ID)
        headers[COMMAND] = (message.headers or {}).get(COMMAND_HEADER) or command_id(
            given, sequence, stored_ns, original.data
        )
    retried = (message.headers or {}).get(LETTER_HEADER)
    if retried is not None and original is not message:
        headers[RETRY_OF] = retried
    taken = sum(len(name) + len(value.encode()) + 4 for name, value in headers.items())
    if len(original.data) + taken + ROOM_BYTES > most_bytes:
        return b"", headers | {KEPT: "no"}
    return original.data, headers


def letter_in(message: RawStreamMsg) -> DeadLetter | None:
    """The dead letter that a message of `DEAD` is; None where it is something else.

    Letters of earlier versions have fewer headers: their place stands in their id.
    """
    headers = message.headers or {}
    stage = (message.subject or "").removeprefix(f"{DEAD}.")
    key = headers.get(MESSAGE_ID, "")
    parts = key.split(":", 4)
    if "." in stage or len(parts) != 5 or parts[0] != "dead" or SUBJECT not in headers:
        return None
    body = message.data or b""
    subject, reason = headers[SUBJECT], headers.get(REASON, "")
    session_id = session_in_subject(subject) or session_id_in(body)
    return DeadLetter(
        letter=letter_id(key),
        place=message.seq or 0,
        died_ns=round(message.time.timestamp() * 1e9) if message.time is not None else 0,
        stage=stage,
        subject=subject,
        stream=headers.get(STREAM, parts[1]),
        sequence=_number(headers.get(SEQUENCE, parts[3])),
        stored_ns=_number(headers.get(STORED_NS, "")),
        deliveries=_number(headers.get(DELIVERIES, "")),
        reason=reason,
        error=headers.get(ERROR, reason.partition(":")[0]),
        where=headers.get(WHERE, ""),
        stack=headers.get(STACK, ""),
        session_id=headers.get(SESSION, session_id),
        command_id=headers.get(COMMAND, ""),
        headers=_read_headers(headers.get(HEADERS, "")),
        size=_number(headers.get(SIZE, str(len(body)))),
        blake3=headers.get(BLAKE3) or blake3(body).hexdigest(),
        kept=headers.get(KEPT, "yes") == "yes",
        retry_of=headers.get(RETRY_OF, ""),
    )


def _kept_headers(headers: Mapping[str, str] | None) -> str:
    """A message's own headers in one line, without tokens and without our marks of a retry."""
    kept: dict[str, str] = {}
    size = 2
    for name, value in (headers or {}).items():
        if name.lower() == AUTHORIZATION.lower() or name in {LETTER_HEADER, COMMAND_HEADER}:
            continue
        size += len(json.dumps({name: value}))
        if size > HEADERS_BYTES:
            break
        kept[name] = value
    return json.dumps(kept)


def _read_headers(text: str) -> dict[str, str]:
    with suppress(msgspec.MsgspecError):
        return _TEXTS.decode(text.encode() or b"{}")
    return {}


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() else 0
