"""The file `clip` and the tree that is made again from it, as docs/format.md has them."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator

from reference_format import Bytes, h, need, split


class PartialTree:
    """A tree of which only the leaves in `ranges` are shown."""

    def __init__(self, data: bytes) -> None:
        source = Bytes(data)
        need(source.take(4) == b"SRCC", "clip: no magic")
        need(source.number(1) == 1, "clip: another version", "UNSUPPORTED")
        self.size = source.number(8)
        pairs = [(source.number(8), source.number(8)) for _ in range(source.number(4))]
        self.ranges = pairs
        self.hashes = [source.take(32) for _ in range(source.number(4))]
        need(source.at == len(data), "clip: bytes behind the hashes")
        behind = -1
        for begin, end in pairs:
            need(behind < begin < end <= self.size, "clip: ranges")
            behind = end
        self._hidden: dict[tuple[int, int], bytes] = {}

    def shown(self, index: int) -> bool:
        place = bisect_right(self.ranges, (index, self.size)) - 1
        return place >= 0 and self.ranges[place][0] <= index < self.ranges[place][1]

    @property
    def count(self) -> int:
        """How many records are shown."""
        return sum(end - begin for begin, end in self.ranges)

    def root(self, leaves: dict[int, bytes]) -> bytes:
        """The root of the whole tree; from then on those of smaller ones can be asked for."""
        hashes = iter(self.hashes)
        self._hidden = {}
        need(self.size > 0, "clip: an empty tree")
        value = self._subtree(0, self.size, leaves, hashes)
        need(next(hashes, None) is None, "clip: more hashes than hidden subtrees")
        return value

    def root_at(self, size: int, leaves: dict[int, bytes]) -> bytes:
        """The root of the first `size` leaves, the last of which is shown."""
        need(size > 0 and self.shown(size - 1), f"size {size}: its last record is not shown")
        self.root(leaves)
        return self._subtree(0, size, leaves, iter(()))

    def _subtree(
        self, begin: int, end: int, leaves: dict[int, bytes], hashes: Iterator[bytes]
    ) -> bytes:
        if (begin, end) in self._hidden:
            return self._hidden[begin, end]
        if not any(b < end and begin < e for b, e in self.ranges):
            value = next(hashes, b"")
            need(value, "clip: fewer hashes than hidden subtrees")
            self._hidden[begin, end] = value
            return value
        if end - begin == 1:
            return h(b"\x00" + leaves[begin])
        middle = begin + split(end - begin)
        left = self._subtree(begin, middle, leaves, hashes)
        return h(b"\x01" + left + self._subtree(middle, end, leaves, hashes))


def hidden_subtrees(begin: int, end: int, ranges: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Those that remain when a subtree is split wherever it holds shown and hidden records."""
    if not any(b < end and begin < e for b, e in ranges):
        return [(begin, end)]
    if any(b <= begin and end <= e for b, e in ranges):
        return []
    middle = begin + split(end - begin)
    return [*hidden_subtrees(begin, middle, ranges), *hidden_subtrees(middle, end, ranges)]
