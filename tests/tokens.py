"""Keys and tokens of a lab: good ones from the product's issuer, forged ones by hand."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Mapping
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

SECRET = "a secret of the lab, of thirty-two bytes or more"

LASTS_S = 24 * 3600
"""Longer than all tests take: some make their tokens when they are collected."""

ED25519 = Ed25519PrivateKey.generate()
P256 = ec.generate_private_key(ec.SECP256R1())
RSA = rsa.generate_private_key(public_exponent=65537, key_size=2048)

JWKS: dict[str, Any] = {
    "keys": [
        {**OKPAlgorithm.to_jwk(ED25519.public_key(), as_dict=True), "kid": "ed"},
        {**ECAlgorithm.to_jwk(P256.public_key(), as_dict=True), "kid": "ec"},
        {**RSAAlgorithm.to_jwk(RSA.public_key(), as_dict=True), "kid": "rsa"},
    ]
}


def pem(key: Ed25519PrivateKey | ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def public_pem(key: Ed25519PrivateKey | ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> bytes:
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def claims(subject: str = "kim", role: object = "USER", /, **more: object) -> dict[str, object]:
    """What a good token says; None takes a claim away."""
    now_s = int(time.time())
    said = {"sub": subject, "role": role, "iat": now_s, "exp": now_s + LASTS_S} | more
    return {name: value for name, value in said.items() if value is not None}


def secret_token(subject: str = "kim", role: object = "USER", /, **more: object) -> str:
    """A token that is signed with the secret."""
    return jwt.encode(claims(subject, role, **more), SECRET, algorithm="HS256")


def key_token(subject: str = "kim", role: object = "USER", /, **more: object) -> str:
    """A token that is signed with the Ed25519 key."""
    said = claims(subject, role, **more)
    return jwt.encode(said, ED25519, algorithm="EdDSA", headers={"kid": "ed"})


def part(value: object) -> str:
    data = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def forged(
    header: Mapping[str, object], said: object, *, key: bytes | None = None, signature: bytes = b""
) -> str:
    """Whatever parts one likes; signed with HMAC-SHA-256 where a key is given."""
    signed = f"{part(header)}.{part(said)}"
    if key is not None:
        signature = hmac.new(key, signed.encode(), hashlib.sha256).digest()
    return f"{signed}.{part(signature)}"
