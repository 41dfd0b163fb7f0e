"""The demo's display: events as they come and, on a terminal, what they add up to below them."""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING, Self

from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table

from recorder_worker.cli.demo.tally import Tally
from recorder_worker.cli.fact_line import fact_line
from recorder_worker.cli.output import size
from recorder_worker.core.subjects import Fact

if TYPE_CHECKING:
    from recorder_worker.bus.fact_stream import FactSeen

BAR_FROM_COLUMNS = 100
"""Terminals narrower than this show the numbers without a bar."""


class Board:
    """Shows facts; inside the `with` block a terminal has the table below them, always current."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.tallies: dict[str, Tally] = {}
        self._live: Live | None = None

    def __enter__(self) -> Self:
        # Elsewhere (a file, CI) a table that is drawn over itself would be noise: it comes once,
        # at the end.
        if self.console.is_terminal and not self.console.is_dumb_terminal:
            self._live = Live(
                get_renderable=self._table, console=self.console, refresh_per_second=8
            )
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None
        elif self.tallies and kind is None:
            self.console.print(self._table())

    def heading(self, text: str) -> None:
        """Say what comes now."""
        self.console.print(f"\n{text}", style="bold", markup=False)

    def line(self, text: str, style: str | None = None) -> None:
        """Say one thing."""
        self.console.print(text, style=style, markup=False)

    def add(self, seen: FactSeen) -> None:
        """Count a fact and show it."""
        tally = self.tallies.get(seen.session_id)
        if tally is None:
            return
        tally.add(seen.event)
        if seen.fact is not Fact.HEAD:  # what its checkpoint says again, once it is durable
            self.line(fact_line(seen.fact, seen.session_id, seen.event), style=_style(seen.fact))

    def _table(self) -> Table:
        wide = self.console.width >= BAR_FROM_COLUMNS
        table = Table(box=None, padding=(0, 1), collapse_padding=True, pad_edge=False)
        table.header_style = "dim"
        for name in ("session", "state"):
            table.add_column(name, no_wrap=True)
        if wide:
            table.add_column("", width=18)
        for name in ("frames", "segments", "chunks", "in", "out", "ratio"):
            table.add_column(name, justify="right", no_wrap=True)
        table.add_column("checkpoint", no_wrap=True)
        for tally in self.tallies.values():
            of = f"/{tally.frames_declared}" if tally.frames_declared else ""
            table.add_row(
                tally.name,
                tally.state,
                *([_bar(tally)] if wide else []),
                f"{tally.frames}{of}",
                str(tally.segments),
                str(tally.chunks),
                size(tally.raw_bytes),
                size(tally.stored_bytes),
                f"{tally.ratio:.0f}:1" if tally.ratio else "",
                f"{tally.tree_size} {tally.root_hash[:8]}" if tally.tree_size else "",
            )
        return table


def _bar(tally: Tally) -> ProgressBar:
    """How much of the source is recorded; of one without an end, only that it goes on."""
    if tally.sealed is not None:
        return ProgressBar(total=1, completed=1)
    if tally.frames_declared:
        return ProgressBar(total=tally.frames_declared, completed=tally.frames)
    return ProgressBar(total=1, completed=0, pulse=tally.state == "recording")


def _style(fact: Fact) -> str | None:
    return {
        Fact.STARTED: "cyan",
        Fact.CHECKPOINT: "green",
        Fact.SEALED: "bold green",
        Fact.PAUSED: "yellow",
        Fact.RESUMED: "yellow",
        Fact.QUALITY: "yellow",
        Fact.REJECTED: "red",
        Fact.FAILED: "red",
        Fact.INCIDENT: "red",
    }.get(fact)
