from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from recorder_worker.adapters.anchor_chain import AnchorChain
from recorder_worker.core.errors import FormatError, IncidentError, StoreError
from recorder_worker.core.events import AnchorRequested
from recorder_worker.core.merkle.proofs import ProofError, consistency_proof
from recorder_worker.core.merkle.tree import SHA256, Tree
from recorder_worker.core.receipts.chain import FIRST, parse_chain_receipt, verify_chain_receipt

PRIVATE = Ed25519PrivateKey.from_private_bytes(b"\1" * 32)
PUBLIC = PRIVATE.public_key().public_bytes_raw()
SESSION = "0190a0b0-0000-7000-8000-000000000001"
NOW_S = 1_800_000_000.9


def request(
    size: int, previous: int = 0, *, origin: str = "lab7/log", seed: bytes = b""
) -> AnchorRequested:
    tree = Tree([SHA256.leaf(seed + bytes([at])) for at in range(size)], SHA256)
    before = Tree([SHA256.leaf(seed + bytes([at])) for at in range(previous)], SHA256)
    root = tree.root()
    encoded = base64.b64encode(root).decode()
    proof = consistency_proof(tree, previous, size) if previous else []
    return AnchorRequested(
        origin=origin,
        tree_size=size,
        root_hash=root.hex(),
        note=f"{origin}\n{size}\n{encoded}\n\n— {origin} AAAAAAA=\n",
        previous_size=previous,
        previous_root_hash=before.root().hex() if previous else hashlib.sha256(b"").hexdigest(),
        consistency_proof=tuple(one.hex() for one in proof),
        session_id=SESSION,
    )


@contextmanager
def chain_in(folder: Path, private: Ed25519PrivateKey = PRIVATE) -> Iterator[AnchorChain]:
    public = private.public_key().public_bytes_raw()
    made = AnchorChain(folder / "chain", "notary", public, private.sign, lambda: NOW_S)
    try:
        yield made
    finally:
        made.close()


def test_entries_stand_one_behind_the_other_and_are_receipts(tmp_path: Path) -> None:
    requests = [request(2), request(4, 2), request(3, origin="lab8/log")]
    with chain_in(tmp_path) as chain:
        receipts = [chain.anchor(one).receipt for one in requests]
    assert (tmp_path / "chain").read_bytes() == b"".join(receipts)
    before = FIRST
    for number, (asked, receipt) in enumerate(zip(requests, receipts, strict=True), 1):
        entry = verify_chain_receipt(receipt, asked.note.encode()).entry
        assert (entry.number, entry.previous, entry.time_s) == (number, before, 1_800_000_000)
        before = entry.digest


def test_a_request_that_comes_again_gets_the_same_receipt_also_behind_a_restart(
    tmp_path: Path,
) -> None:
    with chain_in(tmp_path) as chain:
        first = chain.anchor(request(2))
        assert (first.again, first.linked) == (False, True)
        assert chain.anchor(request(2)).receipt == first.receipt
    with chain_in(tmp_path) as chain:
        again = chain.anchor(request(2))
        assert (again.again, again.receipt, chain.count) == (True, first.receipt, 1)


def test_a_log_that_forked_is_not_anchored(tmp_path: Path) -> None:
    with chain_in(tmp_path) as chain:
        chain.anchor(request(4))
        for forked in (request(4, seed=b"x"), request(6, 4, seed=b"x")):
            with pytest.raises(IncidentError, match="two roots for size 4"):
                chain.anchor(forked)
        assert chain.count == 1


def test_a_wrong_request_is_not_anchored(tmp_path: Path) -> None:
    good, other = request(6, 4), request(7, 4)
    with chain_in(tmp_path) as chain:
        for field, value, error in (
            ("consistency_proof", other.consistency_proof, ProofError),
            ("root_hash", other.root_hash, FormatError),
            ("note", other.note, FormatError),
        ):
            wrong = {name: getattr(good, name) for name in good.__struct_fields__} | {field: value}
            with pytest.raises(error):
                chain.anchor(AnchorRequested(**wrong))
        assert chain.count == 0


def test_a_checkpoint_whose_predecessor_was_never_seen_is_said_to_be(tmp_path: Path) -> None:
    with chain_in(tmp_path) as chain:
        chain.anchor(request(2))
        assert chain.anchor(request(4, 2)).linked
        assert not chain.anchor(request(9, 7)).linked


@pytest.mark.parametrize("kept", [1, 100, 300])
def test_what_a_crash_left_half_written_is_cut_off(tmp_path: Path, kept: int) -> None:
    with chain_in(tmp_path) as chain:
        first = chain.anchor(request(2)).receipt
        second = chain.anchor(request(4, 2)).receipt
    path = tmp_path / "chain"
    path.write_bytes(first + second[:kept])
    with chain_in(tmp_path) as chain:
        assert chain.count == 1
        assert path.read_bytes() == first
        third = chain.anchor(request(4, 2)).receipt
    assert path.read_bytes() == first + third
    assert parse_chain_receipt(third).entry.previous == parse_chain_receipt(first).entry.digest


def test_a_chain_that_was_changed_stops_the_anchor(tmp_path: Path) -> None:
    with chain_in(tmp_path) as chain:
        receipts = [chain.anchor(request(size, size - 1)).receipt for size in (1, 2, 3)]
    path = tmp_path / "chain"
    for wrong in (
        [receipts[1], receipts[2]],
        [receipts[0], receipts[2]],
        [receipts[0], receipts[0], receipts[2]],
        [receipts[1], receipts[0], receipts[2]],
        [receipts[0].replace(b"1800000000", b"1700000000"), *receipts[1:]],
    ):
        path.write_bytes(b"".join(wrong))
        with (
            pytest.raises(IncidentError, match="is not what was written there"),
            chain_in(tmp_path),
        ):
            pass
        assert path.read_bytes() == b"".join(wrong), "kept as evidence"
    path.write_bytes(b"".join(receipts))
    other = Ed25519PrivateKey.generate()
    with pytest.raises(IncidentError), chain_in(tmp_path, other):
        pass


def test_there_is_one_writer(tmp_path: Path) -> None:
    with (
        chain_in(tmp_path) as chain,
        pytest.raises(StoreError, match="expected to be its only writer"),
        chain_in(tmp_path),
    ):
        pass
    assert chain.count == 0
    with chain_in(tmp_path):
        pass


def test_a_disk_without_room_gives_no_receipt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with chain_in(tmp_path) as chain:
        first = chain.anchor(request(2)).receipt
        monkeypatch.setattr("os.write", _half)
        with pytest.raises(StoreError):
            chain.anchor(request(4, 2))
        monkeypatch.undo()
        assert (tmp_path / "chain").read_bytes() == first
        assert not chain.anchor(request(4, 2)).again


def _half(file: int, data: bytes) -> int:
    import posix  # noqa: PLC0415  (the one behind `os`)

    return posix.write(file, data[: len(data) // 2])
