"""A strict signer in memory for tests of the stages: it refuses where a file would be gone."""

from __future__ import annotations

import threading

from blake3 import blake3
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey

from recorder_worker.core.errors import KeyErasedError
from recorder_worker.core.signing.signing_keys import KeyKind, PublicKey

Private = Ed25519PrivateKey | MLDSA44PrivateKey
Keys = dict[KeyKind, Private]


def new_keys(*, ml_dsa_44: bool) -> Keys:
    keys: Keys = {KeyKind.ED25519: Ed25519PrivateKey.generate()}
    if ml_dsa_44:
        keys[KeyKind.ML_DSA_44] = MLDSA44PrivateKey.generate()
    return keys


def public(keys: Keys) -> tuple[PublicKey, ...]:
    return tuple(PublicKey(kind, key.public_key().public_bytes_raw()) for kind, key in keys.items())


class MemorySigner:
    """A `Signer`."""

    def __init__(self, *, ml_dsa_44: bool = False) -> None:
        self._ml_dsa_44 = ml_dsa_44
        self._device = new_keys(ml_dsa_44=ml_dsa_44)
        self._epochs: dict[tuple[str, int], Keys] = {}
        self._public: dict[tuple[str, int], tuple[PublicKey, ...]] = {}
        self._closed_sessions: set[str] = set()
        self._lock = threading.Lock()
        self.former: tuple[PublicKey, ...] = ()

    def device_keys(self) -> tuple[PublicKey, ...]:
        return public(self._device)

    def former_keys(self) -> tuple[PublicKey, ...]:
        return self.former

    def sign_device(self, kind: KeyKind, message: bytes) -> bytes:
        return self._device[kind].sign(message)

    def session_secret(self, session_id: str) -> bytes:
        return blake3(session_id.encode()).digest()

    def open_epoch(self, session_id: str, epoch: int) -> tuple[PublicKey, ...]:
        with self._lock:
            if session_id in self._closed_sessions:
                raise KeyErasedError(f"session {session_id} is closed")
            if (session_id, epoch) not in self._public:
                made = new_keys(ml_dsa_44=self._ml_dsa_44)
                self._epochs[session_id, epoch] = made
                self._public[session_id, epoch] = public(made)
            return self._public[session_id, epoch]

    def sign_epoch(self, session_id: str, epoch: int, kind: KeyKind, message: bytes) -> bytes:
        with self._lock:
            held = self._epochs.get((session_id, epoch))
        if held is None:
            raise KeyErasedError(f"epoch {epoch} of session {session_id} is closed, or never was")
        return held[kind].sign(message)

    def close_epoch(self, session_id: str, epoch: int) -> None:
        with self._lock:
            self._epochs.pop((session_id, epoch), None)

    def close_session(self, session_id: str) -> None:
        with self._lock:
            self._closed_sessions.add(session_id)
            for found in [key for key in self._epochs if key[0] == session_id]:
                del self._epochs[found]
