"""Who signs checkpoints, and how (c2sp.org/signed-note, tlog-cosignature).

Three kinds of signature are known. A session's notes carry timestamped cosignatures, by Ed25519
and perhaps by ML-DSA-44 beside it, so that the time at which the recorder says it signed is signed
as well. The log of sessions carries the plain Ed25519 signature that public witnesses ask for.

An Ed25519 cosignature does not name its signer, so no key may stand under two names. No message of
one kind is a message of another: a cosignature begins with a line `cosignature/v1` or with
`subtree/v1`, a newline and a NUL, and the text of a note with an origin and a line of digits.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Sequence
from enum import IntEnum

import msgspec

from recorder_worker.core.errors import FormatError
from recorder_worker.core.merkle.proofs import ProofError
from recorder_worker.core.merkle.tree import HASH_SIZE, MAX_SIZE
from recorder_worker.core.signing.note_text import (
    MAX_NOTE_SIZE,
    MAX_SIGNATURES,
    NoteSignature,
    SignedNote,
    TreeHead,
    parse_note,
    parse_notes,
)
from recorder_worker.core.signing.signing_keys import KeyKind, PublicKey, verify_signature

__all__ = [
    "MAX_NOTE_SIZE",
    "MAX_SIGNATURES",
    "NoteKey",
    "NoteSignature",
    "NoteSigner",
    "SignatureType",
    "SignedNote",
    "TreeHead",
    "cosigned_message",
    "note_keys",
    "parse_note",
    "parse_notes",
    "sign_checkpoint",
    "signed_message",
    "subtree_message",
    "verify_note",
]

_SUBTREE_LABEL = b"subtree/v1\n\0"
_TIME_SIZE = 8
_NAME_MAX = 255


class SignatureType(IntEnum):
    """The byte that tells what a key signs, and how (C2SP signed-note, "Signature types")."""

    ED25519 = 0x01
    COSIGNATURE_ED25519 = 0x04
    COSIGNATURE_ML_DSA_44 = 0x06


_KIND = {
    SignatureType.ED25519: KeyKind.ED25519,
    SignatureType.COSIGNATURE_ED25519: KeyKind.ED25519,
    SignatureType.COSIGNATURE_ML_DSA_44: KeyKind.ML_DSA_44,
}
_COSIGNATURE = {
    KeyKind.ED25519: SignatureType.COSIGNATURE_ED25519,
    KeyKind.ML_DSA_44: SignatureType.COSIGNATURE_ML_DSA_44,
}
_VALUE_SIZE = {
    SignatureType.ED25519: 64,
    SignatureType.COSIGNATURE_ED25519: _TIME_SIZE + 64,
    SignatureType.COSIGNATURE_ML_DSA_44: _TIME_SIZE + 2420,
}


class NoteKey(msgspec.Struct, frozen=True, kw_only=True):
    """A key that signs notes: its name, its raw public key, and the kind of signature.

    `public_key` has 32 bytes for Ed25519 and 1312 for ML-DSA-44.
    """

    name: str
    public_key: bytes
    type: SignatureType = SignatureType.COSIGNATURE_ED25519

    @property
    def key_id(self) -> bytes:
        """The first 4 bytes of SHA-256(name ‖ 0x0A ‖ type ‖ public key)."""
        material = self.name.encode() + b"\n" + bytes([self.type]) + self.public_key
        return hashlib.sha256(material).digest()[:4]

    @property
    def vkey(self) -> str:
        """The key as C2SP tools take it: name+hex(id)+base64(type ‖ public key)."""
        encoded = base64.b64encode(bytes([self.type]) + self.public_key).decode()
        return f"{self.name}+{self.key_id.hex()}+{encoded}"


class NoteSigner(msgspec.Struct, frozen=True, kw_only=True):
    """A key, and what gives its bare signature of a message."""

    key: NoteKey
    sign: Callable[[bytes], bytes]


def note_keys(recorder: str, keys: Sequence[PublicKey]) -> tuple[NoteKey, ...]:
    """The keys of a key set as cosigners in the recorder's name, in their order."""
    return tuple(
        NoteKey(name=recorder, public_key=key.data, type=_COSIGNATURE[key.kind]) for key in keys
    )


def sign_checkpoint(head: TreeHead, *, signers: Sequence[NoteSigner], signed_at_s: int) -> bytes:
    """A note that all signers have signed, a line each, in their order.

    `signed_at_s` is in seconds since the Unix epoch; plain signatures do not hold it. Where all
    keys are Ed25519 the same arguments give the same bytes; ML-DSA-44 signs with fresh randomness.

    Raises:
        FormatError: an argument cannot stand in a note.
        ProofError: a signer gave something else than its signature.
    """
    lines = b"".join(_line(head, signer, signed_at_s) for signer in signers)
    note = parse_note(head.text() + b"\n" + lines)
    for signer in signers:
        verify_note(note, signer.key)
    return note.raw


