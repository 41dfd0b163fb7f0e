"""What the reader thread hands to the session's event loop, in order.

Each item carries the cursor behind it: how far the stream is covered once it is in the log.
"""

from __future__ import annotations

import msgspec

from recorder_worker.core.model import Cursor, EndReason, GapReason, Mask, Span


class Segment(msgspec.Struct, frozen=True, kw_only=True):
    """A segment that is durable in the spool. Sizes in bytes, digests in hexadecimal."""

    cursor: Cursor
    span: Span
    keyframe: bool
    name: str
    raw_size: int
    plain_size: int
    plain_blake3: str
    stored_size: int
    stored_blake3: str


class Gap(msgspec.Struct, frozen=True, kw_only=True):
    """Units that were not captured. `held`: none is from here on, until the next gap."""

    cursor: Cursor
    span: Span
    reason: GapReason
    detail: str
    held: bool = False


class Note(msgspec.Struct, frozen=True, kw_only=True):
    """Something that the recorder itself has to put on the timeline, at session time `t_ns`.

    `kind` is one of `core.notes`, `body` the JSON text that is stored.
    """

    t_ns: int
    kind: str
    body: str


class Paused(msgspec.Struct, frozen=True, kw_only=True):
    """The reader has stopped at the cursor and waits."""

    cursor: Cursor


class Resumed(msgspec.Struct, frozen=True, kw_only=True):
    """The reader goes on; the gap of the pause came just before."""

    cursor: Cursor


class Masked(msgspec.Struct, frozen=True, kw_only=True):
    """Other masks hold from session time `t_ns` on; a keyframe comes next."""

    t_ns: int
    masks: tuple[Mask, ...]
    by: str


class Triggered(msgspec.Struct, frozen=True, kw_only=True):
    """An armed session records from now on; what was held came just before."""

    t_ns: int


class Released(msgspec.Struct, frozen=True, kw_only=True):
    """The reader has let go at the cursor, for another worker."""

    cursor: Cursor


class Ended(msgspec.Struct, frozen=True, kw_only=True):
    """The reader has ended."""

    cursor: Cursor
    reason: EndReason
    detail: str


class Crashed(msgspec.Struct, frozen=True, kw_only=True):
    """The reader died of a defect; the session's event loop raises this error."""

    error: Exception


Item = Segment | Gap | Note | Paused | Resumed | Masked | Triggered | Released | Ended | Crashed
