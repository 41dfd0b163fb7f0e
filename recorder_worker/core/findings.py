"""What a look at a recorder found: what, where, how bad, what to do, and what was done."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum

import msgspec


class Severity(StrEnum):
    """How bad a finding is.

    `info`: nothing has to be done. `warning`: nothing is lost, and somebody should look. `error`:
    something is lost or will be, or does not go on.
    """

    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that is not as it should be.

    Attributes:
        check: what was looked at, such as `segments.orphan`.
        severity: how bad it is.
        where: the file, stream, consumer or session.
        what: what was found there, and what was expected.
        advice: what to do.
        repair: what `--repair` does about it; empty: nothing, for nothing is safe.
        repaired: what it did; empty: nothing yet.
    """

    check: str
    severity: Severity
    where: str
    what: str
    advice: str
    repair: str = ""
    repaired: str = ""

    @property
    def counts(self) -> bool:
        """Whether somebody has to do something about it."""
        return self.severity is not Severity.INFO and not self.repaired


class Examined(msgspec.Struct, frozen=True, kw_only=True):
    """A whole look: the findings, the worst in front, and what could not be looked at."""

    data_dir: str
    nats: str
    findings: tuple[Finding, ...]
    not_looked_at: tuple[str, ...] = ()

    @property
    def clean(self) -> bool:
        """Whether nobody has to do anything."""
        return not any(finding.counts for finding in self.findings)


_ORDER = (Severity.ERROR, Severity.WARNING, Severity.INFO)


def worst_first(findings: Sequence[Finding]) -> tuple[Finding, ...]:
    """By severity, then by what was looked at and where."""
    return tuple(
        sorted(findings, key=lambda one: (_ORDER.index(one.severity), one.check, one.where))
    )
