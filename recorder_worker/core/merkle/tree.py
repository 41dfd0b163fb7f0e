"""Merkle trees of exact RFC 6962 / RFC 9162 shape, over any hash of 32 bytes.

leaf = H(0x00 ‖ record), node = H(0x01 ‖ left ‖ right), the empty tree is H(""), and a tree of n
leaves is split at the largest power of two below n. The prefixes are plain bytes rather than
BLAKE3's keyed or derive-key modes: any RFC 6962 code with another hash plugged in checks us.

A `Frontier` (a compact range that begins at 0) is all that a writer carries: the roots of the
complete subtrees along the right edge, one for each bit set in the size. A `Tree` keeps every
level and makes proofs.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable

import msgspec
from blake3 import blake3

from recorder_worker.core.errors import FormatError

HASH_SIZE = 32
MAX_SIZE = 2**63 - 1


class TreeHash(msgspec.Struct, frozen=True):
    """A hash function with the three uses a tree makes of it (RFC 9162 §2.1.1)."""

    name: str
    digest: Callable[[bytes], bytes]

    def empty(self) -> bytes:
        """The root of a tree without leaves."""
        return self.digest(b"")

    def leaf(self, record: bytes) -> bytes:
        """The hash of one leaf."""
        return self.digest(b"\x00" + record)

    def node(self, left: bytes, right: bytes) -> bytes:
        """The hash of an inner node."""
        return self.digest(b"\x01" + left + right)


def _blake3(data: bytes) -> bytes:
    return blake3(data).digest()


def _sha256(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


BLAKE3 = TreeHash(name="blake3", digest=_blake3)
SHA256 = TreeHash(name="sha256", digest=_sha256)


class Frontier(msgspec.Struct, frozen=True):
    """The right edge of a growing tree: `nodes` holds one subtree root per set bit of `size`.

    The largest subtree stands first. Immutable: `append` gives the next frontier, so that a
    writer that fails half way still has the one before.
    """

    size: int = 0
    nodes: tuple[bytes, ...] = ()
    hasher: TreeHash = BLAKE3

    def append(self, leaf_hash: bytes) -> Frontier:
        """The frontier with one more leaf, given as its 32-byte leaf hash.

        Raises:
            FormatError: the hash is not 32 bytes long.
        """
        if len(leaf_hash) != HASH_SIZE:
            raise FormatError(
                f"leaf hash: expected {HASH_SIZE} bytes, got {len(leaf_hash)}; "
                "hash the record with TreeHash.leaf first"
            )
        nodes = list(self.nodes)
        node, size = leaf_hash, self.size
        while size & 1:
            node = self.hasher.node(nodes.pop(), node)
            size >>= 1
        nodes.append(node)
        return Frontier(self.size + 1, tuple(nodes), self.hasher)

    def root(self) -> bytes:
        """The root hash of the tree, 32 bytes."""
        if not self.nodes:
            return self.hasher.empty()
        node = self.nodes[-1]
        for left in reversed(self.nodes[:-1]):
            node = self.hasher.node(left, node)
        return node

    def to_bytes(self) -> bytes:
        """The size as u64, then the nodes: 32 bytes for each set bit of the size."""
        return self.size.to_bytes(8, "big") + b"".join(self.nodes)

    @classmethod
    def from_bytes(cls, data: bytes, hasher: TreeHash = BLAKE3) -> Frontier:
        """Read what `to_bytes` wrote.

        Raises:
            FormatError: the length does not fit the size that stands in front.
        """
        size = int.from_bytes(data[:8], "big")
        expected = 8 + HASH_SIZE * size.bit_count()
        if len(data) < 8 or size > MAX_SIZE or len(data) != expected:
            raise FormatError(
                f"frontier: expected {expected} bytes for a tree of {size} leaves, got "
                f"{len(data)}; rebuild it from the leaf records"
            )
        starts = range(8, len(data), HASH_SIZE)
        return cls(size, tuple(data[at : at + HASH_SIZE] for at in starts), hasher)


def frontier_of(leaf_hashes: Iterable[bytes], hasher: TreeHash = BLAKE3) -> Frontier:
    """The frontier over all given leaf hashes."""
    frontier = Frontier(hasher=hasher)
    for leaf_hash in leaf_hashes:
        frontier = frontier.append(leaf_hash)
    return frontier


class Tree:
    """All levels of a tree in memory: 64 bytes a leaf, proofs in O(log² n) hashes."""

    def __init__(self, leaf_hashes: Iterable[bytes] = (), hasher: TreeHash = BLAKE3) -> None:
        self.hasher = hasher
        self._levels: list[list[bytes]] = [[]]
        for leaf_hash in leaf_hashes:
            self.append(leaf_hash)

    @property
    def size(self) -> int:
        """How many leaves there are."""
        return len(self._levels[0])

    def append(self, leaf_hash: bytes) -> None:
        """Add one leaf by its hash."""
        node = leaf_hash
        for level in self._levels:
            level.append(node)
            if len(level) % 2:
                return
            node = self.hasher.node(level[-2], node)
        self._levels.append([node])

    def root(self, size: int | None = None) -> bytes:
        """The root hash of the first `size` leaves; of all where it is None."""
        size = self.size if size is None else size
        return self.hasher.empty() if size == 0 else self.subtree(0, size)

    def subtree(self, begin: int, end: int) -> bytes:
        """The root of leaves [begin, end): one side of a split that RFC 9162 §2.1.1 makes.

        Raises:
            ValueError: there are no such leaves.
        """
        count = end - begin
        if count < 1 or begin < 0 or end > self.size:
            raise ValueError(f"leaves [{begin}, {end}): expected a part of [0, {self.size})")
        split = split_point(count)
        if split * 2 == count or count == 1:
            level = count.bit_length() - 1
            return self._levels[level][begin >> level]
        return self.hasher.node(
            self.subtree(begin, begin + split), self.subtree(begin + split, end)
        )


def split_point(count: int) -> int:
    """The largest power of two below `count`; 0 where there is nothing to split."""
    return 1 << (count - 1).bit_length() - 1 if count > 1 else 0
