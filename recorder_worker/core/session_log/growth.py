"""What has to be written when the log of sessions grows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from recorder_worker.core.merkle.tree import SHA256, frontier_of
from recorder_worker.core.session_log.entries import entry_hash
from recorder_worker.core.session_log.tile_bytes import Read, join_bundle, read_bundle, read_tile
from recorder_worker.core.session_log.tile_names import TILE_WIDTH, bundle_name, tile_name


def growth(read: Read, size: int, entries: Sequence[bytes]) -> Iterator[tuple[str, bytes]]:
    """Names and bytes of all tiles and bundles that change when entries come behind `size` others.

    Bundles first, then the tiles from the lowest level up. Only what the new size needs is made:
    no partial tile of a size in between. The right edge of the old size is read.

    Raises:
        BlobMissingError, FormatError: the right edge is not as it should be.
    """
    yield from _bundles(read, size, entries)
    hashes = [entry_hash(entry) for entry in entries]
    level, begin = 0, size
    while hashes:
        index, width = divmod(begin, TILE_WIDTH)
        held = read_tile(read, level, index, width) if width else []
        filled = []
        for tile in _cut([*held, *hashes]):
            yield tile_name(level, index, len(tile)), b"".join(tile)
            index += 1
            if len(tile) == TILE_WIDTH:
                filled.append(frontier_of(tile, SHA256).root())
        level, begin, hashes = level + 1, begin // TILE_WIDTH, filled


def _bundles(read: Read, size: int, entries: Sequence[bytes]) -> Iterator[tuple[str, bytes]]:
    if not entries:
        return
    index, width = divmod(size, TILE_WIDTH)
    held = read_bundle(read, index, width) if width else []
    for at, bundle in enumerate(_cut([*held, *entries]), start=index):
        yield bundle_name(at, len(bundle)), join_bundle(bundle)


def _cut(items: list[bytes]) -> Iterator[list[bytes]]:
    for at in range(0, len(items), TILE_WIDTH):
        yield items[at : at + TILE_WIDTH]
