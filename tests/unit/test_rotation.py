"""A statement of rotation has one encoding and is signed by the keys that it replaces."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey
from hypothesis import given
from hypothesis import strategies as st
from rotations import keys_of, rotated

from recorder_worker.core.errors import FormatError
from recorder_worker.core.merkle.proofs import ProofError
from recorder_worker.core.signing.rotation import (
    Rotation,
    parse_rotation,
    sign_rotation,
    verify_rotation,
)

STATEMENT = rotated(1, 2)
BOTH = rotated(1, 2, old_ml_dsa=True, new_ml_dsa=True)


def checked(statement: bytes) -> Rotation:
    signed = parse_rotation(statement)
    verify_rotation(signed)
    return signed.rotation


def test_a_statement_names_recorder_time_and_both_key_sets() -> None:
    assert checked(STATEMENT) == Rotation(
        recorder="recorder-1", at_s=1_764_000_000, old=keys_of(1), new=keys_of(2)
    )
    assert STATEMENT.decode().startswith(
        "session-recorder key rotation v1\nrecorder recorder-1\ntime 2025-11-24T16:00:00Z\n"
        "old ed25519 "
    )
    assert STATEMENT.count(b"\n") == 7
    assert rotated(1, 2) == STATEMENT


@pytest.mark.parametrize("old", [False, True])
@pytest.mark.parametrize("new", [False, True])
def test_every_kind_of_key_set_may_follow_any_other(old: bool, new: bool) -> None:
    statement = rotated(1, 2, old_ml_dsa=old, new_ml_dsa=new)
    rotation = checked(statement)
    assert (rotation.old, rotation.new) == (keys_of(1, ml_dsa=old), keys_of(2, ml_dsa=new))
    assert len(parse_rotation(statement).signatures) == 1 + old


def test_every_flipped_bit_is_seen() -> None:
    for at in range(len(STATEMENT)):
        for bit in range(8):
            changed = bytearray(STATEMENT)
            changed[at] ^= 1 << bit
            with pytest.raises((FormatError, ProofError)):
                checked(bytes(changed))


def test_flipped_bytes_of_ml_dsa_lines_are_seen() -> None:
    for at in range(0, len(BOTH), 41):
        changed = bytearray(BOTH)
        changed[at] ^= 1
        with pytest.raises((FormatError, ProofError)):
            checked(bytes(changed))


LINES = STATEMENT.decode().split("\n")


def edited(old: str, new: str) -> bytes:
    text = STATEMENT.decode()
    assert old in text
    return text.replace(old, new, 1).encode()


MALFORMED = {
    "nothing": b"",
    "only the title": LINES[0].encode() + b"\n",
    "another version": edited("rotation v1", "rotation v2"),
    "CRLF": STATEMENT.replace(b"\n", b"\r\n"),
    "no final newline": STATEMENT[:-1],
    "two final newlines": STATEMENT + b"\n",
    "text behind": STATEMENT + b"more\n",
    "no empty line": edited("\n\n", "\n"),
    "two empty lines": edited("\n\n", "\n\n\n"),
    "no signature": STATEMENT[: STATEMENT.index(b"signed")],
    "signature twice": STATEMENT + LINES[-2].encode() + b"\n",
    "old key twice": edited(LINES[3], LINES[3] + "\n" + LINES[3]),
    "old and new exchanged": edited(LINES[3] + "\n" + LINES[4], LINES[4] + "\n" + LINES[3]),
    "no new key": edited(LINES[4] + "\n", ""),
    "an unknown line": edited("\n\n", "\nnote hello\n\n"),
    "an unknown kind": edited("new ed25519", "new ed448"),
    "two spaces": edited("time ", "time  "),
    "time without Z": edited(":00Z", ":00"),
    "time with an offset": edited(":00Z", ":00+00:00"),
    "a day that is not": edited("2025-11-24", "2025-11-31"),
    "a leap second": edited("16:00:00", "16:00:60"),
    "Arabic-Indic digits": edited("2025", "٢٠٢٥"),
    "a recorder that cannot be one": edited("recorder recorder-1", "recorder a b"),
    "base64 with spare bits": edited(LINES[3][-2] + "=\n", chr(ord(LINES[3][-2]) + 1) + "=\n"),
    "a key of 31 bytes": edited(LINES[4], "new ed25519 " + "A" * 40 + "AA=="),
    "a byte order mark": b"\xef\xbb\xbf" + STATEMENT,
    "not UTF-8": STATEMENT.replace(b"recorder-1", b"recorder-\xff"),
    "too long": STATEMENT + b"x" * 40_000,
}


@pytest.mark.parametrize("data", MALFORMED.values(), ids=MALFORMED.keys())
def test_a_malformed_statement_is_refused(data: bytes) -> None:
    with pytest.raises(FormatError, match=r"rotation|recorder id"):
        parse_rotation(data)


@given(st.binary(max_size=300) | st.text(max_size=300).map(str.encode))
def test_no_bytes_whatever_do_more_than_be_refused(data: bytes) -> None:
    with pytest.raises(FormatError):
        parse_rotation(b"session-recorder key rotation v1\n" + data)


def test_a_signature_of_other_keys_does_not_verify() -> None:
    forged = rotated(3, 2).decode().split("\n")[-2]
    with pytest.raises(ProofError, match="does not verify"):
        checked(edited(LINES[-2], forged))


def test_both_old_keys_have_to_sign() -> None:
    lines = BOTH.decode().split("\n")
    with pytest.raises(FormatError):
        parse_rotation("\n".join([*lines[:-2], ""]).encode())
    other = rotated(1, 3, old_ml_dsa=True, new_ml_dsa=True).decode().split("\n")
    with pytest.raises(ProofError, match="ml-dsa-44"):
        checked("\n".join([*lines[:-2], other[-2], ""]).encode())


def test_what_cannot_stand_in_a_statement_is_refused_when_it_is_made() -> None:
    private = Ed25519PrivateKey.from_private_bytes(b"\x01" * 32)
    good = Rotation(recorder="recorder-1", at_s=1, old=keys_of(1), new=keys_of(2))
    bad = [
        Rotation(recorder="a b", at_s=1, old=keys_of(1), new=keys_of(2)),
        Rotation(recorder="a", at_s=-1, old=keys_of(1), new=keys_of(2)),
        Rotation(recorder="a", at_s=10**12, old=keys_of(1), new=keys_of(2)),
        Rotation(recorder="a", at_s=1, old=(), new=keys_of(2)),
        Rotation(recorder="a", at_s=1, old=keys_of(1), new=keys_of(2) + keys_of(3)),
        Rotation(recorder="a", at_s=1, old=keys_of(1), new=keys_of(1)),
        Rotation(recorder="a", at_s=1, old=keys_of(1), new=keys_of(2, ml_dsa=True)[1:]),
    ]
    for rotation in bad:
        with pytest.raises(FormatError):
            sign_rotation(rotation, lambda _, message: private.sign(message))
    with pytest.raises(ProofError):
        sign_rotation(good, lambda *_: bytes(64))
    with pytest.raises(FormatError):
        sign_rotation(good, lambda *_: b"")


def test_the_kinds_of_the_helpers_are_real() -> None:
    ml_dsa = MLDSA44PrivateKey.from_seed_bytes(b"\x01" * 32).public_key().public_bytes_raw()
    assert keys_of(1, ml_dsa=True)[1].data == ml_dsa
