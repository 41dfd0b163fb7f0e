"""The audit trail as a part of the check of the log."""

from __future__ import annotations

import msgspec

from recorder_worker.core.audit_trail.check import (
    Bundles,
    TrailProblem,
    TrailReport,
    check_trail,
)
from recorder_worker.core.log_audit.report import Finding, LogReport, Problem
from recorder_worker.core.session_log.entries import EntryKind
from recorder_worker.core.session_log.stored_log import StoredLog

PROBLEMS = {
    TrailProblem.MISSING: Problem.AUDIT_MISSING,
    TrailProblem.CHANGED: Problem.AUDIT_CHANGED,
}
OF_SESSIONS = {
    Problem.COUNTER_HOLE,
    Problem.COUNTER_REPEATED,
    Problem.SESSION_MISSING,
    Problem.SESSION_NOT_LOGGED,
    Problem.SESSION_CHANGED,
}
"""What says nothing about who did what."""

LOG_NAME = "/log"


def look_at_trail(log: StoredLog, bundles: Bundles | None) -> tuple[TrailReport, list[Finding]]:
    """What the trail comes to, and what is wrong with it."""
    if bundles is None:
        count = sum(entry.kind is EntryKind.AUDIT for entry in log.entries)
        unseen = (f"{count} entries of the audit trail: the bundles were not looked at",)
        return TrailReport(entries=count, warnings=unseen if count else ()), []
    recorder = log.checkpoint.head.origin.removesuffix(LOG_NAME)
    report = check_trail(log.entries, bundles, recorder)
    found = [Finding(problem=PROBLEMS[one.problem], detail=one.detail) for one in report.findings]
    return report, found


def without_sessions(report: LogReport) -> LogReport:
    """The report on log and trail, without what is about sessions and their numbers."""
    kept = [
        finding
        for finding in report.problems
        if not finding.session_id and finding.problem not in OF_SESSIONS
    ]
    left = len(report.problems) - len(kept)
    note = f"{left} findings about sessions: see recorder log verify"
    return msgspec.structs.replace(
        report,
        problems=tuple(kept),
        not_sealed=(),
        warnings=(*report.audit.warnings, *([note] if left else [])),
    )
