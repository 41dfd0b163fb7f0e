"""What a deletion has to know of a sealed session, read from its folder. Blocking.

Nothing of the folder is believed by itself: the seal is the one in the log of sessions, the records
are those that it signs, and the manifest is the one in OPEN. Else whoever can write there could
have the recorder remove a session by its own rules, and sign that it was right.
"""

from __future__ import annotations

from hashlib import sha256

import msgspec
from blake3 import blake3

from recorder_worker.core import keys
from recorder_worker.core.errors import (
    BlobMissingError,
    FormatError,
    IncidentError,
    NewerVersionError,
)
from recorder_worker.core.records.codec import decode_record
from recorder_worker.core.records.leaves import OpenRecord, SealRecord
from recorder_worker.core.session_log.entries import LogEntry
from recorder_worker.core.signing.note import parse_note
from recorder_worker.core.versions import check_stored_version
from recorder_worker.ports import BlobStore
from recorder_worker.stages.sealed_records import sealed_records


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


def read_sealed(store: BlobStore, session_id: str, logged: LogEntry) -> SealedSession | None:
    """A sealed session; None where its seal or its manifest is gone. `logged` is its seal's entry.

    Raises:
        IncidentError: what lies there is not what was signed.
        StoreError: try again.
    """
    try:
        seal = store.get(keys.blob_key(session_id, keys.SEAL))
        manifest = store.get(keys.blob_key(session_id, keys.MANIFEST))
        opened, sealed = _ends(store, session_id)
        _compare(logged, opened, seal, manifest)
    except BlobMissingError:
        return None
    except FormatError as error:
        raise IncidentError(
            f"session {session_id}: expected the sealed recording in "
            f"{store.location(keys.session_prefix(session_id))} as it was signed, found something "
            f"else: {error}; run recorder verify on it; nothing of it is removed"
        ) from error
    said, head = _read(session_id, manifest), parse_note(seal).head
    return SealedSession(
        session_id=session_id,
        sealed_ns=sealed.wall_ns,
        tree_size=head.tree_size,
        root_hash=head.root_hash.hex(),
        chunk_count=sealed.totals.chunk_count,
        chunk_bytes=sealed.totals.stored_bytes,
        encrypted=said.encryption is not None,
        retain_s=said.command.retain_s,
        owner=said.command.owner,
    )


def _ends(store: BlobStore, session_id: str) -> tuple[OpenRecord, SealRecord]:
    first = last = b""
    for last in sealed_records(store, session_id):
        first = first or last
    opened, sealed = decode_record(first), decode_record(last)
    if not isinstance(opened, OpenRecord) or not isinstance(sealed, SealRecord):
        raise FormatError(
            f"expected records from OPEN to SEAL, found {type(opened).__name__} to "
            f"{type(sealed).__name__}"
        )
    return opened, sealed


def _compare(logged: LogEntry, opened: OpenRecord, seal: bytes, manifest: bytes) -> None:
    for name, expected, found in (
        (keys.SEAL, logged.note_sha256, sha256(seal).digest()),
        (keys.MANIFEST, opened.manifest_blake3, blake3(manifest).digest()),
    ):
        if found != expected:
            raise FormatError(f"{name} has the digest {found.hex()}, signed is {expected.hex()}")


def owner_of(store: BlobStore, session_id: str) -> str:
    """Whose a session is; empty: nobody's, or there is none. Raises StoreError, IncidentError."""
    said = _said(store, session_id)
    return said.command.owner if said else ""


def _said(store: BlobStore, session_id: str) -> _Said | None:
    try:
        return _read(session_id, store.get(keys.blob_key(session_id, keys.MANIFEST)))
    except BlobMissingError:
        return None


def _read(session_id: str, data: bytes) -> _Said:
    """No more is asked of a manifest than is needed: it may be of a build long ago.

    One of a newer recorder may say elsewhere how long it is kept, or that it is encrypted: nothing
    is removed on half of what it says.
    """
    try:
        check_stored_version(data, keys.MANIFEST)
        return _SAID.decode(data)
    except (NewerVersionError, msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise IncidentError(
            f"session {session_id}: its {keys.MANIFEST} cannot be read: {error}; nothing of the "
            "session is removed"
        ) from error
