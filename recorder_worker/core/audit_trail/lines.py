"""What stands in one line of an audit bundle: strict JSON, one encoding.

The first line of a bundle is its head. Every other one has the next number of the trail and the
SHA-256 of the line before it, so that whoever changes one line and no other is found at that line.
"""

from __future__ import annotations

import hashlib
from typing import Annotated, Literal, TypeVar

import msgspec
from msgspec import UNSET, Meta, Raw, UnsetType

from recorder_worker.core.errors import FormatError, UnsupportedError
from recorder_worker.core.model import Count, Hex32, Nanoseconds

VERSION = 1
Number = Annotated[int, Meta(ge=1, le=2**63 - 1)]
GapReason = Literal["stream_cut", "messages_missing"]


class Head(msgspec.Struct, frozen=True, kw_only=True, tag="bundle", tag_field="type"):
    """The first line.

    Attributes:
        recorder: whose trail it is.
        first: the number of the line behind this one.
        previous: the digest of the trail up to here; zeros: it begins.
        made_ns: when the bundle was made, nanoseconds since the Unix epoch.
        device_key: the public Ed25519 key that signs the log of sessions: a recorder that only ever
            refused has a trail, and no session whose OPEN would name that key.
    """

    v: int
    recorder: str
    first: Number
    previous: Hex32
    made_ns: Nanoseconds
    device_key: Hex32


class _Numbered(msgspec.Struct, frozen=True, kw_only=True):
    """`n` counts all lines of a trail; `after` is the SHA-256 of the line before, as it stands."""

    n: Number
    after: Hex32


class EventLine(_Numbered, frozen=True, kw_only=True, tag="event", tag_field="type"):
    """One message of the stream AUDIT.

    Attributes:
        subject: where it was published.
        sequence: its place in the stream when it was read; no identity, a stream may lose its end.
        stored_ns: when the stream stored it.
        message_id: its `Nats-Msg-Id`; empty: none.
        event: its exact bytes, where they are JSON in one line.
        data: its exact bytes in base64, where they are not.
    """

    subject: str
    sequence: Count
    stored_ns: Nanoseconds
    message_id: str
    event: Raw | UnsetType = UNSET
    data: bytes | UnsetType = UNSET

    @property
    def body(self) -> bytes:
        """The message as it came."""
        if isinstance(self.event, Raw):
            return bytes(self.event)
        return b"" if self.data is UNSET else self.data


class GapLine(_Numbered, frozen=True, kw_only=True, tag="gap", tag_field="type"):
    """Messages that the stream lost before they were written down.

    Attributes:
        reason: `stream_cut`: what was read before is not in the stream any more, though it is not
            old enough, or something else is in its place; `messages_missing`: between two
            messages, some are not there.
        missing: how many sequences are missing; 0: unknown.
        from_ns: when the last message before the gap was stored; 0: there was none.
        to_ns: when the next one was, or else when this was found.
        resume: reading goes on behind this sequence.
    """

    reason: GapReason
    missing: Count
    from_ns: Nanoseconds
    to_ns: Nanoseconds
    resume: Count


class AgedLine(_Numbered, frozen=True, kw_only=True, tag="aged", tag_field="type"):
    """All bundles up to a number are removed behind this, because of their age.

    Attributes:
        through: the last number of the youngest of them.
        digest: the digest of the trail up to there.
        max_age_s: how old they had to be.
    """

    through: Number
    digest: Hex32
    max_age_s: Count


Line = EventLine | GapLine | AgedLine
T = TypeVar("T", Head, Line)

_HEAD: msgspec.json.Decoder[Head] = msgspec.json.Decoder(Head)
_LINE: msgspec.json.Decoder[Line] = msgspec.json.Decoder(Line)
_ENCODER = msgspec.json.Encoder()


def encode_line(line: Head | Line) -> bytes:
    """A line without its end."""
    return _ENCODER.encode(line)


def line_sha256(data: bytes) -> str:
    """What the next line says of a line: over its bytes without the line end."""
    return hashlib.sha256(data).hexdigest()


def parse_head(data: bytes) -> Head:
    """Read a head strictly. Raises FormatError, UnsupportedError."""
    head = _parsed(_HEAD, data, "the head of a bundle")
    if head.v != VERSION:
        raise UnsupportedError(
            f"audit bundle: expected version {VERSION}, found {head.v}; use a program that knows it"
        )
    return head


def parse_line(data: bytes) -> Line:
    """Read a numbered line strictly: `encode_line` gives the bytes again. Raises FormatError."""
    line = _parsed(_LINE, data, "an event, a gap or a note of age")
    if isinstance(line, EventLine) and (line.event is UNSET) is (line.data is UNSET):
        raise FormatError("audit event: expected either `event` or `data`")
    return line


def _parsed(decoder: msgspec.json.Decoder[T], data: bytes, what: str) -> T:
    try:
        found = decoder.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise FormatError(f"audit line: expected {what}, found something else: {error}") from error
    if encode_line(found) != data:
        raise FormatError(f"audit line: expected {what} in its one encoding")
    return found


def body_fields(body: bytes) -> dict[str, Raw | bytes]:
    """The field of an event line that holds these bytes, so that `body` gives them again."""
    if b"\n" in body or b"\r" in body or body != body.strip():
        return {"data": body}
    try:
        msgspec.json.decode(body)
        body.decode("utf-8")
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return {"data": body}
    return {"event": Raw(body)}
