"""What stands in tiles and entry bundles (c2sp.org/tlog-tiles, "Log entries").

A tile is its hashes one behind the other; a bundle is entries, each behind its length as u16.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from recorder_worker.core.errors import BlobMissingError, FormatError
from recorder_worker.core.merkle.tree import HASH_SIZE
from recorder_worker.core.session_log.tile_names import TILE_WIDTH, bundle_name, tile_name

Read = Callable[[str], bytes]
"""Gives the bytes behind a name in the log. Raises BlobMissingError where there are none."""


def read_tile(read: Read, level: int, index: int, width: int) -> list[bytes]:
    """The first `width` hashes of a tile.

    Where the partial tile is gone the full one is as good: it begins with the same hashes, and a
    log may remove partial tiles once the full one is there.

    Raises:
        BlobMissingError: neither is there.
        FormatError: the file has not the length of its width.
    """
    name, data = _read_either(read, tile_name(level, index, width), tile_name(level, index))
    expected = (width if name.endswith(f".p/{width}") else TILE_WIDTH) * HASH_SIZE
    if len(data) != expected:
        raise FormatError(f"{name}: expected {expected} bytes, found {len(data)}")
    return [data[at : at + HASH_SIZE] for at in range(0, width * HASH_SIZE, HASH_SIZE)]


def read_bundle(read: Read, index: int, width: int) -> list[bytes]:
    """The first `width` entries of a bundle. Raises as `read_tile`."""
    name, data = _read_either(read, bundle_name(index, width), bundle_name(index))
    expected = width if name.endswith(f".p/{width}") else TILE_WIDTH
    entries = split_bundle(data)
    if len(entries) != expected:
        raise FormatError(f"{name}: expected {expected} entries, found {len(entries)}")
    return entries[:width]


def join_bundle(entries: Sequence[bytes]) -> bytes:
    """The bytes of a bundle."""
    return b"".join(len(entry).to_bytes(2, "big") + entry for entry in entries)


def split_bundle(data: bytes) -> list[bytes]:
    """The entries of a bundle. Raises FormatError."""
    entries = []
    at = 0
    while at < len(data):
        end = at + 2 + int.from_bytes(data[at : at + 2], "big")
        if end > len(data) or at + 2 > len(data):
            raise FormatError(f"entry bundle: expected {end - at} more bytes, found fewer")
        entries.append(data[at + 2 : end])
        at = end
    return entries


def _read_either(read: Read, name: str, full: str) -> tuple[str, bytes]:
    try:
        return name, read(name)
    except BlobMissingError:
        if name == full:
            raise
    try:
        return full, read(full)
    except BlobMissingError as error:
        raise BlobMissingError(f"expected {name} or {full} in the log, found neither") from error
