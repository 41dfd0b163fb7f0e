"""What is done with a session's key: sealing and opening payloads, and digests of plain bytes.

A payload (of a chunk or a segment, compressed by then, or a thumbnail) is sealed under a key of its
own, derived from the session's key and a *seed*. The seed is a keyed hash over the payload and its
place. So

* no key ever seals two payloads: other bytes have another seed, whatever made them (another
  version of zstd, another worker), and other bytes under one key and nonce would give both away;
* the same payload gives the same stored bytes, so that a redelivery, a worker that takes over and
  a race of two store the same blob.

Digests of plain bytes are keyed as well: they are told on the bus and stand in records, where an
unkeyed one would let anybody test a guess at what was on the screen.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator
from enum import IntEnum

import msgspec
from blake3 import blake3

from recorder_worker.core.cipher.pieces import open_pieces, seal_pieces
from recorder_worker.core.errors import FormatError, UnsupportedError

SESSION_KEY_SIZE = 32
MAGIC = b"SREE"
VERSION = 1
SEED_SIZE = 32
HEADER_SIZE = len(MAGIC) + 1 + SEED_SIZE

_PAYLOAD_KEY = "session-recorder 2026-11 payload key v1"
_SEED_KEY = "session-recorder 2026-11 payload seed v1"
_DIGEST_KEY = "session-recorder 2026-11 plain digest v1"
_KEY_ID = "session-recorder 2026-11 session key id v1"
_KEY_ID_SIZE = 16


class PayloadKind(IntEnum):
    """What a payload is of. The number is its code."""

    CHUNK = 1
    SEGMENT = 2
    THUMBNAIL = 3


class Place(msgspec.Struct, frozen=True):
    """Where a payload belongs: a chunk by its leaf index, else by its (first) unit."""

    kind: PayloadKind
    number: int


class SessionCipher:
    """A session's key, and what it seals. Threads may share it; nothing shows the key.

    Args:
        session_id: a UUID; a payload opens in its own session only.
        key: 32 secret bytes, of this session alone.
    """

    def __init__(self, session_id: str, key: bytes) -> None:
        if len(key) != SESSION_KEY_SIZE:
            raise FormatError(
                f"session key: expected {SESSION_KEY_SIZE} bytes, found {len(key)}; "
                "it is the key of something else"
            )
        self._session = uuid.UUID(session_id).bytes
        self._key = key
        self._seed_key = _derived(_SEED_KEY, key)
        self._digest_key = _derived(_DIGEST_KEY, key)

    @property
    def key_id(self) -> str:
        """What tells this key from others and gives nothing of it away, in hexadecimal."""
        return key_id(self._key)

    def hasher(self) -> blake3:
        """A fresh hasher for plain bytes: BLAKE3, keyed."""
        return blake3(key=self._digest_key)

    def seal(self, place: Place, payload: bytes | bytearray) -> Iterator[bytes]:
        """The stored bytes of a payload, in pieces: a header with the seed, then sealed pieces."""
        where = self._where(place)
        seed = self._seed_hasher(where).update(payload).digest()
        yield MAGIC + bytes([VERSION]) + seed
        yield from seal_pieces(self._payload_key(seed), where, payload)

    def unseal(self, place: Place, stored: Iterable[bytes]) -> Iterator[bytes]:
        """The payload of stored bytes, in pieces; each was checked before it is given out.

        Raises:
            FormatError: these bytes were not sealed here with this key; `list` of what came
                before says nothing of what is missing.
            UnsupportedError: they are of a version that this program does not know.
        """
        parts = iter(stored)
        head = bytearray()
        for part in parts:
            head += part
            if len(head) >= HEADER_SIZE:
                break
        seed = _seed_in(head)
        where = self._where(place)
        hasher = self._seed_hasher(where)
        for piece in open_pieces(self._payload_key(seed), where, _behind(head, parts)):
            hasher.update(piece)
            yield piece
        if hasher.digest() != seed:
            raise FormatError(
                "seed: expected the one that this payload gives, found another; no recorder "
                "writes this"
            )

    def _where(self, place: Place) -> bytes:
        return bytes([place.kind]) + self._session + place.number.to_bytes(8, "big")

    def _seed_hasher(self, where: bytes) -> blake3:
        return blake3(where, key=self._seed_key)

    def _payload_key(self, seed: bytes) -> bytes:
        return _derived(_PAYLOAD_KEY, self._key + seed)

    def __repr__(self) -> str:
        return f"SessionCipher(key id {self.key_id})"


def key_id(key: bytes) -> str:
    """The id of a session key, in hexadecimal."""
    return _derived(_KEY_ID, key)[:_KEY_ID_SIZE].hex()


def plain_hasher(cipher: SessionCipher | None) -> blake3:
    """A fresh hasher for plain bytes: keyed where they are encrypted."""
    return blake3() if cipher is None else cipher.hasher()


def _derived(context: str, material: bytes) -> bytes:
    return blake3(material, derive_key_context=context).digest()


def _seed_in(head: bytearray) -> bytes:
    if len(head) < HEADER_SIZE or head[: len(MAGIC)] != MAGIC:
        raise FormatError(
            f"encrypted payload: expected it to begin with {MAGIC!r} and a header of "
            f"{HEADER_SIZE} bytes, found {bytes(head[:8])!r}"
        )
    if head[len(MAGIC)] != VERSION:
        raise UnsupportedError(
            f"encrypted payload: expected version {VERSION}, found {head[len(MAGIC)]}; "
            "use a program that knows it"
        )
    return bytes(head[len(MAGIC) + 1 : HEADER_SIZE])


def _behind(head: bytearray, parts: Iterator[bytes]) -> Iterator[bytes]:
    yield bytes(head[HEADER_SIZE:])
    yield from parts
