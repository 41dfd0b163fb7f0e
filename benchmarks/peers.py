"""Pairs a command with its peers: alternating runs, medians, and ratios to the first of them."""

from __future__ import annotations

import statistics
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence

ROUNDS = 5


def run(command: Sequence[str]) -> None:
    """Run a command to its end; its output is thrown away, its failure is not."""
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # noqa: S603  (commands of this benchmark)


def medians(works: Mapping[str, Callable[[], object]], rounds: int = ROUNDS) -> dict[str, float]:
    """The median seconds of each piece of work.

    One run of each is thrown away, which warms the page cache; then they take turns, so that a
    machine that is busy for a while is busy for all of them.
    """
    times: dict[str, list[float]] = {name: [] for name in works}
    for nth in range(rounds + 1):
        for name, work in works.items():
            begin = time.perf_counter()
            work()
            if nth:
                times[name].append(time.perf_counter() - begin)
    return {name: statistics.median(found) for name, found in times.items()}


def print_table(title: str, rows: Mapping[str, Sequence[str]], heads: Sequence[str]) -> None:
    """A table with a row for each name."""
    table = [["", *heads], *([name, *cells] for name, cells in rows.items())]
    widths = [max(len(row[column]) for row in table) for column in range(len(table[0]))]
    print(f"\n{title}")
    for row in table:
        cells = (cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))
        print(row[0].ljust(widths[0]), *cells, sep="  ")
