"""The device key in a file: an Ed25519 private key as PEM (PKCS #8), for its owner alone.

Python cannot promise to erase a key from memory, and a file can be copied: where that matters a
KMS takes this place. It needs to sign, no more: the session secret is made of a signature too.
"""

from __future__ import annotations

import os
import secrets
import stat
from pathlib import Path

from blake3 import blake3
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from recorder_worker.core.errors import SettingsError, StoreError
from recorder_worker.core.origins import default_recorder

_SIGNED = b"session-recorder session secret v1\n"
_DERIVED = "session-recorder 2026-11 session secret v1"


class FileSigner:
    """Signs with the Ed25519 key in a file, which is made on first use; satisfies `Signer`.

    Raises:
        SettingsError: the file is open to others, or is not such a key.
        StoreError: the file cannot be read or made.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            if not path.exists():
                _create(path)
            self._key = _load(path)
        except OSError as error:
            raise StoreError(f"device key {path}: {error}; check keys.device_key") from error

    @property
    def public_key(self) -> bytes:
        """The raw Ed25519 public key, 32 bytes."""
        return self._key.public_key().public_bytes_raw()

    @property
    def recorder(self) -> str:
        """The id of a recorder that is given no other."""
        return default_recorder(self.public_key)

    def sign(self, message: bytes) -> bytes:
        """The Ed25519 signature of a message, 64 bytes."""
        return self._key.sign(message)

    def session_secret(self, session_id: str) -> bytes:
        """32 bytes derived from a signature over the session's id.

        The signed text is no checkpoint and no cosignature: both begin otherwise.
        """
        signature = self.sign(_SIGNED + session_id.encode())
        return blake3(signature, derive_key_context=_DERIVED).digest()

    def __repr__(self) -> str:
        return f"FileSigner({str(self.path)!r}, public key {self.public_key.hex()})"


def _load(path: Path) -> Ed25519PrivateKey:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as file:
        mode = stat.S_IMODE(os.fstat(descriptor).st_mode)
        data = file.read(65536)
    if mode & 0o077:
        raise SettingsError(
            f"device key {path}: expected a file for its owner alone (0600), found {mode:04o}; "
            f"run chmod 600 {path}, and think about who may have copied it"
        )
    try:
        key = serialization.load_pem_private_key(data, password=None)
    except (ValueError, TypeError) as error:
        raise SettingsError(
            f"device key {path}: expected an Ed25519 private key in PEM (PKCS #8) without a "
            "password, found something else; restore it, or move it away and a new one is made"
        ) from error
    if not isinstance(key, Ed25519PrivateKey):
        raise SettingsError(
            f"device key {path}: expected an Ed25519 key, found {type(key).__name__}; "
            "give the path of another file in keys.device_key"
        )
    return key


def _create(path: Path) -> None:
    """Make a key, unless another process does so first; then its key is the one.

    The file appears whole or not at all: written and synced under a name of its own, then linked
    to its place, which fails where something is there already. A crash leaves a stray file with
    `.new` in its name, and no key that anything was signed with.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    data = Ed25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    fresh = path.with_name(f".{path.name}.{secrets.token_hex(8)}.new")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    try:
        with os.fdopen(os.open(fresh, flags, 0o600), "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(fresh, path)
        except FileExistsError:
            return
    finally:
        fresh.unlink(missing_ok=True)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
