"""Statements of retention: those in a session's folder are those that the log holds, in order."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from recorder_worker.core import keys
from recorder_worker.core.log_audit.report import Finding, Problem
from recorder_worker.core.log_audit.session_folder import SessionFolder
from recorder_worker.core.retention.sayings import STATEMENTS
from recorder_worker.core.retention.statement import entry_for
from recorder_worker.core.session_log.entries import EntryKind, LogEntry


def compare_statements(folder: SessionFolder, logged: Sequence[LogEntry]) -> Iterator[Finding]:
    """What is in the one and not in the other."""
    session_id, counter = folder.opened.session_id, folder.opened.session_counter
    found = [entry_for(signed, counter) for signed in folder.statements]
    for number in range(1, max(len(found), len(logged)) + 1):
        here = found[number - 1] if number <= len(found) else None
        entered = logged[number - 1] if number <= len(logged) else None
        if here == entered:
            continue
        if here is None:
            detail = f"{keys.statement(number)}: the log has it, its folder does not"
            problem = Problem.SESSION_CHANGED
        elif entered is None:
            detail = f"{keys.statement(number)}: its folder has it, the log does not"
            problem = Problem.SESSION_NOT_LOGGED
        else:
            detail = f"{keys.statement(number)}: it is not the one in the log"
            problem = Problem.SESSION_CHANGED
        yield Finding(problem=problem, detail=detail, session_id=session_id)
        return


class StatementRules:
    """What the kinds of a session's entries must be, whatever the statements say."""

    def __init__(self) -> None:
        self._last: dict[str, EntryKind] = {}

    def broken_by(self, entry: LogEntry, *, sealed: bool) -> str:
        """Why an entry cannot stand behind those before it; empty: it can."""
        assert entry.kind in STATEMENTS  # noqa: S101  (the caller asks of no others)
        before = self._last.get(entry.session_id)
        self._last[entry.session_id] = entry.kind
        if before is EntryKind.TOMBSTONE:
            return "stands behind its tombstone"
        if (entry.kind is EntryKind.TOMBSTONE) is not (before is EntryKind.DELETE):
            return "is no tombstone behind a deletion, or one without"
        if entry.kind is EntryKind.DELETE and not sealed:
            return "deletes it unsealed"
        return ""
