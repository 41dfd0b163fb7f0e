"""Checkpoints are C2SP notes with one encoding, and say who signed and when."""

from __future__ import annotations

import base64
import hashlib

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from recorder_worker.core.errors import FormatError
from recorder_worker.core.merkle.proofs import ProofError
from recorder_worker.core.signing.note import (
    NoteKey,
    NoteSigner,
    SignatureType,
    TreeHead,
    cosigned_message,
    note_keys,
    parse_note,
    parse_notes,
    sign_checkpoint,
    subtree_message,
    verify_note,
)
from recorder_worker.core.signing.origins import check_recorder, default_recorder, session_origin
from recorder_worker.core.signing.signing_keys import KeyKind, PublicKey, verify_signature

PRIVATE = Ed25519PrivateKey.from_private_bytes(b"\x07" * 32)
KEY = NoteKey(name="recorder-1", public_key=PRIVATE.public_key().public_bytes_raw())
ORIGIN = "recorder-1/s/0192f0c1-2b3c-7d4e-8f50-123456789abc/blake3"
HEAD = TreeHead(origin=ORIGIN, tree_size=15, root_hash=bytes(range(32)))
TIME_S = 1_679_315_147


ML_DSA = MLDSA44PrivateKey.from_seed_bytes(b"\x07" * 32)
ED_PUBLIC = PublicKey(KeyKind.ED25519, KEY.public_key)
ML_PUBLIC = PublicKey(KeyKind.ML_DSA_44, ML_DSA.public_key().public_bytes_raw())
BOTH = note_keys("recorder-1", (ED_PUBLIC, ML_PUBLIC))
LOG_HEAD = TreeHead(origin="recorder-1/log", tree_size=15, root_hash=bytes(range(32)))
LOG_KEY = NoteKey(name="recorder-1/log", public_key=KEY.public_key, type=SignatureType.ED25519)


def signed(head: TreeHead = HEAD, time_s: int = TIME_S) -> bytes:
    signer = NoteSigner(key=KEY, sign=PRIVATE.sign)
    return sign_checkpoint(head, signers=[signer], signed_at_s=time_s)


def signed_by_both(head: TreeHead = HEAD, time_s: int = TIME_S) -> bytes:
    signers = [
        NoteSigner(key=BOTH[0], sign=PRIVATE.sign),
        NoteSigner(key=BOTH[1], sign=ML_DSA.sign),
    ]
    return sign_checkpoint(head, signers=signers, signed_at_s=time_s)


def signed_by_log(head: TreeHead = LOG_HEAD) -> bytes:
    signer = NoteSigner(key=LOG_KEY, sign=PRIVATE.sign)
    return sign_checkpoint(head, signers=[signer], signed_at_s=TIME_S)


def verify_both(note: bytes) -> list[int]:
    return [verify_note(parse_note(note), key) for key in BOTH]


def with_line(note: bytes, key: NoteKey, value: bytes) -> bytes:
    """A note with one more signature line."""
    encoded = base64.b64encode(key.key_id + value).decode()
    return note + f"— {key.name} {encoded}\n".encode()


NOTE = signed()


def test_the_message_is_that_of_c2sp_tlog_cosignature() -> None:
    head = TreeHead(
        origin="example.com/behind-the-sofa",
        tree_size=20852163,
        root_hash=base64.b64decode("CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I="),
    )
    assert cosigned_message(head, TIME_S) == (
        b"cosignature/v1\n"
        b"time 1679315147\n"
        b"example.com/behind-the-sofa\n"
        b"20852163\n"
        b"CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n"
    )


