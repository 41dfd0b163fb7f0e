"""Trees have the shape and the hashes of RFC 6962, and a frontier is all a writer needs."""

from __future__ import annotations

import hashlib

import pytest
from blake3 import blake3
from hypothesis import given
from hypothesis import strategies as st

from recorder_worker.core.errors import FormatError
from recorder_worker.core.merkle.tree import BLAKE3, SHA256, Frontier, Tree, TreeHash, frontier_of

# RFC 6962 test leaves of certificate-transparency's own suite, and their roots by tree size.
LEAVES = [
    bytes.fromhex(text)
    for text in (
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    )
]
SHA256_ROOTS = {
    0: "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    1: "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    2: "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    3: "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    8: "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
}
hashers = pytest.mark.parametrize("hasher", [BLAKE3, SHA256], ids=lambda h: h.name)


def root_by_definition(leaves: list[bytes], hasher: TreeHash) -> bytes:
    """MTH of RFC 9162 §2.1.1, literally."""
    if not leaves:
        return hasher.digest(b"")
    if len(leaves) == 1:
        return hasher.digest(b"\x00" + leaves[0])
    k = 1
    while k * 2 < len(leaves):
        k *= 2
    left, right = root_by_definition(leaves[:k], hasher), root_by_definition(leaves[k:], hasher)
    return hasher.digest(b"\x01" + left + right)


@pytest.mark.parametrize(("size", "root"), SHA256_ROOTS.items())
def test_published_roots_of_certificate_transparency(size: int, root: str) -> None:
    hashes = [SHA256.leaf(leaf) for leaf in LEAVES[:size]]
    assert frontier_of(hashes, SHA256).root().hex() == root
    assert Tree(hashes, SHA256).root().hex() == root


def test_the_hashes_are_plain_blake3_and_sha256_with_prefixes() -> None:
    assert BLAKE3.leaf(b"x") == blake3(b"\x00x").digest()
    assert BLAKE3.node(b"l" * 32, b"r" * 32) == blake3(b"\x01" + b"l" * 32 + b"r" * 32).digest()
    assert SHA256.empty() == hashlib.sha256(b"").digest()


@hashers
def test_every_size_up_to_130_has_the_root_of_the_definition(hasher: TreeHash) -> None:
    records = [bytes([n, 7]) for n in range(130)]
    tree, frontier = Tree(hasher=hasher), Frontier(hasher=hasher)
    for n, record in enumerate(records):
        assert frontier.root() == root_by_definition(records[:n], hasher)
        tree.append(hasher.leaf(record))
        frontier = frontier.append(hasher.leaf(record))
    assert [tree.root(n) for n in range(131)] == [
        root_by_definition(records[:n], hasher) for n in range(131)
    ]


@given(st.lists(st.binary(max_size=40), max_size=70), st.data())
def test_a_frontier_goes_on_from_its_bytes(records: list[bytes], data: st.DataObject) -> None:
    cut = data.draw(st.integers(0, len(records)))
    hashes = [BLAKE3.leaf(record) for record in records]
    stored = frontier_of(hashes[:cut]).to_bytes()
    assert len(stored) == 8 + 32 * cut.bit_count()
    frontier = Frontier.from_bytes(stored)
    for leaf_hash in hashes[cut:]:
        frontier = frontier.append(leaf_hash)
    assert frontier.root() == root_by_definition(records, BLAKE3)
    assert frontier.to_bytes() == frontier_of(hashes).to_bytes()


def test_appending_leaves_the_frontier_before_as_it_was() -> None:
    before = frontier_of([BLAKE3.leaf(b"a")])
    root = before.root()
    before.append(BLAKE3.leaf(b"b"))
    assert before.root() == root


@pytest.mark.parametrize(
    "data",
    [b"", b"\0" * 7, (1).to_bytes(8, "big"), bytes(8 + 32), (3).to_bytes(8, "big") + bytes(65)],
)
def test_bytes_that_are_no_frontier_are_refused(data: bytes) -> None:
    with pytest.raises(FormatError, match="frontier"):
        Frontier.from_bytes(data)


def test_a_size_beyond_63_bits_is_refused() -> None:
    with pytest.raises(FormatError):
        Frontier.from_bytes((1 << 63).to_bytes(8, "big") + bytes(32))


def test_a_leaf_hash_of_another_length_is_refused() -> None:
    with pytest.raises(FormatError, match="32 bytes"):
        Frontier().append(b"record, not its hash")


def test_the_last_leaf_is_never_doubled() -> None:
    """CVE-2012-2459: [a, b, c] and [a, b, c, c] are different trees."""
    three = [BLAKE3.leaf(x) for x in (b"a", b"b", b"c")]
    assert frontier_of(three).root() != frontier_of([*three, three[-1]]).root()


def test_a_record_that_looks_like_a_node_is_a_leaf() -> None:
    left, right = BLAKE3.leaf(b"a"), BLAKE3.leaf(b"b")
    forged = b"\x01" + left + right
    assert frontier_of([BLAKE3.leaf(forged)]).root() != frontier_of([left, right]).root()


@pytest.mark.parametrize(("begin", "end"), [(0, 0), (-1, 2), (0, 4), (2, 1)])
def test_a_subtree_that_is_not_there_is_refused(begin: int, end: int) -> None:
    with pytest.raises(ValueError, match="expected a part"):
        Tree([bytes(32)] * 3).subtree(begin, end)
