"""What the entries of a log must say of each other, whatever the folders hold."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from recorder_worker.core.log_audit.report import Finding, Problem
from recorder_worker.core.session_log.entries import EntryKind, LogEntry

SHOWN_HOLES = 20


def broken_rules(entries: Sequence[LogEntry]) -> Iterator[Finding]:
    """Holes and repeats in the session counter, and entries that do not fit the ones before."""
    opened: dict[str, LogEntry] = {}
    sealed: set[str] = set()
    owners: dict[int, str] = {}
    events = 0
    for index, entry in enumerate(entries):
        session_id = entry.session_id
        if entry.kind is EntryKind.AUDIT:
            if entry.counter <= events:
                yield _finding(
                    Problem.ENTRY_ORDER,
                    f"entry {index} says {entry.counter} audit events, behind {events}",
                )
            events = max(events, entry.counter)
        elif entry.kind is EntryKind.OPEN:
            if session_id in opened:
                yield _finding(Problem.ENTRY_ORDER, f"entry {index} opens it again", session_id)
                continue
            opened[session_id] = entry
            other = owners.setdefault(entry.counter, session_id)
            if other != session_id:
                yield _finding(
                    Problem.COUNTER_REPEATED,
                    f"entry {index} gives it number {entry.counter}, which session {other} has",
                    session_id,
                )
        elif session_id not in opened:
            yield _finding(Problem.ENTRY_ORDER, f"entry {index} seals it unopened", session_id)
        elif session_id in sealed or opened[session_id].counter != entry.counter:
            yield _finding(
                Problem.ENTRY_ORDER,
                f"entry {index} seals it as number {entry.counter}: expected one seal, as number "
                f"{opened[session_id].counter}",
                session_id,
            )
        else:
            sealed.add(session_id)
    yield from _holes(sorted(owners))


def _holes(numbers: Sequence[int]) -> Iterator[Finding]:
    shown = 0
    before = 0
    for number in numbers:
        if number > before + 1:
            shown += 1
            missing = f"{before + 1}" if number == before + 2 else f"{before + 1} to {number - 1}"
            yield _finding(
                Problem.COUNTER_HOLE,
                f"no session has the number {missing}: it was never opened, or is left out",
            )
        if shown == SHOWN_HOLES:
            return
        before = number


def _finding(problem: Problem, detail: str, session_id: str = "") -> Finding:
    return Finding(problem=problem, detail=detail, session_id=session_id)
