"""The inclusion vectors of transparency-dev/merkle, over SHA-256 and once more over BLAKE3."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest

from recorder_worker.core.merkle.proofs import ProofError, verify_inclusion
from recorder_worker.core.merkle.tree import BLAKE3, SHA256, Tree

FOLDER = Path(__file__).parent.parent / "vectors/merkle/testdata/inclusion"
FILES = sorted(FOLDER.rglob("*.json"))
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


def in_blake3() -> dict[bytes, bytes]:
    """For every subtree of the vectors' trees: its SHA-256 hash to its BLAKE3 hash."""
    old, new = (Tree([h.leaf(x) for x in LEAVES], h) for h in (SHA256, BLAKE3))
    found = {SHA256.empty(): BLAKE3.empty()}
    for size in range(1, len(LEAVES) + 1):
        for width in (1, 2, 4, 8):
            for begin in range(0, size, width):
                end = min(begin + width, size)
                found[old.subtree(begin, end)] = new.subtree(begin, end)
    return found


REBUILT = in_blake3()


def test_the_vectors_are_here() -> None:
    assert len(FILES) == 98


@pytest.mark.parametrize("rebuilt", [False, True], ids=["sha256", "blake3"])
@pytest.mark.parametrize("path", FILES, ids=lambda p: "/".join(p.parts[-2:]))
def test_vector(path: Path, *, rebuilt: bool) -> None:
    vector = json.loads(path.read_text())

    def value(text: str) -> bytes:
        data = base64.b64decode(text)
        return REBUILT.get(data, data) if rebuilt else data

    def run() -> None:
        verify_inclusion(
            leaf_hash=value(vector["leafHash"]),
            index=vector["leafIdx"],
            size=vector["treeSize"],
            proof=[value(text) for text in vector["proof"] or ()],
            root=value(vector["root"]),
            hasher=BLAKE3 if rebuilt else SHA256,
        )

    if vector["wantErr"]:
        with pytest.raises(ProofError):
            run()
    else:
        run()


def test_the_rebuilt_vectors_are_other_hashes() -> None:
    happy = json.loads((FOLDER / "1/happy-path.json").read_text())
    assert base64.b64decode(happy["root"]) in REBUILT
    assert all(base64.b64decode(text) in REBUILT for text in happy["proof"])
