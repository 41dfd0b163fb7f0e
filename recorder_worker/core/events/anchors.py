"""Facts between the log of sessions and whoever anchors it: a time-stamp authority, a chain."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from recorder_worker.core.events.event import Event
from recorder_worker.core.model import Count, Hex32, SessionId, Wire

Origin = Annotated[
    str,
    Meta(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._/-]*$",
        min_length=1,
        max_length=255,
        description="The origin line of the log's checkpoints.",
    ),
]
ReceiptKind = Literal["rfc3161", "opentimestamps", "chain"]


class AnchorRequested(Event, frozen=True, kw_only=True, tag="anchor_requested", tag_field="type"):
    """`integration.anchor.requested`: the log of sessions has a new signed checkpoint.

    An engine checks that it is consistent with what it anchored before, is idempotent on
    (origin, tree_size, root_hash), and answers `integration.anchor.receipt`.

    Attributes:
        origin: the log's origin.
        tree_size: entries in the log, from 1.
        root_hash: SHA-256 root over them.
        note: the signed checkpoint, its exact text. A receipt is over SHA-256 of its UTF-8 bytes.
        previous_size: entries of the checkpoint before this one; 0: it is the first.
        previous_root_hash: its root; SHA-256 of nothing where it is the first.
        consistency_proof: RFC 9162 §2.1.4, from `previous_size` to `tree_size`.
        session_id: the session whose entry made the checkpoint; to be given back in the receipt.
    """

    origin: Origin
    tree_size: Annotated[int, Meta(ge=1, le=2**63 - 1)]
    root_hash: Hex32
    note: Annotated[str, Meta(min_length=1, max_length=131_072)]
    previous_size: Count
    previous_root_hash: Hex32
    consistency_proof: Annotated[tuple[Hex32, ...], Meta(max_length=128)] = ()
    session_id: SessionId


class AnchorReceipt(Event, frozen=True, kw_only=True, tag="anchor_receipt", tag_field="type"):
    """`integration.anchor.receipt`: somebody has receipted a checkpoint of the log of sessions.

    Attributes:
        origin: as requested; so are `tree_size`, `root_hash` and `session_id`.
        kind: what `receipt` is.
        target: who gave it, for people: the URL of the time-stamp authority.
        receipt: the receipt's exact bytes, base64 in JSON: a TimeStampResp or token (RFC 3161) in
            DER, a detached proof of OpenTimestamps, or a signed entry of the anchor's own chain.
    """

    origin: Origin
    tree_size: Annotated[int, Meta(ge=1, le=2**63 - 1)]
    root_hash: Hex32
    session_id: SessionId
    kind: ReceiptKind
    target: Annotated[str, Meta(max_length=4096)]
    receipt: Annotated[bytes, Meta(min_length=1, max_length=262_144)]


class AnchorSeen(Wire, frozen=True, kw_only=True):
    """A root of the log of sessions that an engine saw, and whether it has anchored it."""

    tree_size: Annotated[int, Meta(ge=1, le=2**63 - 1)]
    root_hash: Hex32
    anchored: bool = False


class AnchorLog(Wire, frozen=True, kw_only=True):
    """A log of sessions, and what an engine saw of it, what it saw first in front."""

    origin: Origin
    seen: tuple[AnchorSeen, ...]


class AnchorState(Event, frozen=True, kw_only=True, tag="anchor_state", tag_field="type"):
    """`integration.anchor.state`: what the time-stamp engine saw last, of each log.

    A later request is compared with it: never two roots for one size.

    Attributes:
        origin: the log of the last request.
        seen: what the engine saw of it, what it saw first in front.
        others: the logs of requests before, the latest in front.
    """

    origin: Origin
    seen: tuple[AnchorSeen, ...]
    others: tuple[AnchorLog, ...] = ()
