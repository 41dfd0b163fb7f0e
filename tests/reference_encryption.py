"""Encryption as docs/format.md has it, without a line of the product: the key, payloads, pieces."""

from __future__ import annotations

import json
import uuid
from pathlib import Path

import pyrage
from blake3 import blake3
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from reference_format import need

NONE, SEALED = 1, 2
NAMES = {NONE: "none", SEALED: "chacha20-poly1305"}
CHUNK, SEGMENT = 1, 2
PIECE, TAG = 65536, 16


def derive(context: str, material: bytes) -> bytes:
    return bytes(
        blake3(material, derive_key_context=f"session-recorder 2026-11 {context} v1").digest()
    )


def digest(key: bytes, plain: bytes) -> bytes:
    return bytes(blake3(plain, key=derive("plain digest", key)).digest())


def place_of(kind: int, session: str, number: int) -> bytes:
    return bytes([kind]) + uuid.UUID(session).bytes + number.to_bytes(8, "big")


def seed_of(key: bytes, where: bytes, payload: bytes) -> bytes:
    return bytes(blake3(where + payload, key=derive("payload seed", key)).digest())


def aead_of(key: bytes, seed: bytes) -> ChaCha20Poly1305:
    return ChaCha20Poly1305(derive("payload key", key + seed))


def nonce(count: int, last: bool) -> bytes:
    return count.to_bytes(11, "big") + (b"\x01" if last else b"\x00")


def cut(data: bytes, size: int) -> list[bytes]:
    return [data[at : at + size] for at in range(0, len(data), size)] or [b""]


def encrypt(key: bytes, where: bytes, payload: bytes, seed: bytes = b"") -> bytes:
    seed = seed or seed_of(key, where, payload)
    pieces = cut(payload, PIECE)
    sealed = [
        aead_of(key, seed).encrypt(nonce(count, count == len(pieces) - 1), piece, where)
        for count, piece in enumerate(pieces)
    ]
    return b"SREE\x01" + seed + b"".join(sealed)


def decrypt(key: bytes, where: bytes, stored: bytes) -> bytes:
    need(stored[:4] == b"SREE", "an encrypted payload without its magic")
    need(stored[4:5] == b"\x01", "an encrypted payload of another version", "UNSUPPORTED")
    need(len(stored) >= 37 + TAG, "an encrypted payload without pieces")
    seed, pieces = stored[5:37], cut(stored[37:], PIECE + TAG)
    payload = b""
    for count, piece in enumerate(pieces):
        need(count == 0 or len(piece) > TAG, "an empty piece")
        try:
            payload += aead_of(key, seed).decrypt(
                nonce(count, count == len(pieces) - 1), piece, where
            )
        except InvalidTag:
            need(False, f"piece {count} does not open")
    need(seed == seed_of(key, where, payload), "a seed of another payload")
    return payload


def declared(manifest: bytes) -> str:
    """The name of the cipher that session.json declares."""
    try:
        found = json.loads(manifest)
    except ValueError:
        return NAMES[NONE]
    said = found.get("encryption") if isinstance(found, dict) else None
    return str(said["cipher"]) if said else NAMES[NONE]


def unwrap(manifest: bytes, identity: Path | None) -> bytes | None:
    """The session's key; None where the session is not encrypted, or no identity is given."""
    said = json.loads(manifest).get("encryption")
    if identity is None or not said:
        return None
    lines = [line for line in identity.read_text().split() if line.startswith("AGE-SECRET-KEY-")]
    identities = [pyrage.x25519.Identity.from_str(line) for line in lines]
    key = bytes(pyrage.decrypt(said["wrapped_key"].encode(), identities))
    need(len(key) == 32, "a session key of another length")
    need(derive("session key id", key)[:16].hex() == said["key_id"], "the key of another session")
    return key
