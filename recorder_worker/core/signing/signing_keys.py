"""Public keys and what they sign: Ed25519, and ML-DSA-44 beside it.

Ed25519 is RFC 8032, ML-DSA-44 is FIPS 204 with an empty context. A key set is one Ed25519 key, or
one of each in this order.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PublicKey

from recorder_worker.core.merkle.proofs import ProofError


class KeyKind(StrEnum):
    """Algorithms. The order is the code in the record: append only."""

    ED25519 = "ed25519"
    ML_DSA_44 = "ml-dsa-44"


KEY_SIZES: dict[KeyKind, int] = {KeyKind.ED25519: 32, KeyKind.ML_DSA_44: 1312}
"""Bytes of a raw public key."""

KEY_SETS = ((KeyKind.ED25519,), (KeyKind.ED25519, KeyKind.ML_DSA_44))
"""The kinds of the keys that may sign together, in order."""


class PublicKey(msgspec.Struct, frozen=True):
    """A raw public key and its algorithm."""

    kind: KeyKind
    data: bytes


def verify_signature(key: PublicKey, message: bytes, signature: bytes) -> None:
    """Check that a key has signed a message.

    Raises:
        ProofError: it has not, or the key is not one.
    """
    try:
        if key.kind is KeyKind.ED25519:
            Ed25519PublicKey.from_public_bytes(key.data).verify(signature, message)
        else:
            MLDSA44PublicKey.from_public_bytes(key.data).verify(signature, message)
    except (InvalidSignature, ValueError) as error:
        raise ProofError(
            f"the signature of {key.kind} key {_shown(key)} does not verify"
        ) from error
    except UnsupportedAlgorithm as error:
        raise ProofError(f"{key.kind} is not supported by this build of OpenSSL") from error


def _shown(key: PublicKey) -> str:
    shown = key.data.hex()
    return shown if len(shown) <= 64 else f"{shown[:64]}…"
