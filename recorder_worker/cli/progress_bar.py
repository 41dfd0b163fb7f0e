"""A progress bar on the terminal."""

from __future__ import annotations

from typing import Self

from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from recorder_worker.cli.output import err


class ProgressBar:
    """A progress bar where a person looks on: how far, how much longer, how much faster than life.

    A context manager.
    """

    def __init__(self) -> None:
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TaskProgressColumn(),
            TextColumn("{task.fields[speed]}"),
            TimeRemainingColumn(),
            console=err,
            transient=True,
            disable=not err.is_terminal,
        )
        self._tasks = {
            what: self._bar.add_task(what, total=None, visible=False, start=False, speed="")
            for what in ("looking", "writing")
        }

    def __enter__(self) -> Self:
        self._bar.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._bar.stop()

    def tell(self, what: str, done_ns: int, total_ns: int) -> None:
        """How far the work is, in nanoseconds of session time."""
        number = self._tasks[what]
        task = self._bar.tasks[number]
        if not task.started:
            self._bar.start_task(number)
        taken_s = task.elapsed or 0
        speed = f"{done_ns / 1e9 / taken_s:.1f}x" if taken_s > 1 else ""
        self._bar.update(number, completed=done_ns, total=total_ns, visible=True, speed=speed)
