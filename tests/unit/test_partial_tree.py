"""A partial tree proves many leaves at once, under every root that ends with one of them."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from statistics import mean

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recorder_worker.core.merkle.partial_tree import (
    LeafRange,
    PartialTree,
    check_ranges,
    hidden_spans,
    hidden_subtrees,
    ranges_of,
)
from recorder_worker.core.merkle.proofs import ProofError, inclusion_proof
from recorder_worker.core.merkle.tree import BLAKE3, MAX_SIZE, SHA256, Tree, TreeHash

MOST = 40
LARGE = 100_000


def leaf_hashes(size: int, hasher: TreeHash = BLAKE3) -> list[bytes]:
    return [hasher.leaf(b"leaf %d" % n) for n in range(size)]


def revealed(leaves: Sequence[bytes], ranges: Sequence[LeafRange]) -> list[bytes]:
    return [leaf for found in ranges for leaf in leaves[found.begin : found.end]]


def indices(ranges: Sequence[LeafRange]) -> list[int]:
    return [index for found in ranges for index in range(found.begin, found.end)]


def spans_by_definition(begin: int, end: int, shown: set[int]) -> list[tuple[int, int]]:
    """The rule of the module, literally: split what holds both kinds of leaves."""
    here = set(range(begin, end))
    if not here & shown:
        return [(begin, end)]
    if here <= shown:
        return []
    k = 1
    while k * 2 < end - begin:
        k *= 2
    return [
        *spans_by_definition(begin, begin + k, shown),
        *spans_by_definition(begin + k, end, shown),
    ]


def check(tree: Tree, leaves: list[bytes], size: int, ranges: Sequence[LeafRange]) -> None:
    """Make and rebuild: all roots are those of the whole tree, and no hash is wanting or extra."""
    hashes = hidden_subtrees(size, ranges, leaves, tree.hasher)
    spans = spans_by_definition(0, size, set(indices(ranges)))
    assert [(span.begin, span.end) for span in hidden_spans(size, ranges)] == spans
    assert hashes == [tree.subtree(*span) for span in spans]
    partial = PartialTree(size, ranges, revealed(leaves, ranges), hashes, tree.hasher)
    assert partial.root() == partial.root(size) == tree.root(size)
    for index in indices(ranges):
        assert partial.root(index + 1) == tree.root(index + 1)


@pytest.mark.parametrize("hasher", [BLAKE3, SHA256], ids=lambda h: h.name)
def test_every_range_of_every_small_tree_is_proved(hasher: TreeHash) -> None:
    leaves = leaf_hashes(MOST, hasher)
    tree = Tree(leaves, hasher)
    for size in range(1, MOST + 1):
        for begin, end in itertools.combinations(range(size + 1), 2):
            check(tree, leaves, size, [LeafRange(begin, end)])


def test_every_set_of_leaves_of_every_tree_up_to_nine_is_proved() -> None:
    leaves = leaf_hashes(9)
    tree = Tree(leaves)
    for size in range(1, 10):
        for chosen in range(1, 1 << size):
            check(tree, leaves, size, ranges_of(n for n in range(size) if chosen >> n & 1))


@given(st.data())
def test_any_set_of_leaves_is_proved(data: st.DataObject) -> None:
    size = data.draw(st.integers(1, 300))
    shown = data.draw(st.sets(st.integers(0, size - 1), min_size=1, max_size=40))
    leaves = leaf_hashes(size)
    check(Tree(leaves), leaves, size, ranges_of(shown))


def test_of_one_leaf_it_is_the_inclusion_proof_of_the_rfc() -> None:
    leaves = leaf_hashes(MOST)
    tree = Tree(leaves)
    for size in range(1, MOST + 1):
        for index in range(size):
            hashes = hidden_subtrees(size, [LeafRange(index, index + 1)], leaves)
            assert sorted(hashes) == sorted(inclusion_proof(tree, index, size))


def test_of_all_leaves_it_is_empty() -> None:
    leaves = leaf_hashes(MOST)
    assert hidden_subtrees(MOST, [LeafRange(0, MOST)], leaves) == []


@given(st.data())
def test_other_hashes_never_give_the_root(data: st.DataObject) -> None:
    size = data.draw(st.integers(2, 200))
    shown = data.draw(st.sets(st.integers(0, size - 1), min_size=1, max_size=size // 2))
    ranges = ranges_of(shown)
    leaves = leaf_hashes(size)
    hashes = hidden_subtrees(size, ranges, leaves)
    at = data.draw(st.integers(0, len(hashes) - 1))
    changed = [*hashes[:at], bytes([hashes[at][0] ^ 1]) + hashes[at][1:], *hashes[at + 1 :]]
    root = Tree(leaves).root()
    assert PartialTree(size, ranges, revealed(leaves, ranges), changed).root() != root
    if at:
        changed = [*hashes[: at - 1], hashes[at], hashes[at - 1], *hashes[at + 1 :]]
        assert PartialTree(size, ranges, revealed(leaves, ranges), changed).root() != root


@given(st.data())
def test_other_leaves_never_give_the_root(data: st.DataObject) -> None:
    size = data.draw(st.integers(2, 120))
    shown = data.draw(st.sets(st.integers(0, size - 1), min_size=2, max_size=20))
    ranges = ranges_of(shown)
    leaves = leaf_hashes(size)
    ours = revealed(leaves, ranges)
    one, other = data.draw(st.permutations(range(len(ours))))[:2]
    ours[one], ours[other] = ours[other], ours[one]
    hashes = hidden_subtrees(size, ranges, leaves)
    assert PartialTree(size, ranges, ours, hashes).root() != Tree(leaves).root()


def test_the_count_of_hashes_and_leaves_must_be_exact() -> None:
    size, ranges = 23, (LeafRange(0, 1), LeafRange(9, 12), LeafRange(22, 23))
    leaves = leaf_hashes(size)
    ours, hashes = revealed(leaves, ranges), hidden_subtrees(size, ranges, leaves)
    with pytest.raises(ProofError, match="too few hashes"):
        PartialTree(size, ranges, ours, hashes[:-1])
    with pytest.raises(ProofError, match="too many hashes"):
        PartialTree(size, ranges, ours, [*hashes, bytes(32)])
    with pytest.raises(ProofError, match="too few revealed"):
        PartialTree(size, ranges, ours[:-1], hashes)
    with pytest.raises(ProofError, match="too many revealed"):
        PartialTree(size, ranges, [*ours, bytes(32)], hashes)
    for wrong in (b"", bytes(31), bytes(33)):
        with pytest.raises(ProofError, match="32 bytes"):
            PartialTree(size, ranges, ours, [wrong, *hashes[1:]])
        with pytest.raises(ProofError, match="32 bytes"):
            PartialTree(size, ranges, [*ours[:-1], wrong], hashes)


def test_another_size_gives_an_error_or_another_root() -> None:
    size, ranges = 23, (LeafRange(0, 1), LeafRange(9, 12), LeafRange(16, 17))
    leaves = leaf_hashes(size)
    ours, hashes = revealed(leaves, ranges), hidden_subtrees(size, ranges, leaves)
    root = Tree(leaves).root()
    others = 0
    for other in [*range(17, size), *range(size + 1, 70)]:
        try:
            found = PartialTree(other, ranges, ours, hashes).root()
        except ProofError:
            continue
        # With as many hashes the fold is the same: the size has to stand in a signed text.
        others += found == root
    assert others > 0, "expected this test to show why the size is compared with the signed one"


def test_a_root_is_told_only_where_the_last_leaf_is_shown() -> None:
    leaves = leaf_hashes(20)
    ranges = (LeafRange(3, 5),)
    hashes = hidden_subtrees(20, ranges, leaves)
    partial = PartialTree(20, ranges, leaves[3:5], hashes)
    for size in (0, 1, 3, 6, 19, 21, -1):
        with pytest.raises(ProofError, match="last leaf is revealed"):
            partial.root(size)


@pytest.mark.parametrize(
    ("size", "ranges"),
    [
        (5, ()),
        (0, ((0, 1),)),
        (-1, ((0, 1),)),
        (MAX_SIZE + 1, ((0, 1),)),
        (5, ((0, 0),)),
        (5, ((3, 2),)),
        (5, ((-1, 2),)),
        (5, ((4, 6),)),
        (5, ((0, 2), (2, 3))),
        (5, ((0, 2), (1, 3))),
        (5, ((3, 4), (0, 1))),
        (5, ((0, 1), (0, 1))),
    ],
)
def test_ranges_have_one_form(size: int, ranges: tuple[tuple[int, int], ...]) -> None:
    found = [LeafRange(*one) for one in ranges]
    with pytest.raises(ProofError, match="partial tree"):
        check_ranges(size, found)
    with pytest.raises(ProofError, match="partial tree"):
        PartialTree(size, found, [], [])
    with pytest.raises(ProofError, match="partial tree"):
        hidden_subtrees(size, found, [])


def test_fewer_leaves_than_the_size_are_refused() -> None:
    leaves = leaf_hashes(20)
    for ranges in ([LeafRange(3, 5)], [LeafRange(3, 5), LeafRange(19, 20)], [LeafRange(0, 20)]):
        with pytest.raises(ProofError, match="expected 20 leaves of the whole tree, got 17"):
            hidden_subtrees(20, ranges, leaves[:17])
        assert hidden_subtrees(17, [LeafRange(3, 5)], leaves) == hidden_subtrees(
            17, [LeafRange(3, 5)], leaves[:17]
        )


def test_ranges_join_what_touches() -> None:
    assert ranges_of([]) == ()
    assert ranges_of([4, 0, 5, 4, 9]) == (LeafRange(0, 1), LeafRange(4, 6), LeafRange(9, 10))
    assert 5 in LeafRange(4, 6)
    assert 6 not in LeafRange(4, 6)


def test_the_largest_tree_is_walked_in_a_moment() -> None:
    """A size that somebody writes into a file costs no more than its logarithm."""
    ranges = [LeafRange(0, 1), LeafRange(MAX_SIZE - 1, MAX_SIZE)]
    spans = list(hidden_spans(MAX_SIZE, ranges))
    assert len(spans) < 2 * 63
    assert sum(span.end - span.begin for span in spans) == MAX_SIZE - 2


def test_a_clip_of_100_of_100_000_leaves_costs_few_hashes() -> None:
    """The figure that the documents give: the range alone, and with OPEN and the last leaf."""
    alone, with_ends = [], []
    for begin in range(1, LARGE - 101, 997):
        clip = ranges_of(range(begin, begin + 100))
        ends = ranges_of([0, *range(begin, begin + 100), LARGE - 1])
        alone.append(len(list(hidden_spans(LARGE, clip))))
        with_ends.append(len(list(hidden_spans(LARGE, ends))))
    assert (round(mean(alone)), max(alone)) == (17, 24)
    assert (round(mean(with_ends)), max(with_ends)) == (38, 46)
    ends = ranges_of([0, *range(50_000, 50_100), LARGE - 1])
    leaves = leaf_hashes(LARGE)
    partial = PartialTree(LARGE, ends, revealed(leaves, ends), hidden_subtrees(LARGE, ends, leaves))
    tree = Tree(leaves)
    assert partial.root() == tree.root()
    assert partial.root(50_100) == tree.root(50_100)
    assert partial.root(1) == leaves[0]