def _line(head: TreeHead, signer: NoteSigner, signed_at_s: int) -> bytes:
    key = signer.key
    signature = signer.sign(signed_message(head, key, signed_at_s))
    time = b"" if key.type is SignatureType.ED25519 else signed_at_s.to_bytes(_TIME_SIZE, "big")
    return NoteSignature(name=key.name, key_id=key.key_id, value=time + signature).line()


def signed_message(head: TreeHead, key: NoteKey, signed_at_s: int) -> bytes:
    """What a key signs of a checkpoint.

    Raises:
        FormatError: the time is not in [0, 2^63), or a name is too long.
    """
    match key.type:
        case SignatureType.ED25519:
            return head.text()
        case SignatureType.COSIGNATURE_ED25519:
            return cosigned_message(head, signed_at_s)
        case SignatureType.COSIGNATURE_ML_DSA_44:
            return subtree_message(head, key.name, signed_at_s)


def cosigned_message(head: TreeHead, signed_at_s: int) -> bytes:
    """What an Ed25519 cosignature signs (C2SP tlog-cosignature, "Ed25519 signed message").

    Raises:
        FormatError: the time is not in [0, 2^63).
    """
    return f"cosignature/v1\ntime {_checked(signed_at_s)}\n".encode() + head.text()


def subtree_message(head: TreeHead, cosigner: str, signed_at_s: int) -> bytes:
    """What an ML-DSA-44 cosignature signs of a whole tree (tlog-cosignature, `cosigned_message`).

    label ‖ cosigner (u8 length, text) ‖ time u64 ‖ origin (u8 length, text) ‖ start u64 = 0 ‖
    size u64 ‖ root hash. It covers the three lines of a note and no others.

    Raises:
        FormatError: the time is not in [0, 2^63), a text has not 1 to 255 bytes, or the root hash
            not 32.
    """
    if len(head.root_hash) != HASH_SIZE:
        raise FormatError(f"root hash: expected {HASH_SIZE} bytes, got {len(head.root_hash)}")
    return b"".join(
        (
            _SUBTREE_LABEL,
            _prefixed(cosigner),
            _checked(signed_at_s).to_bytes(8, "big"),
            _prefixed(head.origin),
            bytes(8),
            head.tree_size.to_bytes(8, "big"),
            head.root_hash,
        )
    )


def verify_note(note: SignedNote, key: NoteKey) -> int:
    """Verify the signature of one key over a note.

    Lines of other keys (witnesses) are ignored, as C2SP asks.

    Returns:
        The signed time in seconds since the Unix epoch; 0 for a plain signature, which has none.

    Raises:
        ProofError: the key has not signed exactly once, or its signature does not verify.
    """
    where = f"checkpoint of size {note.head.tree_size}"
    ours = [s for s in note.signatures if s.name == key.name and s.key_id == key.key_id]
    if len(ours) != 1:
        raise ProofError(
            f"{where}: expected one signature of key {key.name} ({key.key_id.hex()}), "
            f"found {len(ours)}"
        )
    value = ours[0].value
    timed = key.type is not SignatureType.ED25519
    if len(value) != _VALUE_SIZE[key.type] or (timed and value[0] & 0x80):
        raise ProofError(
            f"{where}: expected a signature of {_VALUE_SIZE[key.type]} bytes"
            f"{' with a time below 2^63' if timed else ''}, got {len(value)} bytes"
        )
    time_size = _TIME_SIZE if timed else 0
    signed_at_s = int.from_bytes(value[:time_size], "big")
    try:
        verify_signature(
            PublicKey(_KIND[key.type], key.public_key),
            signed_message(note.head, key, signed_at_s),
            value[time_size:],
        )
    except (ProofError, FormatError) as error:
        raise ProofError(f"{where}: key {key.name}: {error}") from error
    return signed_at_s


def _checked(signed_at_s: int) -> int:
    if not 0 <= signed_at_s <= MAX_SIZE:
        raise FormatError(f"time of signing: expected seconds in [0, 2^63), got {signed_at_s}")
    return signed_at_s


def _prefixed(text: str) -> bytes:
    data = text.encode()
    if not 1 <= len(data) <= _NAME_MAX:
        raise FormatError(f"expected a name of 1 to {_NAME_MAX} bytes, got {text!r}")
    return bytes([len(data)]) + data
