"""What a verification comes to, and the exit code of each."""

from __future__ import annotations

from enum import StrEnum


class Verdict(StrEnum):
    """The verdict on the integrity of a recording. Trust in its key is a question apart."""

    COMPLETE = "COMPLETE"
    COMPLETE_WITH_GAPS = "COMPLETE_WITH_GAPS"
    TRUNCATED = "TRUNCATED"
    CLIP = "CLIP"
    REDACTED = "REDACTED"
    TAMPERED = "TAMPERED"
    EQUIVOCATION = "EQUIVOCATION"
    UNSUPPORTED = "UNSUPPORTED"


EXIT_CODES: dict[Verdict, int] = {
    Verdict.COMPLETE: 0,
    Verdict.COMPLETE_WITH_GAPS: 0,
    Verdict.TRUNCATED: 10,
    Verdict.CLIP: 11,
    Verdict.REDACTED: 12,
    Verdict.TAMPERED: 13,
    Verdict.EQUIVOCATION: 14,
    Verdict.UNSUPPORTED: 15,
}
"""Exit code of each verdict. 2 is a wrong command line; 1 a defect of the program."""

EXIT_UNTRUSTED = 20
"""The record is whole, but its key is not in the policy that was given."""

PRECEDENCE = (
    Verdict.EQUIVOCATION,
    Verdict.TAMPERED,
    Verdict.UNSUPPORTED,
    Verdict.REDACTED,
    Verdict.CLIP,
    Verdict.TRUNCATED,
)
"""Where several steps fail, the first verdict of this list is given.

Two signed roots for one size prove more than a mismatch. A record of an unknown version that no
signature covers is a changed record, not an unknown one. A missing end excuses nothing else.
"""
