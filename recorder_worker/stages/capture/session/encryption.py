"""A session's key, from the side of capture: made before the manifest, found again afterwards.

The order of effects, and what a crash behind each leaves:

1. the key is durable: the next lease holder finds it, and wraps the same one;
2. the manifest is durable, with the key wrapped in it: from here on it decides, whatever the
   settings of later workers say, and a session without its key is sealed and not recorded plain;
3. the session is opened, and its first segment is sealed with the key.
"""

from __future__ import annotations

import asyncio

import msgspec

from recorder_worker.core.cipher.declared import Encryption
from recorder_worker.core.cipher.names import CIPHER_SEALED
from recorder_worker.core.cipher.session_cipher import SessionCipher, key_id
from recorder_worker.core.errors import SessionKeyMissingError, UnsupportedError
from recorder_worker.ports import BlobStore, CipherKeys, EventLog, KeyWrap
from recorder_worker.stages.capture.session.manifest import Manifest
from recorder_worker.stages.own_seal import is_sealed


def with_encryption(manifest: Manifest, keys: CipherKeys, wrap: KeyWrap | None) -> Manifest:
    """The manifest of a new session, with its key, made durable and wrapped. Raises StoreError."""
    if wrap is None:
        return manifest
    key = keys.make(manifest.session_id)
    return msgspec.structs.replace(
        manifest,
        policy=msgspec.structs.replace(manifest.policy, cipher=CIPHER_SEALED),
        encryption=Encryption(
            cipher=CIPHER_SEALED,
            key_id=key_id(key),
            recipients=wrap.recipients,
            wrapped_key=wrap.wrap(key),
        ),
    )


async def forget_late_key(
    event_log: EventLog, store: BlobStore, keys: CipherKeys, session_id: str
) -> None:
    """Erase what a worker has made that stood still until others had sealed the session.

    Their key was erased at the seal, so that this one made another, which nothing is sealed with.
    Where the seal is not the session's own, it stays: all that the session has may need it.

    Raises:
        BusUnavailableError, StoreError: it was not erased.
    """
    if await is_sealed(event_log, store, session_id):
        await asyncio.to_thread(keys.erase, session_id)


def session_cipher(manifest: Manifest, keys: CipherKeys) -> SessionCipher | None:
    """What the segments of a session are sealed with; None where it is not encrypted.

    Raises:
        SessionKeyMissingError: its key is gone, or another one is in its place.
        UnsupportedError: it is of a cipher that this program does not know.
        StoreError: the key cannot be read; try again.
    """
    said = manifest.encryption
    if said is None:
        # Two workers raced, and the one that does not encrypt was quicker: ours was for nothing.
        keys.erase(manifest.session_id)
        return None
    if said.cipher != CIPHER_SEALED:
        raise UnsupportedError(
            f"session.json: expected cipher {CIPHER_SEALED}, found {said.cipher!r}; "
            "update this worker"
        )
    cipher = SessionCipher(manifest.session_id, keys.get(manifest.session_id))
    if cipher.key_id != said.key_id:
        raise SessionKeyMissingError(
            f"session {manifest.session_id}: expected the key {said.key_id} that session.json "
            f"names, found {cipher.key_id}; give all workers that share sessions one data_dir"
        )
    return cipher
