"""What a deletion has to know of a sealed session, read from its folder. Blocking."""

from __future__ import annotations

import msgspec

from recorder_worker.core import keys
from recorder_worker.core.errors import (
    BlobMissingError,
    FormatError,
    IncidentError,
    NewerVersionError,
)
from recorder_worker.core.records.codec import decode_record
from recorder_worker.core.records.file import unframed
from recorder_worker.core.records.leaves import SealRecord
from recorder_worker.core.signing.note import parse_note
from recorder_worker.core.versions import check_stored_version
from recorder_worker.ports import BlobStore


class SealedSession(msgspec.Struct, frozen=True, kw_only=True):
    """A sealed session.

    Attributes:
        sealed_ns: when it was sealed, by the wall clock in its SEAL.
        tree_size, root_hash: of its last checkpoint, the latter in hexadecimal.
        chunk_count, chunk_bytes: what its SEAL counts.
        encrypted: whether `session.json` holds a wrapped key.
        retain_s: how long its start asked for it to be kept, in seconds; None: it did not.
        owner: whose it is; empty: nobody's.
    """

    session_id: str
    sealed_ns: int
    tree_size: int
    root_hash: str
    chunk_count: int
    chunk_bytes: int
    encrypted: bool
    retain_s: int | None
    owner: str


class _Asked(msgspec.Struct):
    owner: str = ""
    retain_s: int | None = None


class _Said(msgspec.Struct):
    command: _Asked = msgspec.field(default_factory=_Asked)
    encryption: dict[str, object] | None = None


_SAID = msgspec.json.Decoder(_Said)


def read_sealed(store: BlobStore, session_id: str) -> SealedSession | None:
    """A sealed session; None where it is not sealed, or its manifest is gone.

    Raises:
        IncidentError: what lies there is no sealed recording.
        StoreError: try again.
    """
    try:
        seal = store.get(keys.blob_key(session_id, keys.SEAL))
        said = _said(store, session_id)
        if said is None:
            return None
        last = b""
        for last in unframed(store.stream(keys.blob_key(session_id, keys.RECORDS))):  # noqa: B007  (the last one is wanted)
            pass
        record = decode_record(last)
        head = parse_note(seal).head
    except BlobMissingError:
        return None
    except FormatError as error:
        raise IncidentError(
            f"session {session_id}: expected a sealed recording in "
            f"{store.location(keys.session_prefix(session_id))}, found something else: {error}; "
            "run recorder verify on it; nothing of it is removed"
        ) from error
    if not isinstance(record, SealRecord) or head.tree_size != record.index + 1:
        raise IncidentError(
            f"session {session_id}: expected SEAL as its last record under its seal, found "
            f"{type(record).__name__}; run recorder verify on it; nothing of it is removed"
        )
    return SealedSession(
        session_id=session_id,
        sealed_ns=record.wall_ns,
        tree_size=head.tree_size,
        root_hash=head.root_hash.hex(),
        chunk_count=record.totals.chunk_count,
        chunk_bytes=record.totals.stored_bytes,
        encrypted=said.encryption is not None,
        retain_s=said.command.retain_s,
        owner=said.command.owner,
    )


def owner_of(store: BlobStore, session_id: str) -> str:
    """Whose a session is; empty: nobody's, or there is none. Raises StoreError, IncidentError."""
    said = _said(store, session_id)
    return said.command.owner if said else ""


def _said(store: BlobStore, session_id: str) -> _Said | None:
    """No more is asked of a manifest than is needed: it may be of a build long ago.

    One of a newer recorder may say elsewhere how long it is kept, or that it is encrypted: nothing
    is removed on half of what it says.
    """
    try:
        data = store.get(keys.blob_key(session_id, keys.MANIFEST))
    except BlobMissingError:
        return None
    try:
        check_stored_version(data, keys.MANIFEST)
        return _SAID.decode(data)
    except (NewerVersionError, msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise IncidentError(
            f"session {session_id}: its {keys.MANIFEST} cannot be read: {error}; nothing of the "
            "session is removed"
        ) from error
