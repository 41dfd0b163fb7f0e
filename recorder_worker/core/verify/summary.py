"""Turns what the steps found into the report."""

from __future__ import annotations

from typing import TYPE_CHECKING

from recorder_worker.core.records import GapRecord, SealRecord
from recorder_worker.core.verify.coverage import totals_of
from recorder_worker.core.verify.report import (
    DAMAGED,
    GOOD,
    MISSING,
    GapFound,
    Report,
    StepResult,
    Trust,
    TrustStatus,
    exit_code,
    printable,
)
from recorder_worker.core.verify.verdicts import EXIT_CODES, Verdict

if TYPE_CHECKING:
    from recorder_worker.core.verify.chunks import ChunkCheck
    from recorder_worker.core.verify.verification import Verification


def summarise(run: Verification) -> Report:
    """The report of a finished run."""
    material, verdict, opened = run.material, run.verdict, run.opened
    totals, streams = totals_of(material.records)
    seal = material.records[-1] if material.records else None
    steps = tuple(_shown(step) for step in run.steps)
    newest = max(run.signed_at.values(), default=0)
    return Report(
        verdict=verdict,
        trust=run.trust,
        exit_code=exit_code(verdict, run.trust),
        session_id=opened.session_id if opened else "",
        recorder=printable(opened.recorder) if opened else "",
        root_hash=material.root.hex(),
        tree_size=material.tree_size,
        signed_size=run.signed_size,
        signed_at_s=newest,
        opened_wall_ns=opened.wall_ns if opened else 0,
        t_end_ns=max((stream.t_ns for stream in streams), default=0),
        end_reason=seal.reason.value if isinstance(seal, SealRecord) else "",
        totals=totals,
        gaps=tuple(_gap(r) for r in material.records if isinstance(r, GapRecord)),
        chunk_map="".join(_mark(check) for check in run.checks),
        damaged=tuple(check.name for check in run.checks if check.fault),
        steps=steps,
        failed_step=next((s.number for s in steps if s.verdict is verdict), None),
        not_proved=tuple(_not_proved(run, verdict)),
        warnings=tuple(printable(warning) for warning in material.warnings),
    )


def _shown(step: StepResult) -> StepResult:
    return StepResult(
        number=step.number,
        title=step.title,
        status=step.status,
        detail=printable(step.detail),
        verdict=step.verdict,
    )


def _gap(record: GapRecord) -> GapFound:
    span = record.span
    return GapFound(
        index=record.index,
        stream=span.stream,
        first_unit=span.first_unit,
        lost_units=span.unit_count,
        t0_ns=span.t0_ns,
        t1_ns=span.t1_ns,
        wall0_ns=span.wall0_ns,
        wall1_ns=span.wall1_ns,
        reason=record.reason.value,
        detail=printable(record.detail),
    )


def _mark(check: ChunkCheck) -> str:
    if check.fault is None:
        return GOOD
    return MISSING if check.fault.missing else DAMAGED


def _not_proved(run: Verification, verdict: Verdict) -> list[str]:
    trust: Trust = run.trust
    said = ["time unproven: no receipt; all times are the recorder's own clock's"]
    if trust.status is not TrustStatus.TRUSTED:
        key = trust.public_key or "(unknown)"
        reason = (
            "no policy was given" if trust.status is TrustStatus.NO_POLICY else "not in the policy"
        )
        said.append(f"who recorded it: nobody vouches for key {key} ({reason})")
    if EXIT_CODES[verdict] == 0 or verdict is Verdict.TRUNCATED:
        said.append(
            "what happened before capture: that the pixels were genuine, and that recording "
            "began when it should have"
        )
        said.append("that no other session of this recorder was deleted: there is no log of them")
    else:
        said.append("that this is what was recorded: see the steps that failed")
    if verdict is Verdict.TRUNCATED:
        said.append(f"what came behind the {run.signed_size} signed records")
    return said
