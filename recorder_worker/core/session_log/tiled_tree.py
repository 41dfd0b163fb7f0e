"""A tree whose hashes lie in C2SP tiles: roots and proofs from a few small files."""

from __future__ import annotations

from recorder_worker.core.merkle.tree import SHA256, Tree, frontier_of, split_point
from recorder_worker.core.session_log.tile_bytes import Read, read_tile
from recorder_worker.core.session_log.tile_names import TILE_HEIGHT, TILE_WIDTH, width_at


class TiledTree(Tree):
    """The tree of a log of `size` entries, for `core/merkle/proofs.py`; every tile is read once.

    What it reads may raise BlobMissingError or FormatError at any use. A hash that was changed
    shows in the root: whoever uses this compares `root()` with the signed one first.
    """

    def __init__(self, read: Read, size: int) -> None:
        super().__init__(hasher=SHA256)
        self._read = read
        self._size = size
        self._tiles: dict[tuple[int, int], list[bytes]] = {}

    @property
    def size(self) -> int:
        """How many entries there are."""
        return self._size

    def append(self, leaf_hash: bytes) -> None:
        """Nothing can be appended here: `growth` says what a log writes."""
        raise TypeError(f"cannot append {leaf_hash.hex()}: the tree of stored tiles is read-only")

    def subtree(self, begin: int, end: int) -> bytes:
        """The root of entries [begin, end): one side of a split that RFC 9162 §2.1.1 makes.

        Raises:
            ValueError: there are no such entries.
            BlobMissingError, FormatError: the tiles are not as they should be.
        """
        count = end - begin
        if count < 1 or begin < 0 or end > self.size:
            raise ValueError(f"entries [{begin}, {end}): expected a part of [0, {self.size})")
        split = split_point(count)
        if count > 1 and split * 2 != count:
            left, right = self.subtree(begin, begin + split), self.subtree(begin + split, end)
            return SHA256.node(left, right)
        # A perfect subtree: 1 to 128 neighbours of the tile of its level.
        level = (count.bit_length() - 1) // TILE_HEIGHT
        first = begin >> (TILE_HEIGHT * level)
        index, at = divmod(first, TILE_WIDTH)
        hashes = self._tile(level, index)[at : at + (count >> (TILE_HEIGHT * level))]
        return frontier_of(hashes, SHA256).root()

    def _tile(self, level: int, index: int) -> list[bytes]:
        found = self._tiles.get((level, index))
        if found is None:
            found = read_tile(self._read, level, index, width_at(self.size, level, index))
            self._tiles[level, index] = found
        return found
