"""Desktops that are worked at: an X server each, and one program that draws on all of them."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Sequence
from contextlib import ExitStack
from multiprocessing.process import BaseProcess
from typing import Self

from benchmarks.displays import FPS, LOADS, Program, processor_s, server

MIXED = ("a log in a window of 1200x800", "a caret blinks", "nothing happens")
"""One after the other: every third desktop is busy, every third one is idle."""
STARTED_S = 60.0


class LiveDesktops:
    """X servers of 1920x1080 while the `with` block lasts; `grow` adds some."""

    def __init__(self) -> None:
        self._open = ExitStack()
        self._painters: list[BaseProcess] = []
        self._servers: list[int] = []
        self.displays: list[str] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def grow(self, count: int) -> None:
        """Start servers until there are so many, and draw on the new ones."""
        first = len(self.displays)
        for _ in range(first, count):
            display, pid = self._open.enter_context(server())
            self.displays.append(display)
            self._servers.append(pid)
        new = [(self.displays[nth], MIXED[nth % len(MIXED)]) for nth in range(first, count)]
        context = multiprocessing.get_context("spawn")
        ready = context.Event()
        painter = context.Process(target=paint, args=(new, ready), daemon=True)
        painter.start()
        self._open.callback(_end, painter)
        self._painters.append(painter)
        if not ready.wait(STARTED_S):
            raise TimeoutError(f"expected a program that draws within {STARTED_S} s")

    def rest(self) -> None:
        """Nothing is drawn from here on: all desktops are idle."""
        for painter in self._painters:
            os.kill(painter.pid or 0, signal.SIGSTOP)

    def go_on(self) -> None:
        """Draw again."""
        for painter in self._painters:
            os.kill(painter.pid or 0, signal.SIGCONT)

    def cpu_s(self) -> float:
        """Processor seconds of all X servers since their start."""
        return sum(map(processor_s, self._servers))


def paint(loads: Sequence[tuple[str, str]], ready: multiprocessing.synchronize.Event) -> None:
    """Draw on every display what its load says, until this process is ended."""
    turns = []
    for display, load in loads:
        what, width, height = LOADS[load]
        if what:
            program = Program(display, width, height)
            turns.append((program, getattr(program, what)))
            program.finish()
    ready.set()
    for turn in range(2**31):
        begin = time.monotonic()
        for program, draw in turns:
            draw(turn)
            program.finish()
        # What was missed while it was stopped is not drawn all at once.
        time.sleep(max(0.0, begin + 1 / FPS - time.monotonic()))


def _end(painter: BaseProcess) -> None:
    os.kill(painter.pid or 0, signal.SIGCONT)
    painter.terminate()
    painter.join()
