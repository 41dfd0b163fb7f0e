"""The tables of a run: sessions, what the recorders held meanwhile, and what they said."""

from __future__ import annotations

import os
import statistics
from collections.abc import Mapping

from endurance.plan import Plan
from endurance.watch import Watch
from rich.console import Console
from rich.table import Table

WARM_UP = 0.1
FLAT = {"memory MiB": 0.1, "threads": 0.15, "descriptors": 0.15}
"""The share of the median by which each may be more at the end than at the begin."""
LEAST = {"memory MiB": 32.0, "threads": 5.0, "descriptors": 8.0}
"""So much more is nothing, whatever the share: of what a burst behind an absence has touched, the
allocator keeps a part; whoever waits for an answer of the second store has a thread and a
connection (two workers, the look, the keeper)."""
MOST = {"memory MiB": 2.0}
"""The largest that was ever seen, as a multiple of the median: what is gathered for somebody who
does not come is given back behind it, and would not show in growth."""


def show(plan: Plan, watches: Mapping[str, Watch], lasted_s: float) -> None:
    """Print all tables; what grew, and must not, is noted in the plan."""
    console = Console(width=150)
    console.print(_sessions(plan))
    for name, watch in watches.items():
        console.print(_held(plan, name, watch))
        plan.need(not watch.troubles, f"{name}: looks failed: {watch.troubles[:3]}")
        fired = {alert: f"{at_s - plan.begin_s:+.0f} s" for alert, at_s in watch.fired.items()}
        console.print(f"alerts sent: {fired or 'none'}")
        console.print(f"warnings and errors logged: {dict(watch.said.most_common()) or 'none'}\n")
    console.print(
        f"away for {plan.outage_s:.0f} s, {lasted_s:.0f} s in all; load of this machine: "
        f"{os.getloadavg()[0]:.1f} on {os.cpu_count()} cores"
    )


def _sessions(plan: Plan) -> Table:
    table = Table(title="Sessions")
    for head in ("recorder", "session", "ended as", "frames", "gaps", "both verifiers"):
        table.add_column(head, justify="right" if head == "frames" else "left")
    for row in plan.rows:
        gaps = ", ".join(row.gaps) or "none"
        table.add_row(*row[:3], str(row.frames), gaps, ", ".join(row.verdicts))
    return table


def _held(plan: Plan, name: str, watch: Watch) -> Table:
    """Growth is that of the median of the last fifth over that of the first, warm-up left out."""
    table = Table(title=f"{name}: what it held while something was away")
    for head in ("", "least", "median", "most", "first fifth", "last fifth", "growth"):
        table.add_column(head, justify="right" if head else "left")
    seen = watch.during(plan.at_s(WARM_UP), plan.at_s(1.0))
    for what in seen[0].held if seen else ():
        values = [one.held[what] for one in seen]
        fifth = max(1, len(values) // 5)
        first, last = statistics.median(values[:fifth]), statistics.median(values[-fifth:])
        middle = statistics.median(values)
        cells = (min(values), middle, max(values), first, last)
        table.add_row(what, *(f"{cell:.1f}" for cell in cells), f"{last - first:+.1f}")
        if what in FLAT:
            allowed = max(LEAST[what], FLAT[what] * middle)
            plan.need(last - first <= allowed, f"{name}: {what} grew by {last - first:.1f}")
        if what in MOST:
            plan.need(max(values) <= MOST[what] * middle, f"{name}: {what} was {max(values):.1f}")
    return table
