from __future__ import annotations

import base64
import hashlib

import msgspec
import pytest

from recorder_worker.core.errors import FormatError, IncidentError
from recorder_worker.core.events import AnchorLog, AnchorRequested, AnchorSeen, AnchorState
from recorder_worker.core.merkle.proofs import ProofError, consistency_proof
from recorder_worker.core.merkle.tree import SHA256, Tree
from recorder_worker.core.receipts.anchoring import LOGS_REMEMBERED, REMEMBERED, judge

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


def of(origin: str, wanted: AnchorRequested) -> AnchorRequested:
    """The same request of another log."""
    note = wanted.note.replace(ORIGIN, origin)
    return msgspec.structs.replace(wanted, origin=origin, note=note)


def claimed(size: int) -> AnchorRequested:
    """A request that anybody can make: of a size that never was, behind the empty tree."""
    root = base64.b64encode(bytes(32)).decode()
    return AnchorRequested(
        origin=ORIGIN,
        tree_size=size,
        root_hash="00" * 32,
        note=f"{ORIGIN}\n{size}\n{root}\n\n— {ORIGIN} AAAAAAA=\n",
        previous_size=0,
        previous_root_hash=hashlib.sha256(b"").hexdigest(),
        session_id=SESSION,
    )


def test_another_log_begins_anew() -> None:
    judged = judge(after(of("elsewhere/log", request(3, 0, OTHER))), request(3, 2))
    assert judged.linked
    assert judged.state.origin == ORIGIN
    assert [s.tree_size for s in judged.state.seen] == [2, 3]


def test_a_request_of_another_log_makes_nothing_forgotten() -> None:
    state = after(request(3, 0), of("elsewhere/log", request(3, 0, OTHER)))
    assert [log.origin for log in state.others] == [ORIGIN]
    with pytest.raises(IncidentError, match=r"log lab7/log: two roots for size 3"):
        judge(state, request(3, 2, OTHER))
    assert judge(state, request(3, 0)).anchored
    back = judge(state, request(4, 3))
    assert back.linked
    assert [log.origin for log in back.state.others] == ["elsewhere/log"]
    with pytest.raises(IncidentError, match=r"log elsewhere/log"):
        judge(back.state, of("elsewhere/log", request(3, 0)))


def test_the_log_that_was_not_asked_for_longest_is_forgotten() -> None:
    names = [f"log{index}" for index in range(LOGS_REMEMBERED + 2)]
    state = after(*(of(name, request(1, 0)) for name in names), of("log5", request(2, 1)))
    kept = [state.origin, *(log.origin for log in state.others)]
    assert kept == ["log5", "log9", "log8", "log7", "log6", "log4", "log3", "log2"]
    assert [s.tree_size for s in state.seen] == [1, 2]


def test_the_state_fits_into_a_message() -> None:
    roots = tuple(AnchorSeen(tree_size=2**63 - 1, root_hash="f" * 64) for _ in range(REMEMBERED))
    names = [f"{index:0255d}" for index in range(LOGS_REMEMBERED)]
    others = tuple(AnchorLog(origin=name, seen=roots) for name in names[1:])
    state = AnchorState(origin=names[0], seen=roots, others=others)
    assert len(msgspec.json.encode(state)) < 131_072


def test_a_state_of_before_is_read() -> None:
    data = msgspec.json.encode(after(request(3, 0)))
    old = data.replace(b',"others":[]', b"")
    assert msgspec.json.decode(old, type=AnchorState) == after(request(3, 0))


def test_only_the_newest_are_remembered() -> None:
    state = after(*(request(size, size - 1) for size in range(1, 150)))
    assert len(state.seen) == REMEMBERED
    assert state.seen[-1].tree_size == 149


def test_huge_sizes_do_not_drive_out_what_comes_after_them() -> None:
    forged = [claimed(2**63 - 1 - index) for index in range(REMEMBERED)]
    state = after(request(5, 0), *forged[1:])
    with pytest.raises(IncidentError, match=r"two roots for size 5"):
        judge(state, request(5, 0, OTHER))
    full = after(request(5, 0), *forged)
    healed = judge(judge(full, request(6, 5)).state, request(7, 6)).state
    assert [s.tree_size for s in healed.seen[-3:]] == [5, 6, 7]
    with pytest.raises(IncidentError, match=r"two roots for size 6"):
        judge(healed, request(6, 0, OTHER))


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
