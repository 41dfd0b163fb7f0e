"""Checks a detached proof of OpenTimestamps over a message, offline.

The proof is a tree of operations that leads from the message's SHA-256 to attestations. That the
operations begin at the message is a question of integrity. What an attestation is worth is
another: one of Bitcoin says that a value is the Merkle root of the block of a height, which only
somebody who knows that block can tell. So block headers are given by whoever verifies. Pending and
unknown attestations prove nothing yet.

`opentimestamps` is an optional extra; without it nothing is said about such receipts.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from enum import StrEnum
from typing import Any

import msgspec

from recorder_worker.core.errors import FormatError, UnsupportedError
from recorder_worker.core.merkle.proofs import ProofError
from recorder_worker.core.receipts.block_header import BlockHeader

try:
    from opentimestamps.core import notary
    from opentimestamps.core.op import OpRIPEMD160, OpSHA1, OpSHA256
    from opentimestamps.core.serialize import (
        BytesDeserializationContext,
        BytesSerializationContext,
        DeserializationError,
        UnsupportedMajorVersion,
    )
    from opentimestamps.core.timestamp import DetachedTimestampFile
except ImportError:
    INSTALLED = False
else:
    INSTALLED = True

MAX_OTS_SIZE = 262_144
BLOCK_TIME_ERROR_S = 7200
"""How far a block's time may be ahead: Bitcoin's nodes take a block up to 2 hours early."""

SECOND_NS = 1_000_000_000


class AttestationKind(StrEnum):
    """Who attests."""

    BITCOIN = "bitcoin"
    PENDING = "pending"
    UNKNOWN = "unknown"


class Attestation(msgspec.Struct, frozen=True, kw_only=True):
    """One attestation of a proof.

    Attributes:
        kind: who attests.
        detail: the block's height, the calendar's URI, or the unknown tag.
        time_ns: the block's time, nanoseconds since the Unix epoch; None: not proved.
        latest_ns: after this the block was not made, so the message existed by then.
        why_not: why nothing is proved.
    """

    kind: AttestationKind
    detail: str
    time_ns: int | None = None
    latest_ns: int | None = None
    why_not: str = ""


class OtsFound(msgspec.Struct, frozen=True, kw_only=True):
    """What a proof says: its attestations, and the earliest time that is proved, if any is."""

    attestations: tuple[Attestation, ...]

    @property
    def best(self) -> Attestation | None:
        """The proved attestation with the earliest time."""
        proved = [a for a in self.attestations if a.latest_ns is not None]
        return min(proved, key=lambda a: a.latest_ns or 0, default=None)


def verify_ots(receipt: bytes, message: bytes, headers: Sequence[BlockHeader] = ()) -> OtsFound:
    """Check that a proof begins at a message, and say what it attests.

    Args:
        receipt: a detached proof, the content of an `.ots` file.
        message: the exact bytes that were stamped.
        headers: the blocks that one knows.

    Raises:
        UnsupportedError: `opentimestamps` is not installed, or does not know this version.
        FormatError: it is no such proof.
        ProofError: it is for another file.
    """
    if not INSTALLED:
        raise UnsupportedError(
            "receipt not checked: it is of OpenTimestamps; install session-recorder[ots]"
        )
    if len(receipt) > MAX_OTS_SIZE:
        raise FormatError(
            f"OpenTimestamps: expected at most {MAX_OTS_SIZE} bytes, got {len(receipt)}"
        )
    proof = _parse(receipt)
    expected = hashlib.sha256(message).digest()
    if proof.file_digest != expected:
        raise ProofError(
            f"OpenTimestamps: it is for another file: expected SHA-256 {expected.hex()}, found "
            f"{proof.file_digest.hex()}"
        )
    known = {header.height: header for header in headers}
    found = sorted(
        (
            _judge(value, attestation, known, weak=weak)
            for value, attestation, weak in _attestations(proof.timestamp, weak=False)
        ),
        key=lambda a: (a.kind, a.detail, a.why_not),
    )
    return OtsFound(attestations=tuple(found))


def merge_ots(kept: bytes, receipt: bytes) -> bytes | None:
    """One proof with the operations and attestations of both; None: it would be too large.

    Args:
        kept: a proof that `verify_ots` took.
        receipt: another one, over the same message.

    Raises:
        UnsupportedError, FormatError: one is no such proof.
        ProofError: they are for different files.
    """
    proof, other = _parse(kept), _parse(receipt)
    try:
        proof.timestamp.merge(other.timestamp)
    except ValueError as error:
        raise ProofError(f"OpenTimestamps: {error}") from error
    context = BytesSerializationContext()
    proof.serialize(context)
    merged: bytes = context.getbytes()
    return merged if len(merged) <= MAX_OTS_SIZE else None


def _parse(receipt: bytes) -> Any:  # noqa: ANN401  (the library has no types)
    try:
        proof = DetachedTimestampFile.deserialize(BytesDeserializationContext(receipt))
    except UnsupportedMajorVersion as error:
        raise UnsupportedError(f"OpenTimestamps: {error}") from error
    except (DeserializationError, ValueError, TypeError, RecursionError) as error:
        shown = " ".join(str(error).split())[:200]
        raise FormatError(f"OpenTimestamps: expected a detached proof: {shown}") from error
    if not isinstance(proof.file_hash_op, OpSHA256):
        raise UnsupportedError(
            f"OpenTimestamps: expected a proof over SHA-256, found {proof.file_hash_op}"
        )
    return proof


def _attestations(stamp: Any, *, weak: bool) -> Iterator[tuple[bytes, Any, bool]]:  # noqa: ANN401  (the library has no types)
    """Every attestation, the value that it attests, and whether a weak digest is on the way."""
    for attestation in stamp.attestations:
        yield stamp.msg, attestation, weak
    for op, behind in stamp.ops.items():
        yield from _attestations(behind, weak=weak or isinstance(op, OpSHA1 | OpRIPEMD160))


def _judge(
    value: bytes,
    attestation: Any,  # noqa: ANN401  (the library has no types)
    known: dict[int, BlockHeader],
    *,
    weak: bool,
) -> Attestation:
    if isinstance(attestation, notary.PendingAttestation):
        return Attestation(
            kind=AttestationKind.PENDING,
            detail=attestation.uri,
            why_not="the calendar has only promised it; upgrade the receipt",
        )
    if not isinstance(attestation, notary.BitcoinBlockHeaderAttestation):
        return Attestation(
            kind=AttestationKind.UNKNOWN,
            detail=attestation.TAG.hex(),
            why_not="this kind of attestation is not known",
        )
    header = known.get(attestation.height)
    detail = f"block {attestation.height}"
    if header is None:
        why_not = "the policy has no header of this block"
    elif value[::-1].hex() != header.merkle_root:
        why_not = f"the policy's header has another Merkle root than {value[::-1].hex()}"
    elif weak:
        why_not = "a digest that is no longer safe is on the way to it"
    else:
        time_ns = header.time * SECOND_NS
        return Attestation(
            kind=AttestationKind.BITCOIN,
            detail=detail,
            time_ns=time_ns,
            latest_ns=time_ns + BLOCK_TIME_ERROR_S * SECOND_NS,
        )
    return Attestation(kind=AttestationKind.BITCOIN, detail=detail, why_not=why_not)
