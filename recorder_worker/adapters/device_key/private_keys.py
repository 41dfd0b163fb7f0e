"""A set of private keys: Ed25519, and ML-DSA-44 beside it where that is on.

Python cannot promise to erase a key from memory. So epoch keys are read for each signature and not
kept, and nothing here shows a private key, whatever is printed or logged.
"""

from __future__ import annotations

import re
from typing import Annotated

import msgspec
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey
from msgspec import Meta

from recorder_worker.core.errors import SettingsError
from recorder_worker.core.signing.signing_keys import KEY_SETS, KeyKind, PublicKey

PrivateKey = Ed25519PrivateKey | MLDSA44PrivateKey
Kinds = tuple[KeyKind, ...]

_PEM = re.compile(rb"-----BEGIN [A-Z ]+-----.*?-----END [A-Z ]+-----", re.DOTALL)
_Seed = Annotated[bytes, Meta(min_length=32, max_length=32)]


class _Seeds(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True
):
    ed25519: _Seed
    ml_dsa_44: _Seed | None = msgspec.field(default=None, name="ml-dsa-44")


_SEEDS = msgspec.json.Decoder(_Seeds)


class PrivateKeys:
    """Private keys by kind, in the order of `KEY_SETS`."""

    def __init__(
        self, ed25519: Ed25519PrivateKey, ml_dsa_44: MLDSA44PrivateKey | None = None
    ) -> None:
        self._keys: dict[KeyKind, PrivateKey] = {KeyKind.ED25519: ed25519}
        if ml_dsa_44 is not None:
            self._keys[KeyKind.ML_DSA_44] = ml_dsa_44

    @classmethod
    def generate(cls, kinds: Kinds) -> PrivateKeys:
        """Fresh keys. Raises SettingsError where OpenSSL has no ML-DSA."""
        ml_dsa = generate(KeyKind.ML_DSA_44) if KeyKind.ML_DSA_44 in kinds else None
        ed25519 = Ed25519PrivateKey.generate()
        return cls(ed25519, ml_dsa if isinstance(ml_dsa, MLDSA44PrivateKey) else None)

    @classmethod
    def from_seeds(cls, data: bytes) -> PrivateKeys:
        """Keys out of what `seeds` gave. Raises msgspec.MsgspecError or ValueError."""
        seeds = _SEEDS.decode(data)
        return cls(
            Ed25519PrivateKey.from_private_bytes(seeds.ed25519),
            None if seeds.ml_dsa_44 is None else MLDSA44PrivateKey.from_seed_bytes(seeds.ml_dsa_44),
        )

    def seeds(self) -> bytes:
        """All private keys as JSON: 32 bytes each, in base64."""
        raw = {kind: key.private_bytes_raw() for kind, key in self._keys.items()}
        ed25519, ml_dsa_44 = raw[KeyKind.ED25519], raw.get(KeyKind.ML_DSA_44)
        return msgspec.json.encode(_Seeds(ed25519=ed25519, ml_dsa_44=ml_dsa_44))

    def pem(self, kind: KeyKind) -> bytes:
        """One private key in PEM (PKCS #8), without a password."""
        return pem(self._keys[kind])

    def public(self) -> tuple[PublicKey, ...]:
        """The public keys, Ed25519 first."""
        return tuple(public_key(kind, key) for kind, key in self._keys.items())

    def sign(self, kind: KeyKind, message: bytes) -> bytes:
        """A signature of a message. Raises ValueError where there is no key of that kind."""
        key = self._keys.get(kind)
        if key is None:
            raise ValueError(f"expected a key of {', '.join(self._keys)}, got {kind.value}")
        return key.sign(message)

    def __repr__(self) -> str:
        shown = ", ".join(f"{key.kind.value} {key.data.hex()[:64]}" for key in self.public())
        return f"PrivateKeys(public {shown})"


def generate(kind: KeyKind) -> PrivateKey:
    """A fresh key. Raises SettingsError where OpenSSL has no ML-DSA."""
    if kind is KeyKind.ED25519:
        return Ed25519PrivateKey.generate()
    try:
        return MLDSA44PrivateKey.generate()
    except UnsupportedAlgorithm as error:
        raise SettingsError(
            "keys.ml_dsa_44: expected an OpenSSL that has ML-DSA-44, found one that has not; "
            "set it to false, or install a newer `cryptography`"
        ) from error


def pem(key: PrivateKey) -> bytes:
    """A private key in PEM (PKCS #8), without a password."""
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def public_key(kind: KeyKind, key: PrivateKey) -> PublicKey:
    """The public half of a key."""
    return PublicKey(kind, key.public_key().public_bytes_raw())


def read_pem(kind: KeyKind, data: bytes, where: str, advice: str) -> PrivateKey:
    """The private key in PEM text; `where` it stands and `advice` go into the error.

    Raises:
        SettingsError: it is none of that kind; the text names no part of it.
    """
    wanted = Ed25519PrivateKey if kind is KeyKind.ED25519 else MLDSA44PrivateKey
    name = "an Ed25519" if kind is KeyKind.ED25519 else "an ML-DSA-44"
    try:
        key = serialization.load_pem_private_key(data, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        # Without its cause: nothing of what was read may show in a log.
        raise SettingsError(
            f"{where}: expected {name} private key in PEM (PKCS #8) without a password, found "
            f"something else; {advice}"
        ) from None
    if not isinstance(key, wanted):
        raise SettingsError(f"{where}: expected {name} key, found {type(key).__name__}; {advice}")
    return key


def from_pem_text(text: str, kinds: Kinds, where: str) -> PrivateKeys:
    """Keys out of a secret: a PEM block for each kind, in the order of `kinds`.

    An environment that cannot hold newlines may write each as the two characters backslash and n.

    Raises:
        SettingsError: it is not that; the text names no part of it.
    """
    blocks = _PEM.findall(text.replace("\\n", "\n").encode())
    if len(blocks) != len(kinds):
        raise SettingsError(
            f"{where}: expected {len(kinds)} private keys in PEM, of {' and '.join(kinds)} in this "
            f"order, found {len(blocks)}; keys.ml_dsa_44 says whether there have to be two"
        )
    keys = [
        read_pem(kind, block + b"\n", where, "correct the secret")
        for kind, block in zip(kinds, blocks, strict=True)
    ]
    ml_dsa = next((key for key in keys if isinstance(key, MLDSA44PrivateKey)), None)
    ed25519 = next(key for key in keys if isinstance(key, Ed25519PrivateKey))
    return PrivateKeys(ed25519, ml_dsa)


def kinds(*, ml_dsa_44: bool) -> Kinds:
    """The kinds of a key set."""
    return KEY_SETS[1] if ml_dsa_44 else KEY_SETS[0]
