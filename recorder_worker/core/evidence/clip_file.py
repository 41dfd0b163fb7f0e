"""The file `clip` of a clip folder: which leaves of which tree are shown, and what hides the rest.

A table of fields, as those of the records: docs/format.md prints it. One encoding, strictly read.
Which records the ranges hold stands in the file `records`, in order; partial_tree.py rebuilds
the tree from both.

Interface: `ClipFile(size, ranges, hashes)`; `encode_clip`; `decode_clip`. The number of hashes is
held by `PartialTree`, which needs exactly as many.
"""

from __future__ import annotations

import msgspec

from recorder_worker.core.errors import FormatError, UnsupportedError
from recorder_worker.core.merkle.partial_tree import LeafRange, check_ranges
from recorder_worker.core.merkle.proofs import ProofError
from recorder_worker.core.records.binary import (
    BYTES4,
    BYTES32,
    U8,
    U64,
    Cursor,
    Fields,
    long_sequence,
    read_fields,
    structure,
    write_fields,
)

MAGIC = b"SRCC"
VERSION = 1
MAX_CLIP_SIZE = 64 * 1024 * 1024
"""Bytes of the largest file `clip`: two million hashes."""

RANGE = structure(LeafRange, (("begin", U64), ("end", U64)), kind="leaf range")
PREFIX: Fields = (("magic", BYTES4), ("version", U8))
CLIP: Fields = (
    ("size", U64),
    ("ranges", long_sequence(RANGE)),
    ("hashes", long_sequence(BYTES32)),
)


class ClipFile(msgspec.Struct, frozen=True, kw_only=True):
    """What the file says: tree size, ranges of revealed leaves, roots of the hidden subtrees."""

    size: int
    ranges: tuple[LeafRange, ...]
    hashes: tuple[bytes, ...]


def encode_clip(clip: ClipFile) -> bytes:
    """The bytes of the file.

    Raises:
        FormatError: the ranges are not in their one form, or it grows too large.
    """
    _check(clip)
    data = MAGIC + bytes([VERSION]) + write_fields(clip, CLIP)
    if len(data) > MAX_CLIP_SIZE:
        raise FormatError(
            f"clip: expected at most {MAX_CLIP_SIZE} bytes, got {len(data)}; take a clip of a "
            "session with fewer epochs, or the whole recording"
        )
    return data


def decode_clip(data: bytes) -> ClipFile:
    """Read the file strictly: `encode_clip` gives the same bytes again.

    Raises:
        FormatError: the bytes are not such a file.
        UnsupportedError: they are one of a version that this program does not know.
    """
    if len(data) > MAX_CLIP_SIZE:
        raise FormatError(f"clip: expected at most {MAX_CLIP_SIZE} bytes, found {len(data)}")
    cursor = Cursor(data)
    prefix = read_fields(cursor, PREFIX)
    if prefix["magic"] != MAGIC:
        raise FormatError(f"clip: expected it to begin with {MAGIC!r}, found {data[:4]!r}")
    if prefix["version"] != VERSION:
        raise UnsupportedError(
            f"clip: expected version {VERSION}, found {prefix['version']}; "
            "use a verifier that knows it"
        )
    clip = ClipFile(**read_fields(cursor, CLIP))
    cursor.end()
    _check(clip)
    return clip


def _check(clip: ClipFile) -> None:
    try:
        check_ranges(clip.size, clip.ranges)
    except ProofError as error:
        raise FormatError(f"clip: {error}") from error
