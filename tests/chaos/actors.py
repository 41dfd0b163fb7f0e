"""The processes of a chaos run: each is started again whenever it ends, as an init system does."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec
from chaos.proxy import Proxy
from chaos.wall_clock import WallClock

AGAIN_S = 0.3
"""How long after an end that nobody asked for it is started again."""
END_S = 30.0
UNAVAILABLE = 69
"""How a worker ends that finds no NATS when it starts."""


class Life(msgspec.Struct, kw_only=True):
    """One process of an actor, from its start to its end."""

    pid: int
    code: int | None = None
    asked_for: bool = False


class Actor:
    """A program that is kept running; what it writes to stderr goes to a file.

    Attributes:
        lives: every process that there was.
        busy: held while something is done to it.
    """

    def __init__(
        self, name: str, command: Sequence[str], env: Mapping[str, str], folder: Path, log: Path
    ) -> None:
        self.name = name
        self.lives: list[Life] = []
        self.busy = asyncio.Lock()
        self._command = list(command)
        self._env = dict(env)
        self._folder = folder
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None
        self._watching: asyncio.Task[None] | None = None
        self._wanted = False

    @property
    def log(self) -> str:
        return self._log.read_text(encoding="utf-8", errors="replace")

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start it, and keep it running."""
        self._wanted = True
        self._spawn()
        if self._watching is None:
            self._watching = asyncio.create_task(self._watch())

    def send(self, number: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(number)

    async def end(self, number: signal.Signals) -> None:
        """End it by a signal, and do not start it again; SIGKILL where it does not listen."""
        self._wanted = False
        self.lives[-1].asked_for = True
        self.send(number)
        self.send(signal.SIGCONT)
        if not await self._ended(END_S):
            self.send(signal.SIGKILL)
            assert await self._ended(END_S), f"{self.name} does not die"

    async def _ended(self, within_s: float) -> bool:
        by_s = time.monotonic() + within_s
        while self.running and time.monotonic() < by_s:
            await asyncio.sleep(0.02)
        self._note_end()
        return not self.running

    def _spawn(self) -> None:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command,
                cwd=self._folder,
                env=self._env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        self.lives.append(Life(pid=self._process.pid))

    def _note_end(self) -> None:
        if self._process is not None:
            self.lives[-1].code = self._process.poll()

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(AGAIN_S)
            if self._wanted and not self.running:
                self._note_end()
                self._spawn()


class ChaosWorker(Actor):
    """A worker that reaches every server through a proxy of its own, by a clock of its own."""

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        env: Mapping[str, str],
        folder: Path,
        log: Path,
        *,
        stages: Sequence[str],
        proxies: Sequence[Proxy],
        clock: WallClock | None,
    ) -> None:
        super().__init__(name, command, {**env, **(clock.env if clock else {})}, folder, log)
        self.stages = tuple(stages)
        self.proxies = tuple(proxies)
        self.clock = clock


def environment(**variables: str) -> dict[str, str]:
    """This process's environment without settings of a recorder, and with the given variables."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RECORDER_")}
    return kept | variables
