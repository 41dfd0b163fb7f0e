"""Proofs verify for what they prove, and for nothing else."""

from __future__ import annotations

import pymerkle
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recorder_worker.core.merkle.proofs import (
    ProofError,
    consistency_proof,
    inclusion_proof,
    verify_consistency,
    verify_inclusion,
)
from recorder_worker.core.merkle.tree import BLAKE3, SHA256, Tree, TreeHash

MOST = 33


def tree_of(size: int, hasher: TreeHash = BLAKE3) -> Tree:
    return Tree([hasher.leaf(b"leaf %d" % n) for n in range(size)], hasher)


def includes(tree: Tree, index: int, size: int, proof: list[bytes], root: bytes) -> None:
    leaf_hash = tree.hasher.leaf(b"leaf %d" % index)
    verify_inclusion(
        leaf_hash=leaf_hash, index=index, size=size, proof=proof, root=root, hasher=tree.hasher
    )


def consistent(tree: Tree, first: int, second: int, proof: list[bytes]) -> None:
    verify_consistency(
        first=first,
        second=second,
        first_root=tree.root(first),
        second_root=tree.root(second),
        proof=proof,
        hasher=tree.hasher,
    )


def test_every_leaf_of_every_size_is_included() -> None:
    tree = tree_of(MOST)
    for size in range(1, MOST + 1):
        for index in range(size):
            includes(tree, index, size, inclusion_proof(tree, index, size), tree.root(size))


def test_every_pair_of_sizes_is_consistent() -> None:
    tree = tree_of(MOST)
    for second in range(MOST + 1):
        for first in range(second + 1):
            consistent(tree, first, second, consistency_proof(tree, first, second))


def test_proofs_are_those_that_pymerkle_makes() -> None:
    """The shape is checked by code that is not ours (SHA-256)."""
    theirs = pymerkle.InmemoryTree(algorithm="sha256")
    ours = Tree(hasher=SHA256)
    for n in range(20):
        theirs.append_entry(b"leaf %d" % n)
        ours.append(SHA256.leaf(b"leaf %d" % n))
        assert ours.root() == theirs.get_root()
    for size in range(1, 21):
        for index in range(size):
            proof = theirs.prove_inclusion(index + 1, size)
            base = ours.hasher.leaf(b"leaf %d" % index)
            pymerkle.verify_inclusion(base, ours.root(size), proof)
            path = [bytes.fromhex(h) for h in proof.serialize()["path"]]
            assert set(inclusion_proof(ours, index, size)) <= set(path)
        for first in range(1, size):
            pymerkle.verify_consistency(
                ours.root(first), ours.root(size), theirs.prove_consistency(first, size)
            )


def test_an_index_beyond_the_tree_is_refused() -> None:
    tree = tree_of(4)
    for index in (-1, 4, 2**64):
        with pytest.raises(ProofError, match="index"):
            verify_inclusion(leaf_hash=bytes(32), index=index, size=4, proof=[], root=tree.root())


def test_a_proof_does_not_authenticate_index_and_size() -> None:
    """Why the index stands in the record and the size in the signed text."""
    others = 0
    for size in range(1, 9):
        tree = tree_of(size)
        for index in range(size):
            proof = inclusion_proof(tree, index, size)
            for other_size in range(1, 17):
                for other in range(other_size):
                    try:
                        verify_inclusion(
                            leaf_hash=BLAKE3.leaf(b"leaf %d" % index),
                            index=other,
                            size=other_size,
                            proof=proof,
                            root=tree.root(),
                        )
                    except ProofError:
                        continue
                    others += (other, other_size) != (index, size)
    assert others > 0


@given(st.integers(1, 64), st.data())
def test_no_other_hashes_prove_inclusion(size: int, data: st.DataObject) -> None:
    tree = tree_of(size)
    index = data.draw(st.integers(0, size - 1))
    proof = inclusion_proof(tree, index, size)
    wrong = data.draw(st.sampled_from(falsified(proof)))
    with pytest.raises(ProofError):
        includes(tree, index, size, wrong, tree.root())


@given(st.integers(2, 64), st.data())
def test_no_other_hashes_prove_consistency(second: int, data: st.DataObject) -> None:
    tree = tree_of(second)
    first = data.draw(st.integers(1, second - 1))
    wrong = data.draw(st.sampled_from(falsified(consistency_proof(tree, first, second))))
    with pytest.raises(ProofError):
        consistent(tree, first, second, wrong)


def falsified(proof: list[bytes]) -> list[list[bytes]]:
    """Hashes too many, too few, changed, swapped or of the wrong length."""
    found = [[*proof, bytes(32)], [bytes(32), *proof], [*proof, b""]]
    for n, value in enumerate(proof):
        found.append(proof[:n] + proof[n + 1 :])
        found.append([*proof[:n], bytes([value[0] ^ 1]) + value[1:], *proof[n + 1 :]])
        found.append([*proof[:n], value[:31], *proof[n + 1 :]])
        if n:
            found.append([*proof[: n - 1], value, proof[n - 1], *proof[n + 1 :]])
    return found


@pytest.mark.parametrize(("first", "second"), [(1, 2), (2, 3), (3, 7), (4, 7), (4, 8), (6, 8)])
def test_swapped_roots_are_not_consistent(first: int, second: int) -> None:
    tree = tree_of(second)
    with pytest.raises(ProofError):
        verify_consistency(
            first=first,
            second=second,
            first_root=tree.root(second),
            second_root=tree.root(first),
            proof=consistency_proof(tree, first, second),
        )


def test_equal_sizes_need_equal_roots_and_the_empty_tree_its_own() -> None:
    tree = tree_of(3)
    for first, root in ((3, tree.root(2)), (0, tree.root(3))):
        with pytest.raises(ProofError, match="no hashes"):
            verify_consistency(
                first=first, second=3, first_root=root, second_root=tree.root(3), proof=[]
            )
    with pytest.raises(ProofError, match="first <= second"):
        verify_consistency(first=4, second=3, first_root=bytes(32), second_root=bytes(32), proof=[])


def test_proofs_that_no_tree_has_are_not_made() -> None:
    tree = tree_of(3)
    for index, size in ((3, 3), (-1, 2), (0, 4), (0, 0)):
        with pytest.raises(ValueError, match="expected"):
            inclusion_proof(tree, index, size)
    for first, second in ((2, 1), (-1, 2), (1, 4)):
        with pytest.raises(ValueError, match="expected"):
            consistency_proof(tree, first, second)
