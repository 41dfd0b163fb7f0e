"""Sealed payloads: both implementations agree, and nothing that was touched opens."""

from __future__ import annotations

import secrets
import tracemalloc
from collections.abc import Iterator

import pytest
import reference_encryption as reference
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from hypothesis import given
from hypothesis import strategies as st
from reference_format import Problem

from recorder_worker.core.cipher.pieces import PIECE_SIZE, TAG_SIZE, open_pieces, seal_pieces
from recorder_worker.core.cipher.session_cipher import (
    HEADER_SIZE,
    PayloadKind,
    Place,
    SessionCipher,
    plain_hasher,
)
from recorder_worker.core.errors import FormatError, UnsupportedError

SESSION = "0192f0c1-2b3c-7d4e-8f50-0000000000a1"
OTHER = "0192f0c1-2b3c-7d4e-8f50-0000000000b2"
KEY = bytes(range(32))
CIPHER = SessionCipher(SESSION, KEY)
CHUNK = Place(PayloadKind.CHUNK, 5)
EDGES = [0, 1, PIECE_SIZE - 1, PIECE_SIZE, PIECE_SIZE + 1, 2 * PIECE_SIZE, 3 * PIECE_SIZE + 7]


def sealed(payload: bytes, place: Place = CHUNK, cipher: SessionCipher = CIPHER) -> bytes:
    return b"".join(cipher.seal(place, payload))


def opened(stored: bytes, place: Place = CHUNK, cipher: SessionCipher = CIPHER) -> bytes:
    return b"".join(cipher.unseal(place, [stored]))


def refused(stored: bytes, place: Place = CHUNK, cipher: SessionCipher = CIPHER) -> bool:
    try:
        opened(stored, place, cipher)
    except FormatError:
        return True
    return False


# --- what is sealed opens, and both implementations write the same bytes -------------------------


@pytest.mark.parametrize("size", EDGES)
def test_both_implementations_seal_to_the_same_bytes_and_open_each_others(size: int) -> None:
    payload = secrets.token_bytes(size)
    for kind, number in ((PayloadKind.CHUNK, 5), (PayloadKind.SEGMENT, 2**40)):
        ours = sealed(payload, Place(kind, number))
        where = reference.place_of(int(kind), SESSION, number)
        assert ours == reference.encrypt(KEY, where, payload)
        assert reference.decrypt(KEY, where, ours) == payload
        assert opened(ours, Place(kind, number)) == payload


@given(payload=st.binary(max_size=300), cuts=st.lists(st.integers(1, 50), max_size=20))
def test_it_does_not_matter_in_which_parts_stored_bytes_come(
    payload: bytes, cuts: list[int]
) -> None:
    stored, parts = sealed(payload), []
    for size in cuts:
        parts.append(stored[:size])
        stored = stored[size:]
    assert b"".join(CIPHER.unseal(CHUNK, [*parts, stored])) == payload


def test_the_same_payload_is_sealed_to_the_same_bytes_and_no_other_shares_its_key() -> None:
    one = sealed(b"payload")
    assert sealed(b"payload") == one
    others = [
        sealed(b"payloae"),
        sealed(b"payload", Place(PayloadKind.CHUNK, 6)),
        sealed(b"payload", Place(PayloadKind.SEGMENT, 5)),
        sealed(b"payload", cipher=SessionCipher(OTHER, KEY)),
        sealed(b"payload", cipher=SessionCipher(SESSION, bytes(31) + b"\x01")),
    ]
    seeds = {stored[:HEADER_SIZE] for stored in [one, *others]}
    assert len(seeds) == 6


def test_digests_of_plain_bytes_are_keyed_and_those_of_both_implementations_agree() -> None:
    assert CIPHER.hasher().update(b"guess").digest() == reference.digest(KEY, b"guess")
    digests = {
        plain_hasher(cipher).update(b"guess").hexdigest()
        for cipher in (None, CIPHER, SessionCipher(SESSION, bytes(31) + b"\x01"))
    }
    assert len(digests) == 3
    assert CIPHER.key_id == reference.derive("session key id", KEY)[:16].hex()


# --- nothing else opens --------------------------------------------------------------------------


