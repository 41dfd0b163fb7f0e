"""Inclusion and consistency proofs of RFC 9162, with exactly the hashes that are needed.

Made as §2.1.3.1 and §2.1.4.1 say, verified as §2.1.3.2 and §2.1.4.2 say. A proof authenticates a
leaf under a root. It does *not* authenticate the index or the size that it is verified with:
other pairs can verify with the same hashes. So the index stands inside each record and the size
inside the signed text, and whoever verifies compares both.
"""

from __future__ import annotations

from collections.abc import Sequence

from recorder_worker.core.errors import PermanentError
from recorder_worker.core.merkle.tree import BLAKE3, HASH_SIZE, Tree, TreeHash, split_point


class ProofError(PermanentError):
    """A proof or a signature does not verify."""


def inclusion_proof(tree: Tree, index: int, size: int) -> list[bytes]:
    """The hashes that lead from leaf `index` to the root of the first `size` leaves.

    Raises:
        ValueError: the leaf is not in a tree of that size, or the tree is smaller.
    """
    if not 0 <= index < size <= tree.size:
        raise ValueError(f"expected 0 <= {index} < {size} <= {tree.size} (index, size, leaves)")
    return _inclusion(tree, index, 0, size)


def _inclusion(tree: Tree, index: int, begin: int, end: int) -> list[bytes]:
    if end - begin == 1:
        return []
    middle = begin + split_point(end - begin)
    if index < middle:
        return [*_inclusion(tree, index, begin, middle), tree.subtree(middle, end)]
    return [*_inclusion(tree, index, middle, end), tree.subtree(begin, middle)]


def consistency_proof(tree: Tree, first: int, second: int) -> list[bytes]:
    """The hashes that show that the first `first` of `second` leaves were not changed.

    Empty where `first` is 0 or equals `second`: then there is nothing to show.

    Raises:
        ValueError: the sizes are not ascending, or the tree is smaller.
    """
    if not 0 <= first <= second <= tree.size:
        raise ValueError(f"expected 0 <= {first} <= {second} <= {tree.size} (sizes, leaves)")
    if first in {0, second}:
        return []
    return _consistency(tree, first, (0, second), whole=True)


def _consistency(tree: Tree, first: int, span: tuple[int, int], *, whole: bool) -> list[bytes]:
    begin, end = span
    if first == end:
        return [] if whole else [tree.subtree(begin, end)]
    middle = begin + split_point(end - begin)
    if first <= middle:
        left = _consistency(tree, first, (begin, middle), whole=whole)
        return [*left, tree.subtree(middle, end)]
    right = _consistency(tree, first, (middle, end), whole=False)
    return [*right, tree.subtree(begin, middle)]


def verify_inclusion(
    *,
    leaf_hash: bytes,
    index: int,
    size: int,
    proof: Sequence[bytes],
    root: bytes,
    hasher: TreeHash = BLAKE3,
) -> None:
    """Check that a leaf is under a root (RFC 9162 §2.1.3.2).

    Raises:
        ProofError: it is not, or the proof does not have the exact form that it needs.
    """
    if not 0 <= index < size:
        raise ProofError(f"inclusion: expected an index in [0, {size}), got {index}")
    _check_hashes(leaf_hash, root, *proof)
    node_index, last, node = index, size - 1, leaf_hash
    for sibling in proof:
        if last == 0:
            raise ProofError(f"inclusion: {len(proof)} hashes are too many for size {size}")
        if node_index & 1 or node_index == last:
            node = hasher.node(sibling, node)
            while node_index and not node_index & 1:
                node_index, last = node_index >> 1, last >> 1
        else:
            node = hasher.node(node, sibling)
        node_index, last = node_index >> 1, last >> 1
    if last != 0:
        raise ProofError(f"inclusion: {len(proof)} hashes are too few for size {size}")
    if node != root:
        raise ProofError(f"inclusion: expected root {root.hex()}, the proof gives {node.hex()}")


def verify_consistency(
    *,
    first: int,
    second: int,
    first_root: bytes,
    second_root: bytes,
    proof: Sequence[bytes],
    hasher: TreeHash = BLAKE3,
) -> None:
    """Check that the tree of `second` leaves begins with the tree of `first` (RFC 9162 §2.1.4.2).

    The RFC defines it for 0 < first < second. Beyond that: equal sizes need equal roots, the
    empty tree needs its own root, and both need an empty proof.

    Raises:
        ProofError: it does not, or the proof does not have the exact form that it needs.
    """
    if not 0 <= first <= second:
        raise ProofError(f"consistency: expected 0 <= first <= second, got {first} and {second}")
    _check_hashes(first_root, second_root, *proof)
    if first in {0, second}:
        expected = second_root if first == second else hasher.empty()
        if proof or first_root != expected:
            raise ProofError(
                f"consistency of {first} and {second}: expected no hashes and the root "
                f"{expected.hex()}, got {len(proof)} hashes and {first_root.hex()}"
            )
        return
    roots = _consistent_roots(first, second, first_root, proof, hasher)
    if roots != (first_root, second_root):
        raise ProofError(
            f"consistency of {first} and {second}: expected roots {first_root.hex()} and "
            f"{second_root.hex()}, the proof gives {roots[0].hex()} and {roots[1].hex()}"
        )


def _consistent_roots(
    first: int, second: int, first_root: bytes, proof: Sequence[bytes], hasher: TreeHash
) -> tuple[bytes, bytes]:
    """Both roots as the proof gives them, with the RFC's own fn, sn, fr and sr."""
    # A first tree that is one complete subtree is itself the first node, and is left out.
    path = [first_root, *proof] if first & (first - 1) == 0 else list(proof)
    fn, sn = first - 1, second - 1
    while fn & 1:
        fn, sn = fn >> 1, sn >> 1
    if not proof or not path:
        raise ProofError(f"consistency of {first} and {second}: no hashes are too few")
    fr = sr = path[0]
    for node in path[1:]:
        if sn == 0:
            raise ProofError(f"consistency: {len(proof)} hashes are too many for {second} leaves")
        if fn & 1 or fn == sn:
            fr, sr = hasher.node(node, fr), hasher.node(node, sr)
            while fn and not fn & 1:
                fn, sn = fn >> 1, sn >> 1
        else:
            sr = hasher.node(sr, node)
        fn, sn = fn >> 1, sn >> 1
    if sn != 0:
        raise ProofError(f"consistency: {len(proof)} hashes are too few for {second} leaves")
    return fr, sr


def _check_hashes(*hashes: bytes) -> None:
    for value in hashes:
        if len(value) != HASH_SIZE:
            raise ProofError(f"a hash: expected {HASH_SIZE} bytes, got {len(value)}")
