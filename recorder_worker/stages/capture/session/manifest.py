"""`session.json`: what was asked for, written once before anything is captured."""

from __future__ import annotations

import msgspec

from recorder_worker.core import keys
from recorder_worker.core.cipher.declared import Encryption
from recorder_worker.core.commands import StartSession
from recorder_worker.core.errors import BlobMissingError, ImmutableConflictError
from recorder_worker.core.model import SCHEMA_VERSION, RecordingPolicy, SourceFacts, Wire
from recorder_worker.core.versions import check_stored_version
from recorder_worker.ports import BlobStore


class Manifest(Wire, frozen=True, kw_only=True):
    """The accepted command and what was found when its source was opened."""

    v: int = SCHEMA_VERSION
    session_id: str
    command_id: str
    command: StartSession
    source: SourceFacts
    policy: RecordingPolicy
    node: str
    software: str
    accepted_wall_ns: int
    encryption: Encryption | None = None


# Made here and once: of two threads that first decode a type at once, msgspec 0.22 lets one read
# what the other has not filled in yet, and the process is gone.
_DECODER = msgspec.json.Decoder(Manifest)


def decode_manifest(data: bytes) -> Manifest:
    """The manifest that `write_manifest` gave.

    Raises:
        NewerVersionError: a newer recorder wrote it.
        msgspec.MsgspecError: it is none.
    """
    check_stored_version(data, keys.MANIFEST)
    return _DECODER.decode(data)


def write_manifest(store: BlobStore, manifest: Manifest) -> bytes:
    """The exact bytes of a session's manifest.

    A lease holder before us may have written one already: then its bytes stand, for they may be
    in the record by now.

    Raises:
        StoreError: it could not be stored.
    """
    key = keys.blob_key(manifest.session_id, keys.MANIFEST)
    try:
        return store.get(key)
    except BlobMissingError:
        data = msgspec.json.format(msgspec.json.encode(manifest), indent=2) + b"\n"
    try:
        store.put(key, data)
    except ImmutableConflictError:
        return store.get(key)
    return data


def read_manifest(store: BlobStore, session_id: str) -> Manifest | None:
    """The manifest of a session; None where there is none yet.

    Raises:
        StoreError: it cannot be read.
        NewerVersionError: a newer recorder wrote it.
    """
    try:
        data = store.get(keys.blob_key(session_id, keys.MANIFEST))
    except BlobMissingError:
        return None
    return decode_manifest(data)
