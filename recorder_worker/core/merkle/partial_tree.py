"""Trees of which only some leaves are shown: many inclusion proofs in one, with no hash twice.

Of a tree of n leaves some ranges are *revealed*. Everything else is told by its hashes alone, as
few as can be: walk the tree of RFC 9162 §2.1.1 from its root, split every subtree that holds both
kinds of leaves, leave those that are revealed as a whole to whoever has the leaves, and write down
the root of each subtree that holds no revealed leaf. Read from left to right these are the *hidden
subtrees*. For one leaf they are the inclusion proof of RFC 9162 §2.1.3 (there listed from the leaf
up), for one range those of the two compact ranges beside it (github.com/transparency-dev/merkle,
compact/range.go); here any number of ranges share them.

To rebuild, leaves and hidden subtrees are appended from left to right, and equal neighbours join:
that is a compact range from 0, the frontier of tree.py, which also takes whole subtrees. All
but the last of its nodes are perfect; its root is folded from the right.

The same hashes give the root of *every* smaller tree whose last leaf is revealed. For a hidden
subtree that began before that leaf and ended behind it would hold it; so each one lies wholly on
one side, and the trees share all nodes that are perfect. One proof of OPEN, of all EPOCHs, of a
range of chunks and of the last leaf therefore serves every checkpoint over one of these.

As with every Merkle proof, size and indices are what the prover says: the size has to be compared
with a signed text, each index with the one inside its record.

Interface: `LeafRange(begin, end)`; `check_ranges(size, ranges)`; `hidden_spans(size, ranges)`;
`hidden_subtrees(size, ranges, leaf_hashes_of_the_whole_tree) -> list[bytes]`;
`PartialTree(size, ranges, revealed_leaf_hashes, hidden_hashes).root(m)`.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence

import msgspec

from recorder_worker.core.merkle.proofs import ProofError
from recorder_worker.core.merkle.tree import (
    BLAKE3,
    HASH_SIZE,
    MAX_SIZE,
    TreeHash,
    frontier_of,
    split_point,
)


class LeafRange(msgspec.Struct, frozen=True, order=True):
    """Leaves [begin, end) of a tree, by their indices."""

    begin: int
    end: int

    def __contains__(self, index: int) -> bool:
        return self.begin <= index < self.end


def ranges_of(indices: Iterable[int]) -> tuple[LeafRange, ...]:
    """The ranges that hold exactly these indices: ascending, and none touches the next."""
    ranges: list[LeafRange] = []
    for index in sorted(set(indices)):
        if ranges and ranges[-1].end == index:
            ranges[-1] = LeafRange(ranges[-1].begin, index + 1)
        else:
            ranges.append(LeafRange(index, index + 1))
    return tuple(ranges)


def check_ranges(size: int, ranges: Sequence[LeafRange]) -> None:
    """One set of revealed leaves has one list of ranges.

    Raises:
        ProofError: there is none; one is empty, or outside of the tree; they are not ascending,
            or two touch.
    """
    if not 0 < size <= MAX_SIZE:
        raise ProofError(f"partial tree: expected a size in [1, {MAX_SIZE}], got {size}")
    if not ranges:
        raise ProofError("partial tree: expected at least one range of revealed leaves, got none")
    end = -1
    for found in ranges:
        if not end < found.begin < found.end <= size:
            raise ProofError(
                f"partial tree of {size} leaves: expected a range that is not empty and begins "
                f"behind {end}, got [{found.begin}, {found.end}); ranges ascend and do not touch"
            )
        end = found.end


def hidden_spans(size: int, ranges: Sequence[LeafRange]) -> Iterator[LeafRange]:
    """The hidden subtrees, from left to right, each by the leaves that it holds.

    Raises:
        ProofError: as `check_ranges`, before the first is given.
    """
    check_ranges(size, ranges)
    yield from _hidden(LeafRange(0, size), ranges)


def _hidden(span: LeafRange, revealed: Sequence[LeafRange]) -> Iterator[LeafRange]:
    """`revealed` are the ranges that reach into the span: of others nothing is asked again."""
    if not revealed:
        yield span
        return
    if revealed[0].begin <= span.begin and span.end <= revealed[0].end:
        return
    middle = span.begin + split_point(span.end - span.begin)
    yield from _hidden(
        LeafRange(span.begin, middle), [found for found in revealed if found.begin < middle]
    )
    yield from _hidden(
        LeafRange(middle, span.end), [found for found in revealed if found.end > middle]
    )


def hidden_subtrees(
    size: int,
    ranges: Sequence[LeafRange],
    leaf_hashes: Iterable[bytes],
    hasher: TreeHash = BLAKE3,
) -> list[bytes]:
    """The hashes that show the leaves in `ranges` to be in the tree of the first `size` leaves.

    `leaf_hashes` are those of the whole tree, in order; they are read once and not kept.

    Raises:
        ProofError: as `check_ranges`, or there are fewer leaves than `size`.
    """
    hashes: list[bytes] = []
    leaves = iter(leaf_hashes)
    at = 0
    for span in hidden_spans(size, ranges):
        at += _skip(leaves, span.begin - at)
        subtree = frontier_of(itertools.islice(leaves, span.end - span.begin), hasher)
        hashes.append(subtree.root())
        at += subtree.size
    at += _skip(leaves, size - at)
    if at != size:
        raise ProofError(f"partial tree: expected {size} leaves of the whole tree, got {at}")
    return hashes


def _skip(leaves: Iterator[bytes], count: int) -> int:
    return sum(1 for _ in itertools.islice(leaves, count))


class PartialTree:
    """A tree rebuilt from its revealed leaves and the hashes of its hidden subtrees.

    `leaf_hashes` are those of the revealed leaves, in order over all ranges; `hashes` are what
    `hidden_subtrees` gave. Keeps the root behind each revealed leaf and nothing else.

    Raises:
        ProofError: the ranges are not in their one form; there are too few or too many leaves or
            hashes, or one is not 32 bytes long.
    """

    def __init__(
        self,
        size: int,
        ranges: Sequence[LeafRange],
        leaf_hashes: Iterable[bytes],
        hashes: Iterable[bytes],
        hasher: TreeHash = BLAKE3,
    ) -> None:
        self.size = size
        self._roots: dict[int, bytes] = {}
        self._range = _CompactRange(hasher)
        leaves, hidden = iter(leaf_hashes), iter(hashes)
        for span in hidden_spans(size, ranges):
            self._reveal(span.begin, leaves)
            self._range.append(_next(hidden, "hashes of hidden subtrees"), span.end)
        self._reveal(size, leaves)
        _none_left(leaves, "revealed leaves")
        _none_left(hidden, "hashes of hidden subtrees")
        self._roots[size] = self._range.root()

    def _reveal(self, end: int, leaves: Iterator[bytes]) -> None:
        """Take the leaves up to the next hidden subtree: they are all revealed."""
        while self._range.end < end:
            self._range.append(_next(leaves, "revealed leaves"), self._range.end + 1)
            self._roots[self._range.end] = self._range.root()

    def root(self, size: int | None = None) -> bytes:
        """The root of the first `size` leaves, 32 bytes; of all where it is None.

        Raises:
            ProofError: leaf `size` - 1 is not revealed, so the root cannot be told.
        """
        wanted = self.size if size is None else size
        if wanted not in self._roots:
            raise ProofError(
                f"partial tree of {self.size} leaves: expected a size whose last leaf is "
                f"revealed, got {wanted}"
            )
        return self._roots[wanted]


class _CompactRange:
    """Leaves [0, end) as roots of subtrees, the largest first, each with its number of leaves.

    Only the last may be one that is not perfect: it ends the tree, and nothing is joined with it.
    """

    def __init__(self, hasher: TreeHash) -> None:
        self.end = 0
        self._nodes: list[tuple[int, bytes]] = []
        self._hasher = hasher

    def append(self, node: bytes, end: int) -> None:
        """Add the subtree of leaves [self.end, end)."""
        if len(node) != HASH_SIZE:
            raise ProofError(f"partial tree: expected {HASH_SIZE} bytes of hash, got {len(node)}")
        count = end - self.end
        perfect = count & (count - 1) == 0
        while perfect and self._nodes and self._nodes[-1][0] == count:
            node = self._hasher.node(self._nodes.pop()[1], node)
            count *= 2
        self._nodes.append((count, node))
        self.end = end

    def root(self) -> bytes:
        """Folded from the right, as the shape of RFC 9162 §2.1.1 asks."""
        node = self._nodes[-1][1]
        for _, left in reversed(self._nodes[:-1]):
            node = self._hasher.node(left, node)
        return node


def _next(values: Iterator[bytes], what: str) -> bytes:
    value = next(values, None)
    if value is None:
        raise ProofError(f"partial tree: there are too few {what} for its size and ranges")
    return value


def _none_left(values: Iterator[bytes], what: str) -> None:
    if next(values, None) is not None:
        raise ProofError(f"partial tree: there are too many {what} for its size and ranges")