def test_a_note_of_the_c2sp_specification_is_read() -> None:
    """The example of tlog-cosignature: a log's signature and a witness's."""
    note = parse_note(
        "example.com/behind-the-sofa\n"
        "20852163\n"
        "CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n"
        "\n"
        "— example.com/behind-the-sofa Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5"
        "/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=\n"
        "— witness.example.com/w1 jWbPPwAAAABkGFDLEZMHwSRaJNiIDoe9DYn/zXcrtPHeolMI5OWXEhZCB9dlrDJs"
        "X3b2oyin1nPZqhf5nNo0xUe+mbIUBkBIfZ+qnA==\n".encode()
    )
    assert note.head.tree_size == 20852163
    assert [s.name for s in note.signatures] == [
        "example.com/behind-the-sofa",
        "witness.example.com/w1",
    ]
    assert int.from_bytes(note.signatures[1].value[:8], "big") == TIME_S


def test_the_key_id_and_vkey_are_those_of_signed_note() -> None:
    material = b"recorder-1\n\x04" + KEY.public_key
    assert KEY.key_id == hashlib.sha256(material).digest()[:4]
    name, key_id, encoded = KEY.vkey.split("+", 2)
    assert (name, key_id) == ("recorder-1", KEY.key_id.hex())
    assert base64.b64decode(encoded) == b"\x04" + KEY.public_key


def test_a_checkpoint_verifies_and_gives_its_time() -> None:
    note = parse_note(NOTE)
    assert note.head == HEAD
    assert note.raw == NOTE
    assert verify_note(note, KEY) == TIME_S


def test_the_same_arguments_give_the_same_bytes() -> None:
    assert signed() == NOTE


@given(st.integers(0, 2**63 - 1), st.binary(min_size=32, max_size=32), st.integers(0, 2**63 - 1))
def test_every_size_root_and_time_comes_back(size: int, root: bytes, time_s: int) -> None:
    head = TreeHead(origin=ORIGIN, tree_size=size, root_hash=root)
    note = parse_note(signed(head, time_s))
    assert (note.head, verify_note(note, KEY)) == (head, time_s)


def test_every_flipped_byte_is_seen() -> None:
    for at in range(len(NOTE)):
        for bit in range(8):
            changed = bytearray(NOTE)
            changed[at] ^= 1 << bit
            with pytest.raises((FormatError, ProofError)):
                verify_note(parse_note(bytes(changed)), KEY)


def edited(old: str, new: str) -> bytes:
    text = NOTE.decode()
    assert old in text
    return text.replace(old, new, 1).encode()


