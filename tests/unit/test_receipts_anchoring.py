from __future__ import annotations

import base64
import hashlib

import msgspec
import pytest

from recorder_worker.core.errors import FormatError, IncidentError
from recorder_worker.core.events import AnchorRequested, AnchorState
from recorder_worker.core.proofs import ProofError, consistency_proof
from recorder_worker.core.receipts.anchoring import REMEMBERED, judge
from recorder_worker.core.tree import SHA256, Tree

ORIGIN = "lab7/log"
SESSION = "0190a0b0-0000-7000-8000-000000000001"
OTHER = [b"another %d" % index for index in range(200)]
LEAVES = [b"entry %d" % index for index in range(200)]


def request(size: int, before: int, leaves: list[bytes] = LEAVES) -> AnchorRequested:
    tree = Tree((SHA256.leaf(leaf) for leaf in leaves), SHA256)
    root = tree.root(size)
    note = f"{ORIGIN}\n{size}\n{base64.b64encode(root).decode()}\n\n— {ORIGIN} AAAAAAA=\n"
    return AnchorRequested(
        origin=ORIGIN,
        tree_size=size,
        root_hash=root.hex(),
        note=note,
        previous_size=before,
        previous_root_hash=tree.root(before).hex(),
        consistency_proof=tuple(h.hex() for h in consistency_proof(tree, before, size)),
        session_id=SESSION,
    )


def after(*requests: AnchorRequested) -> AnchorState:
    state: AnchorState | None = None
    for one in requests:
        state = judge(state, one).state
    assert state is not None
    return state


def test_the_first_request_is_anchored() -> None:
    judged = judge(None, request(1, 0))
    assert not judged.anchored
    assert judged.linked
    assert [(s.tree_size, s.anchored) for s in judged.state.seen] == [(1, True)]


def test_each_request_links_to_the_one_before() -> None:
    judged = judge(after(request(1, 0), request(2, 1)), request(5, 2))
    assert judged.linked
    assert not judged.anchored


def test_the_same_request_again_is_done_already() -> None:
    state = after(request(1, 0), request(2, 1), request(3, 2))
    for again in (request(2, 1), request(3, 2), request(3, 1)):
        assert judge(state, again).anchored


def test_a_predecessor_is_seen_and_not_anchored() -> None:
    state = after(request(5, 3))
    late = judge(state, request(3, 2))
    assert not late.anchored
    assert late.linked
    assert judge(late.state, request(3, 2)).anchored


def test_a_gap_is_told() -> None:
    judged = judge(after(request(1, 0)), request(9, 8))
    assert not judged.linked
    assert not judged.anchored


@pytest.mark.parametrize(
    "forked", [request(3, 2, OTHER), request(5, 3, OTHER), request(3, 0, OTHER)], ids=repr
)
def test_two_roots_for_one_size_are_an_incident(forked: AnchorRequested) -> None:
    state = after(request(2, 0), request(3, 2))
    with pytest.raises(IncidentError, match=r"two roots for size"):
        judge(state, forked)


def test_another_log_begins_anew() -> None:
    state = msgspec.structs.replace(after(request(3, 0, OTHER)), origin="elsewhere/log")
    judged = judge(state, request(3, 2))
    assert judged.state.origin == ORIGIN
    assert [s.tree_size for s in judged.state.seen] == [2, 3]


def test_only_the_newest_are_remembered() -> None:
    state = after(*(request(size, size - 1) for size in range(1, 150)))
    assert len(state.seen) == REMEMBERED
    assert state.seen[-1].tree_size == 149


@pytest.mark.parametrize(
    "changed",
    [
        {"tree_size": 6},
        {"origin": "lab8/log"},
        {"root_hash": "00" * 32},
        {"note": "no note\n"},
        {"note": request(4, 3).note},
    ],
    ids=lambda changed: next(iter(changed)),
)
def test_a_note_that_says_something_else_is_refused(changed: dict[str, object]) -> None:
    with pytest.raises(FormatError, match=r"note"):
        judge(None, msgspec.structs.replace(request(5, 3), **changed))


@pytest.mark.parametrize(
    "changed",
    [
        {"consistency_proof": ()},
        {"consistency_proof": (*request(5, 3).consistency_proof, "00" * 32)},
        {"previous_root_hash": "00" * 32},
        {"previous_size": 4},
        {"previous_size": 5, "consistency_proof": ()},
        {"previous_size": 0, "consistency_proof": ()},
    ],
    ids=repr,
)
def test_a_tree_that_did_not_grow_is_refused(changed: dict[str, object]) -> None:
    with pytest.raises(ProofError):
        judge(None, msgspec.structs.replace(request(5, 3), **changed))


def test_the_first_one_begins_at_the_empty_tree() -> None:
    first = request(3, 0)
    assert first.previous_root_hash == hashlib.sha256(b"").hexdigest()
    wrong = msgspec.structs.replace(first, previous_root_hash="11" * 32)
    with pytest.raises(ProofError, match=r"consistency of 0 and 3"):
        judge(None, wrong)
