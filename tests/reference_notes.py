"""Signed notes and their cosignatures, as docs/format.md and c2sp.org have them."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PublicKey
from reference_format import ED25519, ML_DSA_44, Problem, need

NOTE = re.compile(
    r"([A-Za-z0-9][A-Za-z0-9._/-]{0,254})\n"
    r"([1-9][0-9]{0,18})\n"
    r"([A-Za-z0-9+/]{43}=)\n"
    r"\n"
    r"((?:— [^\s+]+ [A-Za-z0-9+/]+={0,2}\n){1,16})"
)
SIGNATURE, COSIGNATURE_ED25519, COSIGNATURE_ML_DSA_44 = 0x01, 0x04, 0x06
COSIGNATURE = {ED25519: COSIGNATURE_ED25519, ML_DSA_44: COSIGNATURE_ML_DSA_44}


@dataclass(frozen=True)
class Note:
    origin: str
    size: int
    root: bytes
    signatures: tuple[tuple[str, bytes], ...]
    raw: bytes

    @property
    def text(self) -> bytes:
        """The three lines."""
        return f"{self.origin}\n{self.size}\n{base64.b64encode(self.root).decode()}\n".encode()


def read_notes(data: bytes) -> list[Note]:
    """Notes that stand one behind the other."""
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Problem("TAMPERED", "a note that is not UTF-8") from error
    found, at = [], 0
    while at < len(text):
        match = NOTE.match(text, at)
        if match is None:
            raise Problem("TAMPERED", f"no note at character {at}")
        need(not text.startswith("—", match.end()), "more than 16 signatures")
        need(int(match[2]) < 2**63, "a size of 2^63 or more")
        lines = [line.split(" ") for line in match[4].split("\n")[:-1]]
        signatures = tuple((line[1], canonical(line[2])) for line in lines)
        need(all(len(blob) > 4 for _, blob in signatures), "a signature without bytes")
        raw = match[0].encode()
        found.append(Note(match[1], int(match[2]), canonical(match[3]), signatures, raw))
        at = match.end()
    return found


def read_note(data: bytes) -> Note:
    notes = read_notes(data)
    need(len(notes) == 1, f"{len(notes)} notes where there is one")
    return notes[0]


def canonical(text: str) -> bytes:
    try:
        value = base64.b64decode(text, validate=True)
    except ValueError as error:
        raise Problem("TAMPERED", "bad base64") from error
    need(base64.b64encode(value).decode() == text, "base64 that is not canonical")
    return value


def key_id(name: str, type_: int, public_key: bytes) -> bytes:
    return hashlib.sha256(name.encode() + b"\n" + bytes([type_]) + public_key).digest()[:4]


def verify_checkpoint(note: Note, recorder: str, keys: Sequence[tuple[int, bytes]]) -> None:
    """Each key of an epoch has signed once; lines of other keys are not looked at."""
    for kind, public_key in keys:
        blob = only_signature(note, recorder, key_id(recorder, COSIGNATURE[kind], public_key))
        time = int.from_bytes(blob[:8], "big")
        need(len(blob) > 8 and time < 2**63, "a time of 2^63 or more")
        message = (ed25519_message if kind == ED25519 else ml_dsa_message)(note, recorder, time)
        need(verifies(kind, public_key, message, blob[8:]), f"signature for size {note.size}")


def verify_log_checkpoint(note: Note, recorder: str, public_key: bytes) -> None:
    """The plain signature of the device, in the name of the log."""
    origin = f"{recorder}/log"
    need(note.origin == origin, "a checkpoint of another log")
    blob = only_signature(note, origin, key_id(origin, SIGNATURE, public_key))
    need(verifies(ED25519, public_key, note.text, blob), "the signature of the log's checkpoint")


def only_signature(note: Note, name: str, id_: bytes) -> bytes:
    ours = [blob[4:] for found, blob in note.signatures if found == name and blob[:4] == id_]
    need(len(ours) == 1, f"size {note.size}: not one signature of the key that has to sign")
    return ours[0]


def ed25519_message(note: Note, _: str, time: int) -> bytes:
    return f"cosignature/v1\ntime {time}\n".encode() + note.text


def ml_dsa_message(note: Note, name: str, time: int) -> bytes:
    """`cosigned_message` of c2sp.org/tlog-cosignature; `start` is 0, `end` the size."""
    cosigner, origin = name.encode(), note.origin.encode()
    return (
        b"subtree/v1\n\x00"
        + bytes([len(cosigner)])
        + cosigner
        + time.to_bytes(8, "big")
        + bytes([len(origin)])
        + origin
        + bytes(8)
        + note.size.to_bytes(8, "big")
        + note.root
    )


def verifies(kind: int, public_key: bytes, message: bytes, signature: bytes) -> bool:
    of_kind = Ed25519PublicKey if kind == ED25519 else MLDSA44PublicKey
    try:
        of_kind.from_public_bytes(public_key).verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return True
