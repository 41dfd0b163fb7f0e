"""What a check of the log of sessions comes to."""

from __future__ import annotations

from enum import StrEnum

import msgspec

from recorder_worker.core.audit_trail.check import TrailReport
from recorder_worker.core.verify.report import Trust, TrustStatus
from recorder_worker.core.verify.verdicts import EXIT_CODES, EXIT_UNTRUSTED, Verdict


class Problem(StrEnum):
    """What can be wrong."""

    LOG_MISSING = "log missing"
    LOG_CHANGED = "log changed"
    LOG_SIGNATURE = "log not signed"
    LOG_ROLLED_BACK = "log rolled back"
    EQUIVOCATION = "equivocation"
    ENTRY_ORDER = "entries out of order"
    COUNTER_HOLE = "hole in the counter"
    COUNTER_REPEATED = "counter repeated"
    SESSION_MISSING = "session missing"
    SESSION_NOT_LOGGED = "session not in the log"
    SESSION_CHANGED = "session changed"
    AUDIT_MISSING = "audit events missing"
    AUDIT_CHANGED = "audit events changed"


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that is wrong. `session_id` is empty where it is about the log itself."""

    problem: Problem
    detail: str
    session_id: str = ""


class LogReport(msgspec.Struct, frozen=True, kw_only=True):
    """All that was found.

    Attributes:
        origin: the log's origin.
        tree_size: entries under its newest checkpoint; `root_hash` is over them.
        opened: sessions that the log says were opened; `sealed` how many of them were sealed.
        not_sealed: those that were not: they run, or their end is not there.
        removed: sessions of which bytes went, or go, by a signed statement that the log holds.
        held: sessions under hold.
        compared: checkpoints seen elsewhere that the log is consistent with.
        audit: the audit trail, whose warnings are among those of the log.
        trust: the device key that signed the log.
    """

    origin: str = ""
    tree_size: int = 0
    root_hash: str = ""
    opened: int = 0
    sealed: int = 0
    not_sealed: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    held: tuple[str, ...] = ()
    compared: int = 0
    audit: TrailReport = TrailReport()
    problems: tuple[Finding, ...] = ()
    warnings: tuple[str, ...] = ()
    not_proved: tuple[str, ...] = ()
    trust: Trust

    @property
    def exit_code(self) -> int:
        """0 good, 13 missing or changed, 14 two views of one log, 20 by an untrusted key."""
        found = {problem.problem for problem in self.problems}
        if Problem.EQUIVOCATION in found:
            return EXIT_CODES[Verdict.EQUIVOCATION]
        if found:
            return EXIT_CODES[Verdict.TAMPERED]
        return EXIT_UNTRUSTED if self.trust.status is TrustStatus.UNTRUSTED else 0
