"""Facts for whoever keeps recordings: what is stored and whole, and what is stored and is not."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from recorder_worker.core.events.event import Event
from recorder_worker.core.model import Count, EndReason, Hex32, Nanoseconds, SessionId


class SessionStored(Event, frozen=True, kw_only=True, tag="session_stored", tag_field="type"):
    """`integration.storage.stored`: a sealed session's folder is in its final form, and all there.

    Proofs of the log of sessions, and receipts, come into the folder later and are not counted.

    Attributes:
        location: where a person finds the folder: a path or a URI.
        root_hash: of the session's tree; so are `tree_size` and the counts.
        seal_sha256: SHA-256 of the file `seal`, which is what the log of sessions has of it.
        seal_size: bytes of `seal`; so are the sizes of `records` and `checkpoints`.
        chunk_bytes: bytes of all files in `chunks`; `chunk_count` is how many they are.
        sealed_wall_ns: when it was sealed.
    """

    session_id: SessionId
    location: str
    root_hash: Hex32
    tree_size: Count
    reason: EndReason
    seal_sha256: Hex32
    seal_size: Count
    records_size: Count
    checkpoints_size: Count
    chunk_count: Count
    chunk_bytes: Count
    mark_count: Count
    sealed_wall_ns: Nanoseconds


class IntegrityFailed(Event, frozen=True, kw_only=True, tag="integrity_failed", tag_field="type"):
    """`integration.storage.integrity_failed`: what the store holds is not what was stored there.

    Attributes:
        stage: who found it.
        problem: a blob is `missing`, `damaged`, `unreadable`, or there with other bytes
            (`conflict`); `incomplete`: a sealed folder does not have what its seal counts.
        detail: which blob, what was expected, and what was found.
        chunk: of the patrol: the chunk's key in the store, and in words what was `expected` there
            and what was `found`; else empty.
        repaired: another store had a good copy, which is in its place now.
    """

    session_id: SessionId
    stage: str
    problem: Literal["missing", "damaged", "unreadable", "conflict", "incomplete"]
    detail: Annotated[str, Meta(max_length=4096)]
    chunk: str = ""
    expected: str = ""
    found: str = ""
    repaired: bool = False
    node: str
    wall_ns: Nanoseconds


class BlobCopied(Event, frozen=True, kw_only=True, tag="blob_copied", tag_field="type"):
    """`integration.storage.copied`: a chunk is durable in the second store, with its digest.

    Attributes:
        name: of the file in the session's folder; `location` is where it is now, a URI or path.
        size: in bytes, and `sha256`, as they stand in the leaf of the chunk.
        checked: the store has computed the digest itself and vouches for it (`attested`), or it
            was read out of the store again (`read_back`).
    """

    session_id: SessionId
    index: Count
    name: str
    location: str
    size: Count
    sha256: Hex32
    checked: Literal["attested", "read_back"]
    node: str
    wall_ns: Nanoseconds


class SessionArchived(Event, frozen=True, kw_only=True, tag="session_archived", tag_field="type"):
    """`integration.storage.archived`: all of a sealed session is durable in the second store.

    Proofs and receipts that come later are copied as they come, and not told.

    Attributes:
        location: where a person finds the copy: a URI or a path.
        seal_sha256: SHA-256 of the file `seal`.
        file_count: files of the folder that are there; `file_bytes` is how large they are.
        keep_local: whether chunks stay on the recorder's own disk; else they go in some time, with
            `integration.storage.offloaded`.
    """

    session_id: SessionId
    location: str
    seal_sha256: Hex32
    file_count: Count
    file_bytes: Count
    keep_local: bool
    node: str
    wall_ns: Nanoseconds


class SessionOffloaded(Event, frozen=True, kw_only=True, tag="session_offloaded", tag_field="type"):
    """`integration.storage.offloaded`: a session's chunks are in the second store alone.

    All else of its folder stays: what was signed, proofs, receipts. `recorder fetch` brings it
    back together.

    Attributes:
        location: where the copy is.
        chunk_count: chunks that were removed from the recorder's own disk, and their bytes.
    """

    session_id: SessionId
    location: str
    chunk_count: Count
    chunk_bytes: Count
    node: str
    wall_ns: Nanoseconds
