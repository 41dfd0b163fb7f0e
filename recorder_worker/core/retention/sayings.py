"""What a statement about a session's retention says: a hold, a release, a deletion, its end.

Each is one line of strict JSON with one encoding, signed in `statement.py`.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import msgspec
from msgspec import Meta

from recorder_worker.core.errors import FormatError
from recorder_worker.core.model import Count, Hex32, Nanoseconds
from recorder_worker.core.session_log.entries import EntryKind

HoldName = Annotated[str, Meta(min_length=1, max_length=64)]
Reason = Annotated[str, Meta(min_length=1, max_length=1024)]
Person = Annotated[str, Meta(max_length=256)]
CommandId = Annotated[str, Meta(max_length=256)]

KEEPER = "recorder"
"""Who deletes where a rule does, and nobody has asked."""


class Rule(StrEnum):
    """Why something went: somebody asked for it, or a limit was reached."""

    COMMAND = "command"
    MAX_AGE = "max_age_s"
    MAX_TOTAL = "max_total_bytes"
    RETAIN = "retain_s"


class Hold(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    forbid_unknown_fields=True,
    tag="hold",
    tag_field="kind",
):
    """From here on nothing of the session may go, until the hold of this name is released."""

    name: HoldName
    by: Person
    reason: Reason
    command_id: CommandId
    wall_ns: Nanoseconds


class Release(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    forbid_unknown_fields=True,
    tag="release",
    tag_field="kind",
):
    """The hold of this name holds no more."""

    name: HoldName
    by: Person
    reason: Reason
    command_id: CommandId
    wall_ns: Nanoseconds


class _Removal(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All chunks and thumbnails of a sealed session, and what is left to prove that it was.

    Attributes:
        by: who wanted it; `recorder` where a rule did.
        rule: the rule, and `limit` its setting in seconds or bytes; of a command 0.
        begun_ns: when it was ordered.
        tree_size: of the sealed tree, whose root stays; so does `root_hash`.
        chunk_count: how many chunks the seal counts, of `chunk_bytes` stored bytes.
        key_removed: the session was encrypted, and `session.json` goes with the wrapped key in it.
    """

    by: Person
    reason: Reason
    rule: Rule
    limit: Count
    command_id: CommandId
    begun_ns: Nanoseconds
    tree_size: Annotated[int, Meta(ge=1, le=2**63 - 1)]
    root_hash: Hex32
    chunk_count: Count
    chunk_bytes: Count
    key_removed: bool


class Deletion(_Removal, frozen=True, kw_only=True, tag="delete", tag_field="kind"):
    """From here on its bytes go; some of them may be gone and others not."""


class Tombstone(_Removal, frozen=True, kw_only=True, tag="tombstone", tag_field="kind"):
    """They are gone. All fields are those of the deletion; `wall_ns` is when the last one went."""

    wall_ns: Nanoseconds


Saying = Hold | Release | Deletion | Tombstone
Removal = Deletion | Tombstone

KINDS: dict[type[Saying], EntryKind] = {
    Hold: EntryKind.HOLD,
    Release: EntryKind.RELEASE,
    Deletion: EntryKind.DELETE,
    Tombstone: EntryKind.TOMBSTONE,
}
"""The kind of each one's entry in the log of sessions."""

STATEMENTS = frozenset(KINDS.values())

_DECODER: msgspec.json.Decoder[Saying] = msgspec.json.Decoder(Saying)
_ENCODER = msgspec.json.Encoder()


def tombstone_of(deletion: Deletion, wall_ns: int) -> Tombstone:
    """What is said when a deletion is done."""
    return Tombstone(**msgspec.structs.asdict(deletion), wall_ns=wall_ns)


def ends(tombstone: Tombstone, deletion: Deletion) -> bool:
    """Whether a tombstone is the end of just this deletion."""
    return tombstone == tombstone_of(deletion, tombstone.wall_ns)


def encode_saying(saying: Saying) -> bytes:
    """One line of JSON, without its end. Raises FormatError where it would not be read again."""
    data = _ENCODER.encode(saying)
    parse_saying(data)
    return data


def parse_saying(data: bytes) -> Saying:
    """Read one strictly: `encode_saying` gives the bytes again. Raises FormatError."""
    try:
        saying = _DECODER.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise FormatError(
            f"retention statement: expected a hold, a release, a deletion or a tombstone, found "
            f"something else: {error}"
        ) from error
    if _ENCODER.encode(saying) != data:
        raise FormatError("retention statement: expected its JSON in its one encoding")
    return saying
