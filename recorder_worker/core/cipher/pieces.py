"""Sealed pieces of 64 KiB: the STREAM construction, as in the payload of an age file.

Each piece is sealed by itself, so that a reader never gives out a byte that it has not checked
and needs no more memory than a piece. The nonce counts the pieces and says which is the last: one
that is moved, left out, repeated or cut off does not open. What a piece belongs to (`place`) is its
associated data.

A key must seal one payload only, for its nonces begin at 0 each time.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from recorder_worker.core.errors import FormatError

PIECE_SIZE = 65_536
TAG_SIZE = 16
_COUNTER_SIZE = 11


def seal_pieces(key: bytes, place: bytes, payload: bytes | bytearray) -> Iterator[bytes]:
    """The sealed pieces of a payload; of an empty one, a piece with nothing in it."""
    aead = ChaCha20Poly1305(key)
    whole = memoryview(payload)
    for count, at in enumerate(range(0, max(1, len(whole)), PIECE_SIZE)):
        last = at + PIECE_SIZE >= len(whole)
        yield aead.encrypt(_nonce(count, last=last), whole[at : at + PIECE_SIZE], place)


def open_pieces(key: bytes, place: bytes, sealed: Iterable[bytes]) -> Iterator[bytes]:
    """The payload of sealed pieces that come in parts of any size; each is checked first.

    Raises:
        FormatError: a piece is not what was sealed here with this key.
    """
    aead = ChaCha20Poly1305(key)
    for count, (piece, last) in enumerate(_cut(sealed, PIECE_SIZE + TAG_SIZE)):
        try:
            opened = aead.decrypt(_nonce(count, last=last), piece, place)
        except InvalidTag as error:
            raise FormatError(
                f"piece {count}: cannot be opened: it was sealed with another key or in another "
                "place, or was changed, moved or cut off"
            ) from error
        if not opened and count:
            raise FormatError(f"piece {count}: expected bytes in it, found an empty one at the end")
        yield opened


def _nonce(count: int, *, last: bool) -> bytes:
    return count.to_bytes(_COUNTER_SIZE, "big") + bytes([last])


def _cut(parts: Iterable[bytes], size: int) -> Iterator[tuple[bytes, bool]]:
    """Pieces of exactly `size`, and whether each is the last, which may be shorter."""
    held = bytearray()
    for part in parts:
        held += part
        while len(held) > size:
            yield bytes(memoryview(held)[:size]), False
            del held[:size]
    yield bytes(held), True
