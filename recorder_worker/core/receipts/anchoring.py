"""What an engine checks before it anchors a checkpoint of the log of sessions.

The request must be one: a note that says what the request says, and a proof that its tree grew out
of the one before. And it must fit what the engine saw earlier: for one size there is one root. The
engine remembers the roots it saw last, of each log, so that requests that come late are still
compared.

The signature in the note is not checked. Whoever may publish requests can have anything anchored,
and make the engine forget with as many requests as it remembers; so let nobody else publish there.
What he cannot do is fill the memory for good: what was remembered first is forgotten first,
whatever size it claims.
"""

from __future__ import annotations

import msgspec

from recorder_worker.core.errors import FormatError, IncidentError
from recorder_worker.core.events import AnchorLog, AnchorRequested, AnchorSeen, AnchorState
from recorder_worker.core.merkle.proofs import ProofError, verify_consistency
from recorder_worker.core.merkle.tree import SHA256
from recorder_worker.core.signing.note import TreeHead, parse_note

REMEMBERED = 64
"""Roots of one log that an engine keeps in mind."""

LOGS_REMEMBERED = 8
"""Logs that an engine keeps in mind. All are one message on the bus: with 64 roots each, of 130
bytes, and origins of 255, that is 70 KB."""


class Judged(msgspec.Struct, frozen=True, kw_only=True):
    """What follows from a request.

    Attributes:
        anchored: it was anchored before; nothing is to be done.
        linked: its predecessor is one that the engine saw. If not, something between them was
            never seen, and that it is one log is not shown.
        state: what to remember once it is anchored.
    """

    anchored: bool
    linked: bool
    state: AnchorState


def judge(state: AnchorState | None, request: AnchorRequested) -> Judged:
    """Whether a request may be anchored, and what is remembered then.

    Raises:
        FormatError: its note is none, or says something else than the request.
        ProofError: its tree did not grow out of the one before.
        IncidentError: the log has two roots for one size.
    """
    _check_request(request)
    logs = _logs(state)
    seen = {root.tree_size: root for root in logs.pop(request.origin, ())}
    for size, root_hash in (
        (request.previous_size, request.previous_root_hash),
        (request.tree_size, request.root_hash),
    ):
        known = seen.get(size)
        if known is not None and known.root_hash != root_hash:
            raise IncidentError(
                f"log {request.origin}: two roots for size {size}: {known.root_hash} was seen, "
                f"{root_hash} is said now; it is not anchored, keep both notes"
            )
    before = seen.get(request.tree_size)
    linked = not seen or request.previous_size in seen or before is not None
    if request.previous_size:
        seen.setdefault(
            request.previous_size,
            AnchorSeen(tree_size=request.previous_size, root_hash=request.previous_root_hash),
        )
    seen[request.tree_size] = AnchorSeen(
        tree_size=request.tree_size, root_hash=request.root_hash, anchored=True
    )
    others = [AnchorLog(origin=origin, seen=roots) for origin, roots in logs.items()]
    return Judged(
        anchored=before is not None and before.anchored,
        linked=linked,
        state=AnchorState(
            origin=request.origin,
            seen=tuple(seen.values())[-REMEMBERED:],
            others=tuple(others[: LOGS_REMEMBERED - 1]),
        ),
    )


def _logs(state: AnchorState | None) -> dict[str, tuple[AnchorSeen, ...]]:
    """What was seen of each log, the log of the latest request in front."""
    if state is None:
        return {}
    logs = {state.origin: state.seen}
    for one in state.others:
        logs.setdefault(one.origin, one.seen)
    return logs


def _check_request(request: AnchorRequested) -> None:
    head = parse_note(request.note.encode()).head
    said = TreeHead(
        origin=request.origin,
        tree_size=request.tree_size,
        root_hash=bytes.fromhex(request.root_hash),
    )
    if head != said:
        raise FormatError(
            f"anchor request: expected a note of {said.origin}, size {said.tree_size}, root "
            f"{request.root_hash}, got one of {head.origin}, {head.tree_size}, "
            f"{head.root_hash.hex()}"
        )
    if request.previous_size >= request.tree_size:
        raise ProofError(
            f"anchor request: expected a previous size below {request.tree_size}, got "
            f"{request.previous_size}"
        )
    verify_consistency(
        first=request.previous_size,
        second=request.tree_size,
        first_root=bytes.fromhex(request.previous_root_hash),
        second_root=bytes.fromhex(request.root_hash),
        proof=[bytes.fromhex(value) for value in request.consistency_proof],
        hasher=SHA256,
    )
