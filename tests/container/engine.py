"""The container engine that is there, and what a smoke test asks of it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Self

ROOT = Path(__file__).resolve().parents[2]
PROGRAMS = ("docker", "podman")
POLL_S = 0.5


class SmokeError(Exception):
    """Something is not as it should be; the text says what was expected and what was found."""


def until(what: str, condition: Callable[[], bool], timeout_s: float = 60.0) -> None:
    """Poll until a condition holds. Raises SmokeError when it does not in time."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            raise SmokeError(f"expected within {timeout_s:g} s: {what}; it did not happen")
        time.sleep(POLL_S)


class Engine:
    """Runs `docker` or `podman` with the environment that compose.yaml reads."""

    def __init__(
        self, program: str, environment: dict[str, str], build_options: Sequence[str] = ()
    ) -> None:
        self._program = program
        self.build_options = build_options
        # Settings of a recorder on this machine are none of the containers' business.
        kept = {name: value for name, value in os.environ.items() if name[:9] != "RECORDER_"}
        self._environment = kept | environment

    @classmethod
    def found(cls, wanted: str | None, environment: dict[str, str]) -> Self | None:
        """The wanted engine, else the first that answers and has compose; None: there is none."""
        for program in [wanted] if wanted else PROGRAMS:
            if shutil.which(program) is None:
                continue
            engine = cls(program, environment)
            if engine.succeeds("info") and engine.succeeds("compose", "version"):
                return engine
        return None

    def __call__(self, *arguments: str) -> str:
        """Run a command of the engine; its output. Raises SmokeError with what it said."""
        done = self._run(arguments)
        if done.returncode:
            said = (done.stderr or done.stdout).strip()[-3000:]
            raise SmokeError(
                f"{self._program} {' '.join(arguments)}: exit {done.returncode}\n{said}"
            )
        return done.stdout

    def succeeds(self, *arguments: str) -> bool:
        """Whether a command of the engine exits with 0."""
        return self.answer(*arguments)[0] == 0

    def answer(self, *arguments: str) -> tuple[int, str]:
        """The exit code of a command of the engine, and what it said on both its outputs."""
        done = self._run(arguments)
        return done.returncode, done.stdout + done.stderr

    def inspect(self, name: str, kind: str = "container") -> dict[str, Any]:
        """What the engine knows about a container, or an image."""
        found: list[dict[str, Any]] = json.loads(self(kind, "inspect", name))
        return found[0]

    def health(self, container: str) -> str:
        """`starting`, `healthy` or `unhealthy`."""
        state = self.inspect(container)["State"]
        return str((state.get("Health") or state.get("Healthcheck") or {}).get("Status", ""))

    def _run(self, arguments: Sequence[str]) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [self._program, *arguments],
            cwd=ROOT,
            env=self._environment,
            capture_output=True,
            text=True,
            check=False,
        )


class Project:
    """One run of compose.yaml under a name of its own; gone with its volumes at the end."""

    def __init__(self, engine: Engine, name: str, files: Sequence[str]) -> None:
        self._engine = engine
        self._options = ["--project-name", name]
        for file in files:
            self._options += ["--file", file]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            print(self("logs", "--no-color", "--tail", "20"))
        self("down", "--volumes", "--timeout", "30")

    def __call__(self, *arguments: str) -> str:
        """Run a command of compose on this project."""
        return self._engine("compose", *self._options, *arguments)

    def up(self, *options: str) -> None:
        """Bring everything up and wait until all of it is healthy."""
        self("up", "--detach", "--no-build", "--wait", "--wait-timeout", "180", *options)

    def kill(self, container: str) -> None:
        """SIGKILL. To an engine that is a stop by hand: its restart policy does not follow."""
        self._engine("kill", container)

    def containers(self, *services: str) -> list[str]:
        """The ids of the running containers of services; of all of them where none is named."""
        return self("ps", "--quiet", *services).split()

    def host_settings(self, container: str) -> dict[str, Any]:
        """What the engine holds a container to."""
        settings: dict[str, Any] = self._engine.inspect(container)["HostConfig"]
        return settings