ROOT = base64.b64encode(HEAD.root_hash).decode()
MALFORMED = {
    "leading zero": edited("\n15\n", "\n015\n"),
    "plus sign": edited("\n15\n", "\n+15\n"),
    "minus sign": edited("\n15\n", "\n-15\n"),
    "underscore": edited("\n15\n", "\n1_5\n"),
    "space before": edited("\n15\n", "\n 15\n"),
    "space behind": edited("\n15\n", "\n15 \n"),
    "hexadecimal": edited("\n15\n", "\n0xf\n"),
    "exponent": edited("\n15\n", "\n15e0\n"),
    "Arabic-Indic digits": edited("\n15\n", "\n١٥\n"),  # noqa: RUF001  (the attack)
    "full-width digits": edited("\n15\n", "\n１５\n"),  # noqa: RUF001  (the attack)
    "superscript digit": edited("\n15\n", "\n¹⁵\n"),
    "size of 2^63": edited("\n15\n", f"\n{2**63}\n"),
    "size without end": edited("\n15\n", "\n" + "9" * 5000 + "\n"),
    "no size": edited("\n15\n", "\n\n"),
    "CRLF": NOTE.replace(b"\n", b"\r\n"),
    "one CR": edited("\n15\n", "\n15\r\n"),
    "U+2028 for a newline": edited("\n15\n", "\u202815\n"),
    "U+2028 behind the size": edited("\n15\n", "\n15\u2028\n"),
    "U+0085 behind the size": edited("\n15\n", "\n15\x85\n"),
    "form feed": edited("\n15\n", "\n15\f\n"),
    "NUL in the origin": edited("recorder-1/", "recorder-1\0/"),
    "no-break space in the origin": edited("recorder-1/", "recorder\u00a01/"),
    "empty origin": NOTE.split(b"\n", 1)[1].join([b"\n", b""]),
    "root without padding": edited(ROOT, ROOT.rstrip("=")),
    "root with spare bits": edited("Hh8=", "Hh9="),
    "root in URL base64": edited(ROOT, "-" + ROOT[1:]),
    "root with a newline in it": edited(ROOT, ROOT[:20] + "\n" + ROOT[20:]),
    "root of 31 bytes": edited(ROOT, base64.b64encode(bytes(31)).decode()),
    "root of 33 bytes": edited(ROOT, base64.b64encode(bytes(33)).decode()),
    "root with data behind its padding": edited(ROOT, ROOT + "AAAA"),
    "extension line": edited(f"{ROOT}\n", f"{ROOT}\nextension\n"),
    "empty extension line": edited(f"{ROOT}\n", f"{ROOT}\n\n"),
    "no empty line": edited("\n\n", "\n"),
    "no signature": NOTE.split(b"\n\n")[0] + b"\n\n",
    "hyphen for the dash": edited("—", "-"),
    "en dash": edited("—", "–"),  # noqa: RUF001  (the attack)
    "two spaces": edited("— ", "—  "),
    "tab": edited("— recorder-1 ", "— recorder-1\t"),
    "plus in the key name": edited("— recorder-1", "— recorder+1"),
    "no-break space in the key name": edited("— recorder-1", "— recorder\u00a01"),
    "no key name": edited("— recorder-1 ", "—  "),
    "no final newline": NOTE[:-1],
    "byte order mark": b"\xef\xbb\xbf" + NOTE,
    "not UTF-8": NOTE.replace(b"recorder-1 ", b"recorder-\xff "),
    "text behind": NOTE + b"more\n",
    "empty line behind": NOTE + b"\n",
    "empty line before": b"\n" + NOTE,
    "signature of 4 bytes": NOTE.rsplit(b" ", 1)[0] + b" AAAAAA==\n",
    "nothing": b"",
    "newlines": b"\n" * 20,
}


@pytest.mark.parametrize("data", MALFORMED.values(), ids=MALFORMED.keys())
def test_a_malformed_note_is_refused(data: bytes) -> None:
    with pytest.raises(FormatError):
        parse_note(data)


@given(st.binary(max_size=400))
def test_no_bytes_whatever_do_more_than_be_refused(data: bytes) -> None:
    try:
        notes = parse_notes(data)
    except FormatError:
        return
    assert b"".join(note.raw for note in notes) == data


def test_notes_one_behind_the_other_are_told_apart() -> None:
    other = signed(TreeHead(origin=ORIGIN, tree_size=16, root_hash=bytes(32)))
    assert [n.raw for n in parse_notes(NOTE + other)] == [NOTE, other]
    with pytest.raises(FormatError, match="one note"):
        parse_note(NOTE + other)


def test_a_witness_may_sign_as_well_and_is_ignored() -> None:
    line = "— witness.example/w " + base64.b64encode(b"\x01\x02\x03\x04" + bytes(72)).decode()
    note = parse_note(NOTE + line.encode() + b"\n")
    assert verify_note(note, KEY) == TIME_S


def test_more_than_16_signatures_are_refused() -> None:
    line = NOTE.split(b"\n\n")[1]
    assert len(parse_note(NOTE + line * 15).signatures) == 16
    with pytest.raises(FormatError):
        parse_note(NOTE + line * 16)


def test_two_lines_of_the_key_are_refused() -> None:
    line = NOTE.split(b"\n\n")[1]
    with pytest.raises(ProofError, match="found 2"):
        verify_note(parse_note(NOTE + line), KEY)


def test_a_signature_of_another_key_is_none() -> None:
    other = Ed25519PrivateKey.from_private_bytes(b"\x08" * 32)
    key = NoteKey(name=KEY.name, public_key=other.public_key().public_bytes_raw())
    with pytest.raises(ProofError, match="found 0"):
        verify_note(parse_note(NOTE), key)


