"""Proofs that an entry stands in a log, as text (c2sp.org/tlog-proof).

A first line that names the format, the entry's index, the hashes from its sibling up to below the
root, an empty line, and the log's signed checkpoint. We write no `extra` line, and read none.
"""

from __future__ import annotations

import base64
import binascii
import re

import msgspec

from recorder_worker.core.errors import FormatError
from recorder_worker.core.merkle.proofs import verify_inclusion
from recorder_worker.core.merkle.tree import HASH_SIZE, MAX_SIZE, SHA256
from recorder_worker.core.signing.note import SignedNote, parse_note

MAX_PROOF_SIZE = 256 * 1024

_FIRST = b"c2sp.org/tlog-proof@v1"
_INDEX = re.compile(rb"index (0|[1-9][0-9]{0,18})")
_MAX_HASHES = 63


class LogProof(msgspec.Struct, frozen=True, kw_only=True):
    """The inclusion of the entry at `index` under a checkpoint that is not verified yet."""

    index: int
    hashes: tuple[bytes, ...]
    checkpoint: SignedNote

    def text(self) -> bytes:
        """The proof as it is stored."""
        lines = [_FIRST, b"index %d" % self.index, *map(base64.b64encode, self.hashes), b""]
        return b"".join(line + b"\n" for line in lines) + self.checkpoint.raw

    def verify(self, leaf_hash: bytes) -> None:
        """Check that the entry with this leaf hash is under the checkpoint's root.

        Whether the checkpoint is signed, by whom and for which log, is for the caller to check.

        Raises:
            ProofError: it is not, or the proof has not the exact form that it needs.
        """
        verify_inclusion(
            leaf_hash=leaf_hash,
            index=self.index,
            size=self.checkpoint.head.tree_size,
            proof=self.hashes,
            root=self.checkpoint.head.root_hash,
            hasher=SHA256,
        )


def parse_log_proof(data: bytes) -> LogProof:
    """Read a proof strictly: `text` gives the same bytes again.

    Raises:
        FormatError: it is not written in the one way in which it may be.
    """
    if len(data) > MAX_PROOF_SIZE:
        raise FormatError(f"log proof: expected at most {MAX_PROOF_SIZE} bytes, got {len(data)}")
    head, separator, note = data.partition(b"\n\n")
    first, *rest = head.split(b"\n")
    if not separator or first != _FIRST or not rest:
        raise FormatError(
            f"log proof: expected {_FIRST.decode()!r}, an index, hashes, an empty line and a "
            f"checkpoint, found {data[:80]!r}"
        )
    index = _INDEX.fullmatch(rest[0])
    if index is None or int(index[1]) > MAX_SIZE:
        raise FormatError(f"log proof: expected `index` and a decimal number, found {rest[0]!r}")
    if len(rest) > 1 + _MAX_HASHES:
        raise FormatError(f"log proof: expected at most {_MAX_HASHES} hashes, found more")
    proof = LogProof(
        index=int(index[1]),
        hashes=tuple(_hash(line) for line in rest[1:]),
        checkpoint=parse_note(note),
    )
    if proof.text() != data:
        raise FormatError("log proof: not in its one encoding")
    return proof


def _hash(line: bytes) -> bytes:
    try:
        value = base64.b64decode(line, validate=True)
    except (binascii.Error, ValueError) as error:
        raise FormatError(f"log proof: expected a hash in base64, found {line[:80]!r}") from error
    if len(value) != HASH_SIZE or base64.b64encode(value) != line:
        raise FormatError(f"log proof: expected {HASH_SIZE} bytes in base64, found {line[:80]!r}")
    return value
