"""Device keys and statements of rotation that are the same in every run."""

from __future__ import annotations

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey

from recorder_worker.core.signing.rotation import Rotation, sign_rotation
from recorder_worker.core.signing.signing_keys import KeyKind, PublicKey

ROTATED_AT_S = 1_764_000_000


def keys_of(seed: int, *, ml_dsa: bool = False) -> tuple[PublicKey, ...]:
    """The public keys of a device; the Ed25519 one is that of `recordings.device_key(seed)`."""
    ed25519 = Ed25519PrivateKey.from_private_bytes(bytes([seed]) * 32).public_key()
    keys = [PublicKey(KeyKind.ED25519, ed25519.public_bytes_raw())]
    if ml_dsa:
        other = MLDSA44PrivateKey.from_seed_bytes(bytes([seed]) * 32).public_key()
        keys.append(PublicKey(KeyKind.ML_DSA_44, other.public_bytes_raw()))
    return tuple(keys)


def rotated(old: int, new: int, *, old_ml_dsa: bool = False, new_ml_dsa: bool = False) -> bytes:
    """The statement that the device of one seed makes about that of another."""

    def sign(kind: KeyKind, message: bytes) -> bytes:
        if kind is KeyKind.ED25519:
            return Ed25519PrivateKey.from_private_bytes(bytes([old]) * 32).sign(message)
        return MLDSA44PrivateKey.from_seed_bytes(bytes([old]) * 32).sign(message)

    rotation = Rotation(
        recorder="recorder-1",
        at_s=ROTATED_AT_S,
        old=keys_of(old, ml_dsa=old_ml_dsa),
        new=keys_of(new, ml_dsa=new_ml_dsa),
    )
    return sign_rotation(rotation, sign)
