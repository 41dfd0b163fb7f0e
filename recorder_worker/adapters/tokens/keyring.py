"""Keys that check tokens. Each is bound to one algorithm, whatever a token says of itself.

That is what stands against confusion of algorithms (RFC 8725 section 2.1): a public key is never
taken for a secret, and `none` is the algorithm of no key. A key comes from the settings, a file or
a bucket; where a token says that one is to be found (`jku`, `x5u`, `jwk`) is not looked at.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from jwt import PyJWK
from jwt.algorithms import HMACAlgorithm
from jwt.exceptions import PyJWTError

from recorder_worker.core.errors import SettingsError

HS256 = "HS256"
SECRET_BYTES = 32
"""RFC 7518 section 3.2: a key of the same size as the hash output, or larger."""

JWKS_BYTES = 262_144

_ALGORITHMS: dict[tuple[str, str | None], str] = {
    ("OKP", "Ed25519"): "EdDSA",
    ("EC", "P-256"): "ES256",
    ("RSA", None): "RS256",
}
"""The algorithm of a JWK by its type and curve."""


class BadKeysError(SettingsError):
    """A secret or a JWK Set that is none: says what was expected and what was found."""


@dataclass(frozen=True)
class VerificationKey:
    """A key, and the one algorithm that it checks."""

    kid: str
    algorithm: str
    key: Any

    def __repr__(self) -> str:
        return f"VerificationKey(kid={self.kid!r}, algorithm={self.algorithm!r})"


def secret_key(secret: str) -> VerificationKey:
    """The key of tokens that are signed with a shared secret. Raises BadKeysError."""
    size = len(secret.encode())
    if size < SECRET_BYTES:
        raise BadKeysError(f"expected a secret of at least {SECRET_BYTES} bytes, found {size}")
    try:
        key = HMACAlgorithm(HMACAlgorithm.SHA256).prepare_key(secret)
    except PyJWTError as error:
        raise BadKeysError(f"expected a secret, found a key of another kind: {error}") from error
    return VerificationKey("", HS256, key)


def keys_in(jwks: bytes) -> tuple[VerificationKey, ...]:
    """The keys of a JWK Set (RFC 7517) with which tokens can be checked.

    Keys of other kinds and uses are passed over, as the RFC asks for. What must not lie beside the
    keys of a verifier at all is an error: private keys, and secrets.

    Raises:
        BadKeysError: it is no JWK Set, or no key in it is of use, or two have one id.
    """
    if len(jwks) > JWKS_BYTES:
        raise BadKeysError(f"expected a JWK Set of at most {JWKS_BYTES} bytes, found {len(jwks)}")
    try:
        document = msgspec.json.decode(jwks)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise BadKeysError(f"expected a JWK Set, found no JSON: {error}") from error
    listed = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(listed, list):
        raise BadKeysError('expected a JWK Set, {"keys": […]}, found something else')
    found = [key for each in listed if (key := _key(each)) is not None]
    if not found:
        raise BadKeysError(
            f"expected a JWK Set with a key for {', '.join(_ALGORITHMS.values())}, found none"
        )
    _check_ids(found)
    return tuple(found)


def _key(jwk: object) -> VerificationKey | None:
    """One JWK; None where it is not for checking tokens of an algorithm that we take."""
    if not isinstance(jwk, dict):
        raise BadKeysError("expected every key of the JWK Set to be an object, found another")
    kty, kid = jwk.get("kty"), jwk.get("kid", "")
    if not isinstance(kid, str):
        raise BadKeysError("expected every kid of the JWK Set to be text, found another")
    if kty == "oct" or "d" in jwk or "k" in jwk:
        raise BadKeysError(
            f"expected public keys, found a private key or a secret (kid {kid!r}); take it out, "
            "and take it for known to others"
        )
    algorithm = _ALGORITHMS.get((str(kty), None if kty == "RSA" else jwk.get("crv")))
    if algorithm is None or not _checks(jwk, algorithm):
        return None
    try:
        made = PyJWK.from_dict(jwk, algorithm)
        weak = made.Algorithm.check_key_length(made.key)
    except (PyJWTError, KeyError, TypeError, ValueError) as error:
        raise BadKeysError(
            f"expected a {kty} key, found none under kid {kid!r}: {error}"
        ) from error
    if weak:
        raise BadKeysError(f"expected strong keys, found under kid {kid!r}: {weak}")
    return VerificationKey(kid, algorithm, made.key)


def _checks(jwk: dict[str, Any], algorithm: str) -> bool:
    """Whether a key says of itself that it checks signatures of that algorithm."""
    operations = jwk.get("key_ops", ["verify"])
    return (
        jwk.get("use", "sig") == "sig"
        and jwk.get("alg", algorithm) == algorithm
        and isinstance(operations, list)
        and "verify" in operations
    )


def _check_ids(keys: Sequence[VerificationKey]) -> None:
    ids = [key.kid for key in keys if key.kid]
    twice = sorted({kid for kid in ids if ids.count(kid) > 1})
    if twice:
        raise BadKeysError(f"expected one key for each kid, found more for {', '.join(twice)}")
