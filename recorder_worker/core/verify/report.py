"""What a verification reports: plain values that a program can read and a person can be shown."""

from __future__ import annotations

from enum import StrEnum

import msgspec

from recorder_worker.core.events import Totals
from recorder_worker.core.model import Mask
from recorder_worker.core.verify.steps import Status
from recorder_worker.core.verify.verdicts import EXIT_CODES, EXIT_UNTRUSTED, Verdict

GOOD = "."
DAMAGED = "X"
MISSING = "?"

MAX_GAPS = 1000
MAX_DAMAGED = 1000
MAX_MARKS = 1000
MAX_MASKS = 64


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


class Recorded(msgspec.Struct, frozen=True, kw_only=True):
    """What OPEN says is recorded. `fps` is what was asked for; 0: the source's own rate.

    `masks` are the first `MAX_MASKS` that were black from the begin; marks say of later changes.
    """

    kind: str
    uri: str
    description: str
    node: str
    profile: str
    fps: float
    masks: tuple[Mask, ...]
    mask_count: int


class MarkFound(msgspec.Struct, frozen=True, kw_only=True):
    """A mark: when, of which kind, by whom, and what its body says, in words.

    `says` is empty where the body is not what the record speaks of. Kinds that begin with
    `recorder.` are the recorder's own: masks, frame rates, what was wrong with the picture.
    """

    index: int
    t_ns: int
    wall_ns: int
    kind: str
    by: str
    says: str


class TrustStatus(StrEnum):
    """Whether somebody vouches for the key."""

    TRUSTED = "trusted"
    UNTRUSTED = "untrusted"
    NO_POLICY = "no policy"


class Trust(msgspec.Struct, frozen=True, kw_only=True):
    """The device's Ed25519 key in hexadecimal, and what the policy calls it.

    `ml_dsa_44` says whether the device has a key of that kind beside it.
    """

    status: TrustStatus
    public_key: str = ""
    name: str = ""
    ml_dsa_44: bool = False


class RuleResult(msgspec.Struct, frozen=True, kw_only=True):
    """A rule of the policy: whether the recording keeps to it, and what was found."""

    rule: str
    held: bool
    detail: str


class ClipShown(msgspec.Struct, frozen=True, kw_only=True):
    """What a clip shows: records [first_index, last_index] of the session, by both clocks.

    `shown` of `tree_size` records are there; times are nanoseconds, of session and wall clock.
    """

    tree_size: int
    shown: int
    first_index: int
    last_index: int
    t0_ns: int
    t1_ns: int
    wall0_ns: int
    wall1_ns: int


class WindowProved(msgspec.Struct, frozen=True, kw_only=True):
    """When the session was recorded, as far as others prove it. Nanoseconds since the Unix epoch.

    It began after `not_before_ns` and by `opened_by_ns`, and was sealed by `not_after_ns`; None:
    that is not proved.
    """

    not_before_ns: int | None = None
    opened_by_ns: int | None = None
    not_after_ns: int | None = None


class Cadence(msgspec.Struct, frozen=True, kw_only=True):
    """How often was signed: the longest time and the most records without a checkpoint.

    `promised_ns` and `promised_records` are what OPEN promises; 0: nothing.
    """

    longest_ns: int = 0
    most_records: int = 0
    promised_ns: int = 0
    promised_records: int = 0


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """Everything a verification found.

    Attributes:
        root_hash: root over all records that are here, in hexadecimal; of a clip, of all records.
        tree_size: how many records are here; `signed_size` of them are under a verified signature.
        epochs: how many key epochs the records here begin.
        gaps: the first `MAX_GAPS`; `totals.gap_count` says how many there are.
        marks: the first `MAX_MARKS` whose bodies are here; `totals.mark_count` counts all.
        chunk_map: one character a chunk, in order: `.` good, `X` damaged, `?` missing.
        closed_count: chunks that are encrypted, and of which stored bytes alone were looked at.
        damaged: names of the first `MAX_DAMAGED` chunk files that are damaged or missing;
            `damaged_count` of them in all.
        t_end_ns: session time up to which the record goes.
        rules: the rules of the policy, held or broken. They are apart from integrity.
        recorded: of what source; None where there is no OPEN.
        clip: what is shown; None where the recording is no clip.
        failed_step: number of the step that the verdict comes from.
        not_proved: what this verification cannot show, in words.
        warnings: what is odd and changes nothing in the verdict.
    """

    verdict: Verdict
    trust: Trust
    exit_code: int
    session_id: str = ""
    session_counter: int = 0
    recorder: str = ""
    recorded: Recorded | None = None
    root_hash: str = ""
    tree_size: int = 0
    signed_size: int = 0
    signed_at_s: int = 0
    epochs: int = 0
    opened_wall_ns: int = 0
    t_end_ns: int = 0
    end_reason: str = ""
    totals: Totals = Totals()
    gaps: tuple[GapFound, ...] = ()
    marks: tuple[MarkFound, ...] = ()
    chunk_map: str = ""
    closed_count: int = 0
    damaged: tuple[str, ...] = ()
    damaged_count: int = 0
    cadence: Cadence = Cadence()
    window: WindowProved = WindowProved()
    clip: ClipShown | None = None
    rules: tuple[RuleResult, ...] = ()
    steps: tuple[StepResult, ...] = ()
    failed_step: int | None = None
    not_proved: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


def exit_code(verdict: Verdict, trust: Trust, rules: tuple[RuleResult, ...] = ()) -> int:
    """The exit code: integrity first, then trust and the rules of the policy."""
    code = EXIT_CODES[verdict]
    broken = any(not rule.held for rule in rules)
    if code == 0 and (trust.status is TrustStatus.UNTRUSTED or broken):
        return EXIT_UNTRUSTED
    return code
