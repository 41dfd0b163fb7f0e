"""The numbered steps of a verification, in order."""

from __future__ import annotations

from enum import IntEnum, StrEnum

from recorder_worker.core.verify.verdicts import Verdict


class Step(IntEnum):
    """The steps. Numbers are stable; 4 is kept for the rule of key epochs."""

    PARSE = 1
    KEYS = 2
    SIGNATURES = 3
    ROOT = 5
    PLACE = 6
    STORED = 7
    PLAIN = 8
    FRAMES = 9
    COVERAGE = 10
    WHOLE = 11
    CHECKPOINTS = 12
    ATTACHED = 13


TITLES: dict[Step, str] = {
    Step.PARSE: "notes and records are written in their one encoding",
    Step.KEYS: "the key is one that the policy trusts",
    Step.SIGNATURES: "every checkpoint is signed by the key of the record",
    Step.ROOT: "the root is rebuilt from the records",
    Step.PLACE: "every record has its index, its session and its size",
    Step.STORED: "stored bytes of every chunk have their digests",
    Step.PLAIN: "plain bytes of every chunk have their digest",
    Step.FRAMES: "frames inside the chunks are what the records say",
    Step.COVERAGE: "chunks and gaps tile every stream without hole or overlap",
    Step.WHOLE: "one OPEN, one final SEAL, and the totals agree",
    Step.CHECKPOINTS: "all checkpoints are of one growing tree",
    Step.ATTACHED: "the manifest and the bodies of marks have their digests",
}


class Status(StrEnum):
    """How a step ended."""

    OK = "ok"
    FAILED = "failed"
    NOT_REACHED = "not reached"


class StepFailedError(Exception):
    """A step found what must not be, and the verdict that means: None where it is of trust."""

    def __init__(self, verdict: Verdict | None, detail: str) -> None:
        super().__init__(detail)
        self.verdict = verdict
        self.detail = detail


class NotReachedError(Exception):
    """A step cannot be done because of what an earlier one found, or need not be."""


def tampered(detail: str) -> StepFailedError:
    """The failure that most steps end in."""
    return StepFailedError(Verdict.TAMPERED, detail)


def listed(found: list[str]) -> str:
    """The first findings, and how many more there are."""
    more = f"; and {len(found) - 3} more" if len(found) > 3 else ""
    return "; ".join(found[:3]) + more
