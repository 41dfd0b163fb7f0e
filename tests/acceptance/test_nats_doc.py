"""Follows docs/nats.md line by line: its users, on its server, record a session."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from ports import free_port
from worker_process import clean_environment

from recorder_worker.adapters.nats_server.binary import find_program

DOC = Path(__file__).parents[2] / "docs" / "nats.md"
DEADLINE_S = 90.0


def lines() -> list[str]:
    """The shell lines of the section on users, in their order."""
    section = DOC.read_text(encoding="utf-8").split("## Users\n", 1)[1].split("\n### ", 1)[0]
    blocks = re.findall(r"^```sh\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)
    return [line for block in blocks for line in block.splitlines()]


class Shell:
    """Runs lines in one folder; what does not end by itself is ended with it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._port = free_port()
        bins = f"{Path(sys.executable).parent}:{find_program().parent}"
        self._env = clean_environment()
        self._env["PATH"] = f"{bins}:{self._env['PATH']}"
        self._running: list[subprocess.Popen[bytes]] = []

    def _command(self, line: str) -> list[str]:
        """A line as it stands, but on free ports."""
        line = line.replace("4222", str(self._port))
        return ["bash", "-c", re.sub(r"SIDECAR__PORT=\d+", "SIDECAR__PORT=0", line)]

    def run(self, line: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self._command(line),
            cwd=self._folder,
            env=self._env,
            check=False,
            capture_output=True,
            text=True,
            timeout=DEADLINE_S,
        )

    def start(self, line: str) -> None:
        with (self._folder / "started.log").open("ab") as log:
            self._running.append(
                subprocess.Popen(
                    self._command(line),
                    cwd=self._folder,
                    env=self._env,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    # The line is a shell in a shell: they are ended together.
                    start_new_session=True,
                )
            )

    def end(self) -> None:
        for process in reversed(self._running):
            os.killpg(process.pid, signal.SIGTERM)
            process.wait(DEADLINE_S)
        assert not self._left(), "expected every process of a line to end with it"

    def _left(self) -> list[int]:
        """Processes that still work in our folder, once they have had the time to end."""
        deadline = time.monotonic() + DEADLINE_S
        while left := [pid for pid, cwd in _folders() if cwd == self._folder]:
            if time.monotonic() > deadline:
                return left
            time.sleep(0.05)
        return []

    @property
    def log(self) -> str:
        return (self._folder / "started.log").read_text(encoding="utf-8", errors="replace")


def _folders() -> Iterator[tuple[int, Path]]:
    """The working folder of every process that we may look at."""
    for link in Path("/proc").glob("[0-9]*/cwd"):
        with suppress(OSError):  # it ended meanwhile, or is not ours
            yield int(link.parent.name), link.readlink()


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Shell]:
    opened = Shell(tmp_path)
    yield opened
    opened.end()


def test_the_section_on_users_works_line_by_line(shell: Shell) -> None:
    followed = lines()
    assert len(followed) == 9
    for line in followed:
        if line.startswith("nats-server") or "recorder run" in line:
            shell.start(line)
            continue
        deadline = time.monotonic() + DEADLINE_S
        # The reader sees that the server is up; a test asks again.
        while (ended := shell.run(line)).returncode == 69 and time.monotonic() < deadline:
            time.sleep(0.1)
        assert ended.returncode == 0, f"{line}\n{ended.stderr}\n{shell.log}"
        if "recorder start" in line:
            session_id = ended.stdout.strip()
    assert session_id in ended.stdout  # of `recorder ls`
