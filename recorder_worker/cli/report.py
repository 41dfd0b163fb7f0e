"""A verification's report as text."""

from __future__ import annotations

from datetime import UTC, datetime

from recorder_worker.cli.output import fields, out, seconds, size
from recorder_worker.core.verify.report import Report, TrustStatus
from recorder_worker.core.verify.steps import Status

MARKS = {
    Status.OK: ("ok", "green"),
    Status.FAILED: ("FAILED", "bold red"),
    Status.NOT_REACHED: ("-", "dim"),
}
CHUNKS_A_LINE = 80
TRUST = {
    TrustStatus.TRUSTED: "trusted as",
    TrustStatus.UNTRUSTED: "NOT TRUSTED by the policy given",
    TrustStatus.NO_POLICY: "no policy given: nobody vouches for this key",
}


def print_report(report: Report) -> None:
    """Print all of it: the steps, the chunks, the gaps, the verdict, and what is not proved."""
    for step in report.steps:
        word, style = MARKS[step.status]
        out.print(f"{step.number:>2}  ", end="")
        out.print(f"{word:<7}", style=style, end="")
        out.print(step.title + (f": {step.detail}" if step.detail else ""), markup=False)
    if report.chunk_map:
        out.print("\nchunks, in order (. good, X damaged, ? missing)")
        for at in range(0, len(report.chunk_map), CHUNKS_A_LINE):
            out.print(f"  {report.chunk_map[at : at + CHUNKS_A_LINE]}", markup=False)
    for name in report.damaged:
        out.print(f"  damaged: {name}", style="bold red", markup=False)
    for gap in report.gaps:
        out.print(
            f"  gap {gap.reason}: {seconds(gap.t0_ns)} to {seconds(gap.t1_ns)}, "
            f"{gap.lost_units} frames, {_utc(gap.wall0_ns)} to {_utc(gap.wall1_ns)} {gap.detail}",
            markup=False,
        )
    out.print()
    out.print(_summary(report), markup=False)
    for text in report.warnings:
        out.print(f"note: {text}", markup=False)
    for text in report.not_proved:
        out.print(f"not proved: {text}", style="yellow", markup=False)
    style = "bold green" if report.exit_code == 0 else "bold red"
    out.print(f"\n{report.verdict.value}", style=style)


def _summary(report: Report) -> str:
    totals = report.totals
    trust = f"{TRUST[report.trust.status]} {report.trust.name}".rstrip()
    return fields(
        session=report.session_id,
        recorder=report.recorder,
        root_hash=report.root_hash,
        tree_size=f"{report.tree_size} ({report.signed_size} signed)",
        opened=_utc(report.opened_wall_ns),
        covers=f"{seconds(report.t_end_ns)}, ended: {report.end_reason or 'not sealed'}",
        frames=totals.frame_count,
        stored=f"{size(totals.raw_bytes)} of pixels in {size(totals.stored_bytes)}",
        key=f"{report.trust.public_key} ({trust})",
    )


def _utc(wall_ns: int) -> str:
    """A wall clock time; what no clock can have shown is given as it stands in the record."""
    try:
        moment = datetime.fromtimestamp(wall_ns / 1e9, tz=UTC)
    except (OverflowError, ValueError, OSError):
        return f"{wall_ns} ns"
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