def test_a_public_key_that_is_none_is_a_failed_signature() -> None:
    key = NoteKey(name=KEY.name, public_key=b"short")
    line = "— recorder-1 " + base64.b64encode(key.key_id + bytes(72)).decode() + "\n"
    note = parse_note(NOTE.split(b"\n\n")[0] + b"\n\n" + line.encode())
    with pytest.raises(ProofError, match="does not verify"):
        verify_note(note, key)


def test_a_signature_of_another_length_or_an_impossible_time_is_refused() -> None:
    for value in (bytes(71), bytes(73), b"\x80" + bytes(71)):
        line = "— recorder-1 " + base64.b64encode(KEY.key_id + value).decode() + "\n"
        note = parse_note(NOTE.split(b"\n\n")[0] + b"\n\n" + line.encode())
        with pytest.raises(ProofError, match="72 bytes"):
            verify_note(note, KEY)


def test_a_signer_that_signs_something_else_is_caught_before_it_is_stored() -> None:
    for key, size in ((KEY, 64), (BOTH[1], 2420), (LOG_KEY, 64)):
        for wrong in (bytes(size), b""):
            signer = NoteSigner(key=key, sign=lambda _, given=wrong: given)  # type: ignore[misc]
            with pytest.raises((ProofError, FormatError)):
                sign_checkpoint(HEAD, signers=[signer], signed_at_s=1)
    with pytest.raises(FormatError, match="signature lines"):
        sign_checkpoint(HEAD, signers=[], signed_at_s=1)
    with pytest.raises(FormatError, match="time of signing"):
        signed(time_s=-1)


# --- the plain signature, and ML-DSA-44 -----------------------------------------------------------


def test_the_signed_message_of_the_c2sp_specification_verifies() -> None:
    """The example of signed-note: its key, and its signature over its text."""
    key = NoteKey(
        name="example.com/foo",
        public_key=base64.b64decode("AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k")[1:],
        type=SignatureType.ED25519,
    )
    assert key.vkey == "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k"
    line = base64.b64decode(
        "Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM="
    )
    assert line[:4] == key.key_id
    text = b"This is an example message.\n"
    verify_signature(PublicKey(KeyKind.ED25519, key.public_key), text, line[4:])


def test_a_plain_signature_is_over_the_three_lines_and_has_no_time() -> None:
    note = parse_note(signed_by_log())
    assert verify_note(note, LOG_KEY) == 0
    assert note.signatures[0].value == PRIVATE.sign(note.head.text())


def test_the_message_of_an_ml_dsa_cosignature_is_that_of_c2sp_tlog_cosignature() -> None:
    """Written out byte by byte from `cosigned_message`; the specification has no example."""
    head = TreeHead(origin="a/log", tree_size=20852163, root_hash=bytes(range(32)))
    assert subtree_message(head, "w.example", TIME_S) == bytes.fromhex(
        "737562747265652f76310a00"  # label
        "09772e6578616d706c65"  # cosigner_name
        "00000000641850cb"  # timestamp
        "05612f6c6f67"  # log_origin
        "0000000000000000"  # start
        "00000000013e2dc3"  # end
        "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"
    )


def test_the_ids_of_ml_dsa_keys_are_those_of_tlog_cosignature() -> None:
    key = BOTH[1]
    assert len(key.public_key) == 1312
    digest = hashlib.sha256(b"recorder-1\n\x06" + key.public_key).digest()
    assert key.key_id == digest[:4]
    assert base64.b64decode(key.vkey.split("+", 2)[2]) == b"\x06" + key.public_key


def test_both_keys_of_a_set_sign_a_line_each_and_the_time() -> None:
    note = parse_note(signed_by_both())
    assert [verify_note(note, key) for key in BOTH] == [TIME_S, TIME_S]
    assert [len(s.value) for s in note.signatures] == [72, 2428]
    assert [s.key_id for s in note.signatures] == [key.key_id for key in BOTH]


