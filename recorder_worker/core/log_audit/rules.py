"""What the entries of a log must say of each other, whatever the folders hold."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from recorder_worker.core.log_audit.report import Finding, Problem
from recorder_worker.core.log_audit.retained import StatementRules
from recorder_worker.core.retention.sayings import STATEMENTS
from recorder_worker.core.session_log.entries import EntryKind, LogEntry

SHOWN_HOLES = 20


def broken_rules(entries: Sequence[LogEntry]) -> Iterator[Finding]:
    """Holes and repeats in the session counter, and entries that do not fit the ones before."""
    rules = _Rules()
    for index, entry in enumerate(entries):
        if entry.kind is EntryKind.AUDIT:
            yield from rules.audit(index, entry)
        elif entry.kind is EntryKind.OPEN:
            yield from rules.begin(index, entry)
        else:
            yield from rules.later(index, entry)
    yield from _holes(sorted(rules.owners))


class _Rules:
    def __init__(self) -> None:
        self.owners: dict[int, str] = {}
        self._opened: dict[str, LogEntry] = {}
        self._sealed: set[str] = set()
        self._statements = StatementRules()
        self._events = 0

    def audit(self, index: int, entry: LogEntry) -> Iterator[Finding]:
        if entry.counter <= self._events:
            yield _finding(
                Problem.ENTRY_ORDER,
                f"entry {index} says {entry.counter} audit events, behind {self._events}",
            )
        self._events = max(self._events, entry.counter)

    def begin(self, index: int, entry: LogEntry) -> Iterator[Finding]:
        session_id = entry.session_id
        if session_id in self._opened:
            yield _finding(Problem.ENTRY_ORDER, f"entry {index} opens it again", session_id)
            return
        self._opened[session_id] = entry
        other = self.owners.setdefault(entry.counter, session_id)
        if other != session_id:
            yield _finding(
                Problem.COUNTER_REPEATED,
                f"entry {index} gives it number {entry.counter}, which session {other} has",
                session_id,
            )

    def later(self, index: int, entry: LogEntry) -> Iterator[Finding]:
        session_id, statement = entry.session_id, entry.kind in STATEMENTS
        does = "speaks of" if statement else "seals"
        opened = self._opened.get(session_id)
        if opened is None:
            broken = f"{does} it unopened"
        elif statement:
            broken = self._statements.broken_by(entry, sealed=session_id in self._sealed)
            if opened.counter != entry.counter:
                broken = f"{does} it as number {entry.counter}: expected {opened.counter}"
        elif session_id in self._sealed or opened.counter != entry.counter:
            broken = (
                f"seals it as number {entry.counter}: expected one seal, as number {opened.counter}"
            )
        else:
            broken = ""
            self._sealed.add(session_id)
        if broken:
            yield _finding(Problem.ENTRY_ORDER, f"entry {index} {broken}", session_id)


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
