"""Proofs as files that a person can read and twenty lines of any language can check.

A file is JSON in one encoding: the fields in the order below, two spaces of indentation, a newline
at the end; hashes in lower-case hexadecimal, records in base64, notes as the text they are. Unknown
fields, and the same values written otherwise, are refused.

What a file proves needs the public key of the device and nothing else. OPEN carries the keys of
epoch 0 under the device's signature. Each further epoch is a link of a chain: its EPOCH record
names its keys and is the last leaf of the checkpoint that the keys before it signed. The newest
checkpoint is signed by the keys of the last link, and every leaf here is in its tree.

The hashes of a leaf are the inclusion proof of RFC 9162 §2.1.3, from the leaf up; those of a
`ConsistencyFile` the consistency proof of §2.1.4.
"""

from __future__ import annotations

import base64
import binascii
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from recorder_worker.core.errors import FormatError, UnsupportedError
from recorder_worker.core.model import Count, Hex32
from recorder_worker.core.records.codec import MAX_RECORD_SIZE

INCLUSION = "session-recorder inclusion proof v1"
CONSISTENCY = "session-recorder consistency proof v1"
MAX_PROOF_SIZE = 64 * 1024 * 1024

_MAX_HASHES = 64
_MAX_EPOCHS = 1 << 20

Hashes = Annotated[tuple[Hex32, ...], Meta(max_length=_MAX_HASHES)]
NoteText = Annotated[str, Meta(max_length=128 * 1024)]
RecordText = Annotated[str, Meta(max_length=(MAX_RECORD_SIZE + 2) // 3 * 4)]


class _Part(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    pass


class LeafProof(_Part, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A leaf of the tree of the newest checkpoint: its index, its record, and the way up."""

    index: Count
    record: RecordText
    hashes: Hashes

    @property
    def data(self) -> bytes:
        """The bytes of the record. Raises FormatError."""
        return record_bytes(self.record)


class EpochProof(_Part, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A link of the chain of keys.

    `closing_checkpoint` is the last one that the keys before signed, and the EPOCH record its last
    leaf; `closing_hashes` lead from it to that checkpoint's root, `leaf.hashes` to the newest.
    """

    leaf: LeafProof
    closing_checkpoint: NoteText
    closing_hashes: Hashes


class InclusionFile(
    _Part, frozen=True, kw_only=True, forbid_unknown_fields=True, tag=INCLUSION, tag_field="format"
):
    """One leaf of a session, proved under its newest checkpoint.

    `root_hash` and `tree_size` say again what the checkpoint says, for the eye.
    """

    tree_hash: Literal["blake3"] = "blake3"
    session_id: str
    tree_size: Count
    root_hash: Hex32
    checkpoint: NoteText
    leaf: LeafProof
    open: LeafProof
    epochs: Annotated[tuple[EpochProof, ...], Meta(max_length=_MAX_EPOCHS)]


class ConsistencyFile(
    _Part,
    frozen=True,
    kw_only=True,
    forbid_unknown_fields=True,
    tag=CONSISTENCY,
    tag_field="format",
):
    """Two checkpoints of a session, of which the second only adds to the first."""

    tree_hash: Literal["blake3"] = "blake3"
    session_id: str
    first_size: Count
    tree_size: Count
    first_checkpoint: NoteText
    checkpoint: NoteText
    hashes: Annotated[tuple[Hex32, ...], Meta(max_length=2 * _MAX_HASHES)]
    open: LeafProof
    epochs: Annotated[tuple[EpochProof, ...], Meta(max_length=_MAX_EPOCHS)]


ProofFile = InclusionFile | ConsistencyFile


class _Format(msgspec.Struct, frozen=True):
    format: str


_FORMAT = msgspec.json.Decoder(_Format)
_PROOF: msgspec.json.Decoder[ProofFile] = msgspec.json.Decoder(ProofFile)


def encode_proof(proof: ProofFile) -> bytes:
    """The one encoding of a proof."""
    return msgspec.json.format(msgspec.json.encode(proof), indent=2) + b"\n"


def decode_proof(data: bytes) -> ProofFile:
    """Read a proof strictly: `encode_proof` gives the same bytes again.

    Raises:
        FormatError: the bytes are not a proof; the text says where.
        UnsupportedError: they are one of a format that this program does not know.
    """
    if len(data) > MAX_PROOF_SIZE:
        raise FormatError(f"proof: expected at most {MAX_PROOF_SIZE} bytes, found {len(data)}")
    try:
        named = _FORMAT.decode(data).format
        if named not in {INCLUSION, CONSISTENCY}:
            raise UnsupportedError(
                f"proof: expected format {INCLUSION!r} or {CONSISTENCY!r}, found {named[:80]!r}; "
                "a newer verifier may know it"
            )
        proof = _PROOF.decode(data)
        encoded = encode_proof(proof)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise FormatError(
            f"proof: expected what `recorder proof` wrote, found {error}; take the file as it was "
            "written"
        ) from error
    if encoded != data:
        raise FormatError(
            "proof: expected its one encoding (order of fields, two spaces, a newline at the end), "
            "found another one; take the file as it was written"
        )
    return proof


def record_text(record: bytes) -> str:
    """A record as it stands in a proof."""
    return base64.b64encode(record).decode()


def record_bytes(text: str) -> bytes:
    """The bytes of a record that stands in a proof.

    Raises:
        FormatError: it is not canonical base64.
    """
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise FormatError(f"proof: expected base64, found {text[:80]!r}") from error
    if record_text(data) != text:
        raise FormatError(f"proof: expected canonical base64, found {text[:80]!r}")
    return data
