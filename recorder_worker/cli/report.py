"""A verification's report as text."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from recorder_worker.cli.output import fields, out, seconds, size
from recorder_worker.core.mark_words import masks_words
from recorder_worker.core.notes import RECORDER
from recorder_worker.core.verify.report import (
    ClipShown,
    Recorded,
    Report,
    RetentionFound,
    TrustStatus,
)
from recorder_worker.core.verify.steps import Status
from recorder_worker.core.verify.verdicts import Verdict

MARKS = {
    Status.OK: ("ok", "green"),
    Status.FAILED: ("FAILED", "bold red"),
    Status.NOT_REACHED: ("-", "dim"),
}
REMOVED = ("removed", "bold yellow")
"""Of a step that misses nothing but what its owner removed, and signed for."""
CHUNKS_A_LINE = 80
TRUST = {
    TrustStatus.TRUSTED: "trusted as",
    TrustStatus.UNTRUSTED: "NOT TRUSTED by the policy given",
    TrustStatus.NO_POLICY: "no policy given: nobody vouches for this key",
}
_UNIX_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def print_report(report: Report) -> None:
    """Print all of it: the steps, the chunks, the gaps, the verdict, and what is not proved."""
    for step in report.steps:
        word, style = REMOVED if step.verdict is Verdict.REDACTED else MARKS[step.status]
        out.print(f"{step.number:>2}  ", end="")
        out.print(f"{word:<6} ", style=style, end="")
        if step.status is Status.NOT_REACHED:
            word = f" (not reached: {step.detail})"
        else:
            word = f": {step.detail}" if step.detail else ""
        out.print(step.title + word, markup=False)
    _print_chunks(report)
    for text in (*_gaps(report), *_marks(report)):
        out.print(text, markup=False)
    out.print()
    out.print(_summary(report), markup=False)
    for rule in report.rules:
        word, style = ("held", "green") if rule.held else ("BROKEN", "bold red")
        out.print(f"rule {rule.rule}: ", end="", markup=False)
        out.print(word, style=style, end="")
        out.print(f": {rule.detail}", markup=False)
    for text in _retention(report.retention):
        out.print(text, markup=False)
    for text in report.warnings:
        out.print(f"note: {text}", markup=False)
    for text in report.not_proved:
        out.print(f"not proved: {text}", style="yellow", markup=False)
    style = "bold green" if report.exit_code == 0 else "bold red"
    out.print(f"\n{report.verdict.value}{_apart(report)}", style=style)


def _print_chunks(report: Report) -> None:
    if report.chunk_map:
        gone = ", - removed by its owner" if report.retention.removal else ""
        out.print(f"\nchunks, in order (. good, X damaged, ? missing{gone})")
        for at in range(0, len(report.chunk_map), CHUNKS_A_LINE):
            out.print(f"  {report.chunk_map[at : at + CHUNKS_A_LINE]}", markup=False)
    for name in report.damaged:
        out.print(f"  damaged: {name}", style="bold red", markup=False)
    if report.damaged_count > len(report.damaged):
        more = report.damaged_count - len(report.damaged)
        out.print(f"  damaged: {more} more", style="bold red", markup=False)


def _retention(found: RetentionFound) -> Iterator[str]:
    for hold in found.held:
        yield (
            f"under hold {hold.name!r} since {_utc(hold.wall_ns)}, by {hold.by or 'nobody named'}: "
            f"{hold.reason}"
        )
    removal = found.removal
    if removal is None:
        return
    gone = f"{removal.removed_count} of {removal.chunk_count} chunks"
    ended = f"ended {_utc(removal.ended_ns)}" if removal.finished else "not finished"
    limit = f" {removal.limit}" if removal.limit else ""
    yield (
        f"removed: {gone}{', and the key' if removal.key_removed else ''}, begun "
        f"{_utc(removal.begun_ns)}, {ended}, by {removal.by or 'nobody named'} "
        f"({removal.rule}{limit}): {removal.reason}"
    )


def _gaps(report: Report) -> Iterator[str]:
    for gap in report.gaps:
        yield (
            f"  gap {gap.reason}: {seconds(gap.t0_ns)} to {seconds(gap.t1_ns)}, "
            f"{gap.lost_units} frames lost, {_utc(gap.wall0_ns)} to {_utc(gap.wall1_ns)}"
            + (f": {gap.detail}" if gap.detail else "")
        )
    if report.totals.gap_count > len(report.gaps):
        yield f"  gaps: {report.totals.gap_count - len(report.gaps)} more"


def _marks(report: Report) -> Iterator[str]:
    for mark in report.marks:
        said = f": {mark.says}" if mark.says else ""
        by = f" by {mark.by}" if mark.by and mark.by != RECORDER else ""
        yield f"  mark {mark.kind}{by}: {seconds(mark.t_ns)}, {_utc(mark.wall_ns)}{said}"
    if report.totals.mark_count > len(report.marks):
        yield f"  marks: {report.totals.mark_count - len(report.marks)} more"


def _summary(report: Report) -> str:
    totals, cadence = report.totals, report.cadence
    what = "packets" if report.recorded and report.recorded.profile == "copy" else "pixels"
    trust = f"{TRUST[report.trust.status]} {report.trust.name}".rstrip()
    clip = {"shows": _clip(report.clip)} if report.clip else {}
    window = report.window
    return fields(
        session=f"{report.session_id} (number {report.session_counter})",
        recorder=report.recorder,
        **_recorded(report.recorded),
        root_hash=report.root_hash,
        tree_size=f"{report.tree_size} ({report.signed_size} signed)",
        epochs=report.epochs,
        opened=_utc(report.opened_wall_ns),
        **clip,
        covers=f"{seconds(report.t_end_ns)}, ended: {report.end_reason or 'not sealed'}",
        frames=totals.frame_count,
        stored=f"{size(totals.raw_bytes)} of {what} in {size(totals.stored_bytes)}",
        signed=f"at most {cadence.longest_ns / 1e9:.1f} s and {cadence.most_records} records "
        "without a checkpoint"
        if report.clip is None
        else "a clip does not show how often",
        time=f"not before {_proved(window.not_before_ns)}, "
        f"not after {_proved(window.not_after_ns)}",
        key=f"{report.trust.public_key} ({trust})",
    )


def _recorded(found: Recorded | None) -> dict[str, str]:
    """What OPEN says of the source, a line each; nothing where there is no OPEN."""
    if found is None:
        return {}
    rate = f"{found.fps:g} frames a second" if found.fps else "at the source's own rate"
    lines = {
        "source": f"{found.kind} {found.uri} on {found.node}: {found.description}",
        "profile": f"{found.profile}, {rate}",
    }
    if found.mask_count:
        lines["masked"] = f"{masks_words(found.masks, found.mask_count)}, from the begin"
    return lines


def _clip(clip: ClipShown) -> str:
    return (
        f"records {clip.first_index} to {clip.last_index} of {clip.tree_size}, session time "
        f"{seconds(clip.t0_ns)} to {seconds(clip.t1_ns)}, {_utc(clip.wall0_ns)} to "
        f"{_utc(clip.wall1_ns)}"
    )


def _apart(report: Report) -> str:
    """What is judged apart from integrity, where it went wrong."""
    broken = [rule.rule for rule in report.rules if not rule.held]
    said = ["the key is not trusted"] * (report.trust.status is TrustStatus.UNTRUSTED)
    said += [f"rules broken: {', '.join(broken)}"] * bool(broken)
    return f", but {'; '.join(said)}" if said else ""


def _proved(time_ns: int | None) -> str:
    return "(unproved)" if time_ns is None else _utc(time_ns)


def _utc(wall_ns: int) -> str:
    """A wall clock time; what no clock can have shown is given as it stands in the record."""
    try:
        moment = _UNIX_EPOCH + timedelta(microseconds=wall_ns // 1000)
    except OverflowError:
        return f"{wall_ns} ns"
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