def test_every_byte_that_is_changed_is_found() -> None:
    stored = sealed(b"a small payload")
    for at in range(len(stored)):
        assert refused(stored[:at] + bytes([stored[at] ^ 1]) + stored[at + 1 :]), at


def test_every_end_that_is_cut_off_is_found() -> None:
    stored = sealed(secrets.token_bytes(2 * PIECE_SIZE + 5))
    at_pieces = [HEADER_SIZE + n * (PIECE_SIZE + TAG_SIZE) for n in range(3)]
    for size in {0, 1, HEADER_SIZE - 1, *at_pieces, *(n + 1 for n in at_pieces), len(stored) - 1}:
        assert refused(stored[:size]), size
    assert not refused(stored)


def pieces(stored: bytes) -> list[bytes]:
    body, size = stored[HEADER_SIZE:], PIECE_SIZE + TAG_SIZE
    return [body[at : at + size] for at in range(0, len(body), size)]


def test_pieces_that_are_moved_repeated_left_out_or_taken_from_elsewhere_are_found() -> None:
    payload = secrets.token_bytes(3 * PIECE_SIZE)
    stored, head = sealed(payload), sealed(payload)[:HEADER_SIZE]
    one, two, three = pieces(stored)
    other = pieces(sealed(secrets.token_bytes(3 * PIECE_SIZE)))
    for body in (
        [two, one, three],
        [one, one, two, three],
        [one, three],
        [one, two],
        [one, two, three, three],
        [one, other[1], three],
        [one, two, three, b""],
    ):
        assert refused(head + b"".join(body)) is (body[-1] != b"")


def test_a_payload_opens_in_its_place_alone() -> None:
    stored = sealed(b"payload")
    for place in (Place(PayloadKind.CHUNK, 6), Place(PayloadKind.SEGMENT, 5)):
        assert refused(stored, place)
    assert refused(stored, cipher=SessionCipher(OTHER, KEY))
    assert refused(stored, cipher=SessionCipher(SESSION, bytes(32)))


def test_an_empty_piece_at_the_end_is_no_second_form_of_a_payload() -> None:
    """Whoever has the key could seal one; then one payload would have two sets of bytes."""
    key, place = bytes(32), b"place"
    aead = ChaCha20Poly1305(key)
    whole = bytes(PIECE_SIZE)
    twice = aead.encrypt(bytes(12), whole, place)
    twice += aead.encrypt((1).to_bytes(11, "big") + b"\x01", b"", place)
    with pytest.raises(FormatError, match="an empty one at the end"):
        list(open_pieces(key, place, [twice]))
    assert b"".join(open_pieces(key, place, seal_pieces(key, place, b""))) == b""


def test_a_seed_that_the_payload_does_not_give_is_refused_by_both() -> None:
    where = reference.place_of(1, SESSION, 5)
    stored = reference.encrypt(KEY, where, b"payload", seed=bytes(32))
    with pytest.raises(FormatError, match="seed"):
        opened(stored)
    with pytest.raises(Problem, match="seed"):
        reference.decrypt(KEY, where, stored)


def test_another_version_is_unsupported_and_not_damage() -> None:
    stored = sealed(b"payload")
    with pytest.raises(UnsupportedError, match="expected version 1, found 2"):
        opened(stored[:4] + b"\x02" + stored[5:])


def test_a_key_of_another_length_is_refused() -> None:
    with pytest.raises(FormatError, match="expected 32 bytes, found 31"):
        SessionCipher(SESSION, bytes(31))


def test_nothing_shows_the_key() -> None:
    assert KEY.hex() not in repr(CIPHER)
    assert repr(KEY)[2:-1] not in repr(CIPHER)


def test_a_long_payload_is_opened_in_little_memory() -> None:
    payload = bytes(32 << 20)
    stored = sealed(payload)

    def parts() -> Iterator[bytes]:
        for at in range(0, len(stored), 1 << 20):
            yield stored[at : at + (1 << 20)]

    tracemalloc.start()
    size = sum(map(len, CIPHER.unseal(CHUNK, parts())))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert size == len(payload)
    assert peak < 6 << 20
