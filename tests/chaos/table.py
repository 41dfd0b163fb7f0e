"""A chaos run as a table for people."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from chaos.plan import Kind
from chaos.recovery import Recovery, percentile
from chaos.run import Outcome
from rich.console import Console
from rich.table import Table


def show(outcome: Outcome, console: Console) -> None:
    """Faults by kind with their times of recovery, sessions by shape, gaps by reason."""
    console.print(_faults(outcome.recoveries))
    console.print(_sessions(outcome))
    console.print(_gaps(outcome))
    orphans = [one.orphans for one in outcome.judged if one.orphans]
    if orphans:
        console.print(
            f"{sum(orphans)} segments that no event names behind the seals of {len(orphans)} "
            "sessions: their worker was killed there, and the keeper of retention removes them"
        )
    for text, count in sorted(outcome.exits.items()):
        console.print(f"{text}: {count} times")
    options = outcome.options
    console.print(
        f"seed {options.seed}, {len(outcome.recoveries)} of {options.faults} faults, "
        f"{options.servers} nats-server, {outcome.lasted_s:.0f} s; all in {outcome.folder}"
    )
    for problem in outcome.all_problems:
        console.print(f"PROBLEM {problem}", markup=False, highlight=False)


def _faults(found: Sequence[Recovery]) -> Table:
    table = Table(title="Faults, and seconds until things went on")
    for head in ("fault", "count", "stage p50", "p99", "held sessions", "p50", "p99", "max"):
        table.add_column(head, justify="left" if head == "fault" else "right")
    rows = [(kind.value, [one for one in found if one.struck.fault.kind is kind]) for kind in Kind]
    for name, of_kind in [*rows, ("all", list(found))]:
        stage = [one.stage_s for one in of_kind if one.stage_s is not None]
        held = [took_s for one in of_kind for took_s in one.held_s]
        table.add_row(
            name,
            str(len(of_kind)),
            *(_seconds(percentile(stage, share)) for share in (0.5, 0.99)),
            str(len(held)),
            *(_seconds(percentile(held, share)) for share in (0.5, 0.99, 1.0)),
        )
    return table


def _sessions(outcome: Outcome) -> Table:
    table = Table(title="Sessions")
    for head in ("shape", "count", "sealed", "refused", "units", "hand-overs", "problems"):
        table.add_column(head, justify="left" if head == "shape" else "right")
    for shape in [*sorted({one.shape for one in outcome.judged}), ""]:
        of_shape = [one for one in outcome.judged if shape in {one.shape, ""}]
        table.add_row(
            shape or "all",
            str(len(of_shape)),
            str(sum(bool(one.verdict) for one in of_shape)),
            str(sum(bool(one.refused) for one in of_shape)),
            str(sum(one.units for one in of_shape)),
            str(sum(one.handovers for one in of_shape)),
            str(sum(len(one.problems) for one in of_shape)),
        )
    return table


def _gaps(outcome: Outcome) -> Table:
    table = Table(title="Gaps: time or units that were not recorded, and the record says so")
    for head in ("reason", "gaps", "units lost"):
        table.add_column(head, justify="left" if head == "reason" else "right")
    gaps, lost = (
        _sum(one.gaps for one in outcome.judged),
        _sum(one.lost_units for one in outcome.judged),
    )
    for reason in sorted(gaps):
        table.add_row(reason, str(gaps[reason]), str(lost[reason]))
    accepted = sum(one.accepted_in_gaps for one in outcome.judged)
    table.add_row("published, accepted, not yet durable", "", str(accepted))
    return table


def _sum(counters: Iterable[Counter[str]]) -> Counter[str]:
    return sum(counters, Counter[str]())


def _seconds(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"
