"""A whole log of sessions, read from its files and held against its checkpoint.

Every entry is hashed, every tile rebuilt from the hashes and compared byte by byte, and the root
compared with the one that was signed. The signature itself is checked by `verify_log_note`.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from recorder_worker.core import keys
from recorder_worker.core.errors import BlobMissingError, FormatError
from recorder_worker.core.merkle.proofs import ProofError
from recorder_worker.core.merkle.tree import SHA256, frontier_of
from recorder_worker.core.session_log.entries import LogEntry, decode_entry, entry_hash
from recorder_worker.core.session_log.tile_bytes import Read, read_bundle, read_tile
from recorder_worker.core.session_log.tile_names import TILE_WIDTH, tile_name, width_at
from recorder_worker.core.session_log.tiled_tree import TiledTree
from recorder_worker.core.signing.note import (
    NoteKey,
    SignatureType,
    SignedNote,
    parse_note,
    verify_note,
)


class StoredLog(msgspec.Struct, frozen=True, kw_only=True):
    """A log whose files agree with each other. `tree` reads from them."""

    checkpoint: SignedNote
    entries: tuple[LogEntry, ...]
    tree: TiledTree


def log_key(origin: str, public_key: bytes) -> NoteKey:
    """A device's Ed25519 key (32 bytes) as the one that signs a log."""
    return NoteKey(name=origin, public_key=public_key, type=SignatureType.ED25519)


def verify_log_note(note: SignedNote, origin: str, public_key: bytes) -> None:
    """Check that a checkpoint is of this log and signed by this device key. Raises ProofError."""
    if note.head.origin != origin:
        raise ProofError(f"expected a checkpoint of {origin}, found one of {note.head.origin}")
    verify_note(note, log_key(origin, public_key))


def read_checkpoint(read: Read) -> SignedNote | None:
    """The newest checkpoint; None where the log has none yet. Raises FormatError."""
    try:
        return parse_note(read(keys.LOG_CHECKPOINT))
    except BlobMissingError:
        return None


def read_entries(read: Read, begin: int, size: int) -> list[bytes]:
    """Entries [begin, size) of a log of `size`, as bytes, not verified.

    Raises:
        BlobMissingError, FormatError: a bundle is not as it should be.
    """
    found: list[bytes] = []
    first = begin // TILE_WIDTH
    for index in range(first, -(-size // TILE_WIDTH)):
        found += read_bundle(read, index, width_at(size, 0, index))
    return found[begin - first * TILE_WIDTH :]


def check_log(read: Read, checkpoint: SignedNote) -> StoredLog:
    """Hold all files of a log against a checkpoint.

    Raises:
        ProofError: they do not rebuild its root.
        BlobMissingError, FormatError: one is missing, or is not what its name says.
    """
    head = checkpoint.head
    entries = read_entries(read, 0, head.tree_size)
    _compare_tiles(read, entries)
    tree = TiledTree(read, head.tree_size)
    if tree.root() != head.root_hash:
        raise ProofError(
            f"the log's {head.tree_size} entries: expected the signed root "
            f"{head.root_hash.hex()}, they give {tree.root().hex()}"
        )
    decoded = []
    for index, data in enumerate(entries):
        try:
            decoded.append(decode_entry(data))
        except FormatError as error:
            raise type(error)(f"entry {index}: {error}") from error
    return StoredLog(checkpoint=checkpoint, entries=tuple(decoded), tree=tree)


def _compare_tiles(read: Read, entries: Sequence[bytes]) -> None:
    """Rebuild every tile from the entries, and compare."""
    level, hashes = 0, [entry_hash(entry) for entry in entries]
    while hashes:
        tiles = [hashes[at : at + TILE_WIDTH] for at in range(0, len(hashes), TILE_WIDTH)]
        for index, tile in enumerate(tiles):
            if read_tile(read, level, index, len(tile)) != tile:
                raise ProofError(
                    f"{tile_name(level, index, len(tile))}: expected the hashes that the entries "
                    "give, found others"
                )
        full = [tile for tile in tiles if len(tile) == TILE_WIDTH]
        level, hashes = level + 1, [frontier_of(tile, SHA256).root() for tile in full]
