"""Makes tokens: for labs, tests, and whoever has no identity provider."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from typing import Any

import jwt
import msgspec
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
)

from recorder_worker.adapters.tokens.keyring import HS256, BadKeysError, secret_key


class TokenIssuer:
    """Signs claims with one key; made by `of_secret` or `of_pem`."""

    def __init__(self, key: Any, algorithm: str, kid: str) -> None:  # noqa: ANN401  (PyJWT's union of key types)
        self._key = key
        self._algorithm = algorithm
        self._kid = kid

    @classmethod
    def of_secret(cls, secret: str) -> TokenIssuer:
        """With a shared secret. Raises BadKeysError."""
        return cls(secret_key(secret).key, HS256, "")

    @classmethod
    def of_pem(cls, pem: bytes) -> TokenIssuer:
        """With an Ed25519 private key; its `kid` is that of `public_jwk`. Raises BadKeysError."""
        key = _private_key(pem)
        return cls(key, "EdDSA", public_jwk(pem)["kid"])

    def token(self, claims: Mapping[str, object]) -> str:
        """A signed token."""
        headers = {"kid": self._kid} if self._kid else None
        return jwt.encode(dict(claims), self._key, algorithm=self._algorithm, headers=headers)


def public_jwk(pem: bytes) -> dict[str, str]:
    """The public half of an Ed25519 key as a JWK; its id is the key's thumbprint (RFC 7638).

    Raises:
        BadKeysError: it is no Ed25519 private key.
    """
    raw = _private_key(pem).public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    required = {"crv": "Ed25519", "kty": "OKP", "x": _base64url(raw)}
    thumbprint = hashlib.sha256(msgspec.json.encode(required)).digest()
    return {**required, "kid": _base64url(thumbprint), "alg": "EdDSA", "use": "sig"}


def _private_key(pem: bytes) -> Ed25519PrivateKey:
    try:
        key = load_pem_private_key(pem, None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise BadKeysError(
            f"expected an Ed25519 private key in PEM, found none: {error}"
        ) from error
    if not isinstance(key, Ed25519PrivateKey):
        raise BadKeysError(
            "expected an Ed25519 private key, found one of another kind; "
            "openssl genpkey -algorithm ed25519 makes one"
        )
    return key


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
