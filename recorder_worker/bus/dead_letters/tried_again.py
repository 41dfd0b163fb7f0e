"""A dead letter that a stage gets once more: how it is sent, and how it is taken for what it was.

It comes on a subject of its own, in the stream that it came from, to the consumer of the stage that
could not process it. Its own subject stands in a header. So whoever reads the log of a session does
not find an event in it twice, and no fence is disturbed.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from nats.aio.msg import Msg

from recorder_worker.bus.event_log import FENCE, MESSAGE_ID
from recorder_worker.bus.rights.bearer import bearer_header
from recorder_worker.core.dead_letters import DeadLetter
from recorder_worker.core.subjects import AGAIN

LETTER_HEADER = "Recorder-Letter"
SUBJECT_HEADER = "Recorder-Subject"
SEQUENCE_HEADER = "Recorder-Sequence"
STORED_HEADER = "Recorder-Stored-Ns"
COMMAND_HEADER = "Recorder-Command"

_PASSED_ON = ("content-type", "traceparent")
_PREFIX_PASSED_ON = "ce-"


def headers_again(letter: DeadLetter, bearer: str) -> dict[str, str]:
    """The headers under which a letter is sent once more, exactly once: the first of its subject.

    Args:
        letter: what is sent.
        bearer: the token of whoever has it tried again; that of the first sender is not kept.
    """
    own = {
        name: value
        for name, value in letter.headers.items()
        if name in _PASSED_ON or name.startswith(_PREFIX_PASSED_ON)
    }
    ours = {
        MESSAGE_ID: f"again:{letter.letter}",
        FENCE: "0",
        LETTER_HEADER: letter.letter,
        SUBJECT_HEADER: letter.subject,
        SEQUENCE_HEADER: str(letter.sequence),
        STORED_HEADER: str(letter.stored_ns),
    }
    command = {COMMAND_HEADER: letter.command_id} if letter.command_id else {}
    return own | ours | command | bearer_header(bearer)


def is_again(message: Msg) -> bool:
    """Whether a message is a dead letter that is tried again."""
    return message.subject.startswith(f"{AGAIN}.") and SUBJECT_HEADER in _headers(message)


def original_of(message: Msg) -> Msg:
    """A message as it was before it became a dead letter; any other as it is.

    Sequence, time and deliveries are those of the new delivery.
    """
    if not is_again(message):
        return message
    return dataclasses.replace(message, subject=_headers(message)[SUBJECT_HEADER])


def original_place(message: Msg) -> tuple[int, int]:
    """Sequence and time (ns) of a message, or of what it is a second try of, in its stream."""
    metadata, headers = message.metadata, _headers(message)
    if is_again(message):
        told = headers.get(SEQUENCE_HEADER, ""), headers.get(STORED_HEADER, "")
        if all(text.isascii() and text.isdigit() for text in told):
            return int(told[0]), int(told[1])
    stored_ns = round(metadata.timestamp.timestamp() * 1_000_000) * 1000
    return metadata.sequence.stream, stored_ns


def _headers(message: Msg) -> Mapping[str, str]:
    return message.headers or {}
