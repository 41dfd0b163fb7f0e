"""The numbered steps of a verification, in order."""

from __future__ import annotations

from enum import IntEnum, StrEnum

from recorder_worker.core.verify.verdicts import Verdict


class Step(IntEnum):
    """The steps, in the order in which they are judged. Numbers are stable."""

    PARSE = 1
    KEYS = 2
    SIGNATURES = 3
    EPOCHS = 4
    ROOT = 5
    PLACE = 6
    STORED = 7
    PLAIN = 8
    FRAMES = 9
    COVERAGE = 10
    WHOLE = 11
    CHECKPOINTS = 12
    ATTACHED = 13
    LOG = 14
    RECEIPTS = 15
    WINDOW = 16
    RETENTION = 17


TITLES: dict[Step, str] = {
    Step.PARSE: "notes and records are written in their one encoding",
    Step.KEYS: "the device's keys are ones that the policy trusts",
    Step.SIGNATURES: "OPEN is signed by the device, every checkpoint by keys of the record",
    Step.EPOCHS: "epochs follow one another, are closed, and sign their own checkpoints only",
    Step.ROOT: "the root is rebuilt from the records",
    Step.PLACE: "every record has its index, its session and its size",
    Step.STORED: "stored bytes of every chunk have their digests",
    Step.PLAIN: "plain bytes of every chunk have their digest",
    Step.FRAMES: "frames inside the chunks are what the records say",
    Step.COVERAGE: "chunks and gaps tile every stream, and clocks do not step back",
    Step.WHOLE: "one OPEN, one final SEAL, and the totals agree",
    Step.CHECKPOINTS: "all checkpoints are of one growing tree",
    Step.ATTACHED: "the manifest and the bodies of marks have their digests, and its cipher holds",
    Step.LOG: "the session is in the recorder's log of sessions",
    Step.RECEIPTS: "receipts are over the log's checkpoints",
    Step.WINDOW: "the times do not contradict each other",
    Step.RETENTION: "what was held, or removed by its owner, is said in signed statements",
}

OPTIONAL = frozenset({Step.KEYS, Step.LOG, Step.RECEIPTS, Step.WINDOW, Step.RETENTION})
"""Steps that need not be reached for a recording to be whole."""

OF_THE_KEY = frozenset({Step.PLAIN, Step.FRAMES})
"""Steps that of encrypted chunks only somebody with the key can take."""


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


def tampered(detail: str) -> StepFailedError:
    """The failure that most steps end in."""
    return StepFailedError(Verdict.TAMPERED, detail)
