"""What a verification reports: plain values that a program can read and a person can be shown."""

from __future__ import annotations

from enum import StrEnum

import msgspec

from recorder_worker.core.events import Totals
from recorder_worker.core.verify.steps import Status
from recorder_worker.core.verify.verdicts import EXIT_CODES, EXIT_UNTRUSTED, Verdict

GOOD = "."
DAMAGED = "X"
MISSING = "?"


class StepResult(msgspec.Struct, frozen=True, kw_only=True):
    """One step. `verdict` is what its failure means, None where it did not fail."""

    number: int
    title: str
    status: Status
    detail: str
    verdict: Verdict | None = None


class GapFound(msgspec.Struct, frozen=True, kw_only=True):
    """A recorded gap: session time [t0_ns, t1_ns), with the wall clock at both ends."""

    index: int
    stream: int
    first_unit: int
    lost_units: int
    t0_ns: int
    t1_ns: int
    wall0_ns: int
    wall1_ns: int
    reason: str
    detail: str


class TrustStatus(StrEnum):
    """Whether somebody vouches for the key."""

    TRUSTED = "trusted"
    UNTRUSTED = "untrusted"
    NO_POLICY = "no policy"


class Trust(msgspec.Struct, frozen=True, kw_only=True):
    """The key that signed, in hexadecimal, and what the policy calls it."""

    status: TrustStatus
    public_key: str = ""
    name: str = ""


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """Everything a verification found.

    Attributes:
        root_hash: root over all records that are here, in hexadecimal.
        tree_size: how many records are here; `signed_size` of them are under a verified signature.
        chunk_map: one character a chunk, in order: `.` good, `X` damaged, `?` missing.
        damaged: names of the chunk files that are damaged or missing.
        t_end_ns: session time up to which the record goes.
        failed_step: number of the step that the verdict comes from.
        not_proved: what this verification cannot show, in words.
        warnings: what is odd and changes nothing in the verdict.
    """

    verdict: Verdict
    trust: Trust
    exit_code: int
    session_id: str = ""
    recorder: str = ""
    root_hash: str = ""
    tree_size: int = 0
    signed_size: int = 0
    signed_at_s: int = 0
    opened_wall_ns: int = 0
    t_end_ns: int = 0
    end_reason: str = ""
    totals: Totals = Totals()
    gaps: tuple[GapFound, ...] = ()
    chunk_map: str = ""
    damaged: tuple[str, ...] = ()
    steps: tuple[StepResult, ...] = ()
    failed_step: int | None = None
    not_proved: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


def exit_code(verdict: Verdict, trust: Trust) -> int:
    """The exit code: integrity first, then trust."""
    code = EXIT_CODES[verdict]
    if code == 0 and trust.status is TrustStatus.UNTRUSTED:
        return EXIT_UNTRUSTED
    return code


def printable(text: str) -> str:
    """Text that came with a recording, made safe to print and to encode.

    A recording is not trusted before it is verified, and not with a terminal after that.
    """
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