def test_every_flipped_byte_of_an_ml_dsa_line_is_seen() -> None:
    note = signed_by_both()
    begin = note.rindex("—".encode())
    for at in [*range(begin), *range(begin, len(note), 37)]:
        changed = bytearray(note)
        changed[at] ^= 1
        with pytest.raises((FormatError, ProofError)):
            verify_both(bytes(changed))


def test_an_ml_dsa_signature_binds_cosigner_origin_size_root_and_time() -> None:
    value = parse_note(signed_by_both()).signatures[1].value
    for head, key, signature in (
        (TreeHead(origin="r/log", tree_size=15, root_hash=HEAD.root_hash), BOTH[1], value),
        (TreeHead(origin=ORIGIN, tree_size=16, root_hash=HEAD.root_hash), BOTH[1], value),
        (TreeHead(origin=ORIGIN, tree_size=15, root_hash=bytes(32)), BOTH[1], value),
        (HEAD, note_keys("recorder-2", (ML_PUBLIC,))[0], value),
        (HEAD, BOTH[1], (TIME_S + 1).to_bytes(8, "big") + value[8:]),
    ):
        note = with_line(head.text() + b"\n", key, signature)
        with pytest.raises(ProofError, match="does not verify"):
            verify_note(parse_note(note), key)
    verify_note(parse_note(with_line(HEAD.text() + b"\n", BOTH[1], value)), BOTH[1])


def test_no_signature_serves_as_one_of_another_type() -> None:
    """One Ed25519 key, two types: neither value verifies as the other, whatever time is put in."""
    plain = NoteKey(name="recorder-1", public_key=KEY.public_key, type=SignatureType.ED25519)
    cosigned = parse_note(signed()).signatures[0].value
    with pytest.raises(ProofError, match="does not verify"):
        verify_note(parse_note(with_line(HEAD.text() + b"\n", plain, cosigned[8:])), plain)
    timed = bytes(8) + PRIVATE.sign(HEAD.text())
    with pytest.raises(ProofError, match="does not verify"):
        verify_note(parse_note(with_line(HEAD.text() + b"\n", KEY, timed)), KEY)


def test_ml_dsa_values_of_another_length_or_an_impossible_time_are_refused() -> None:
    for value in (bytes(2420), bytes(2427), bytes(2429), b"\x80" + bytes(2427)):
        with pytest.raises(ProofError, match="2428 bytes"):
            verify_note(parse_note(with_line(HEAD.text() + b"\n", BOTH[1], value)), BOTH[1])
    for value in (bytes(63), bytes(65), bytes(72)):
        with pytest.raises(ProofError, match="64 bytes, got"):
            verify_note(parse_note(with_line(HEAD.text() + b"\n", LOG_KEY, value)), LOG_KEY)


def test_names_that_do_not_fit_an_ml_dsa_message_are_refused() -> None:
    for name in ("", "n" * 256):
        with pytest.raises(FormatError, match="1 to 255"):
            subtree_message(HEAD, name, 1)
    with pytest.raises(FormatError, match="root hash"):
        subtree_message(TreeHead(origin="o", tree_size=1, root_hash=b""), "n", 1)
    with pytest.raises(FormatError, match="time of signing"):
        subtree_message(HEAD, "n", 2**63)


@pytest.mark.parametrize("recorder", ["", "a b", "a+b", "ä", "a\n", "/a", "a" * 129, "-a"])
def test_a_recorder_id_that_cannot_be_an_origin_is_refused(recorder: str) -> None:
    with pytest.raises(FormatError, match="recorder id"):
        check_recorder(recorder)


def test_the_origin_and_the_default_recorder() -> None:
    assert session_origin("lab/7", "x-1") == "lab/7/s/x-1/blake3"
    recorder = default_recorder(KEY.public_key)
    assert recorder == check_recorder(recorder)
    assert len(recorder) == len("recorder-") + 16
