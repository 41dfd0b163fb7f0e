"""The processor in two parts: one core for what is measured, and the others for all else."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def two_parts() -> Iterator[tuple[set[int], set[int]]]:
    """The core of the worker, and those of all else; this process runs on its own again after it.

    Where there is one core alone, or the system knows no affinity, all share what there is.
    """
    if not hasattr(os, "sched_setaffinity"):
        yield set(), set()
        return
    cores = os.sched_getaffinity(0)
    measured = {max(cores)}
    try:
        yield measured, cores - measured or cores
    finally:
        os.sched_setaffinity(0, cores)


def run_on(cores: set[int]) -> None:
    """Run there from now on, with everything that is started from here."""
    if cores:
        os.sched_setaffinity(0, cores)
