"""`recorder run` as a real process, to be looked at from outside and sent real signals."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

from ports import free_port

RECORDER = Path(sys.executable).with_name("recorder")
DEADLINE_S = 60.0
POLL_S = 0.02


def clean_environment(**variables: str) -> dict[str, str]:
    """This process's environment without settings of a recorder, and with the given variables."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RECORDER_")}
    return kept | variables


def run_recorder(
    *arguments: str, folder: Path, env: dict[str, str] | None = None, timeout_s: float = DEADLINE_S
) -> subprocess.CompletedProcess[str]:
    """Run a `recorder` command to its end, in `folder` as its working directory."""
    return subprocess.run(
        [str(RECORDER), *arguments],
        cwd=folder,
        env=clean_environment(**(env or {})),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=timeout_s,
    )


class WorkerProcess:
    """One worker in a process of its own, on free ports; `with` starts it and ends it.

    Args:
        folder: its working directory; the data directory is `recorder-data` in it.
        stages: which ones to run; none means all, with an embedded nats-server.
        env: settings as variables, over the ones for free ports and JSON logs.
        program: what is run in place of this version of `recorder`.
    """

    def __init__(
        self,
        folder: Path,
        *stages: str,
        env: dict[str, str] | None = None,
        program: Sequence[str] = (str(RECORDER),),
    ) -> None:
        self.folder = folder
        self._program = program
        self._stages = stages
        self._env = {
            "RECORDER_NATS__PORT": str(free_port()),
            "RECORDER_SIDECAR__PORT": "0",
            "RECORDER_LOG__FORMAT": "json",
        } | (env or {})
        self._process: subprocess.Popen[bytes] | None = None
        self._reading: threading.Thread | None = None
        self._news = threading.Condition()
        self.lines: list[dict[str, Any]] = []
        """What it has logged since its last start; a line that is not JSON is under `text`."""
        self.nats_url = ""
        self.sidecar_port = 0

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGCONT)
            self._process.terminate()
            try:
                self._process.wait(DEADLINE_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
        self.wait()

    @property
    def data_dir(self) -> Path:
        return self.folder / self._env.get("RECORDER_DATA_DIR", "recorder-data")

    @property
    def pid(self) -> int:
        assert self._process is not None, "start it first"
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start it and wait until it says that it works."""
        self.spawn()
        started = self.logged("WorkerStarted")
        self.nats_url = started["nats"]
        self.sidecar_port = started["sidecar_port"]
        self._wait_ready()

    def spawn(self) -> None:
        """Start it and wait for nothing."""
        assert not self.running
        self.lines = []
        self._process = subprocess.Popen(
            [*self._program, "run", *self._stages],
            cwd=self.folder,
            env=clean_environment(**self._env),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        self._reading = threading.Thread(target=self._read, args=(self._process,), daemon=True)
        self._reading.start()

    def restart(self) -> None:
        """Start it again after its end; an embedded server listens where it did before."""
        if self.nats_url and "RECORDER_NATS__URL" not in self._env:
            self._env["RECORDER_NATS__PORT"] = self.nats_url.rsplit(":", 1)[1]
        self.start()

    def kill(self) -> None:
        """SIGKILL, and wait until it is gone."""
        self.signal(signal.SIGKILL)
        self.wait()

    def terminate(self) -> int:
        """SIGTERM; its exit code."""
        self.signal(signal.SIGTERM)
        return self.wait()

    def signal(self, number: signal.Signals) -> None:
        assert self._process is not None, "start it first"
        self._process.send_signal(number)

    def wait(self, timeout_s: float = DEADLINE_S) -> int:
        """Its exit code, once it has ended and its whole log is here."""
        assert self._process is not None, "start it first"
        code = self._process.wait(timeout_s)
        if self._reading is not None:
            self._reading.join(timeout_s)
        return code

    @property
    def text(self) -> str:
        """Its log, for messages of tests."""
        return "\n".join(str(line.get("text", json.dumps(line))) for line in self.lines)

    def logged(self, event: str, timeout_s: float = DEADLINE_S, **fields: object) -> dict[str, Any]:
        """Wait for a log line with that event and those fields."""
        wanted = fields | {"event": event}
        deadline = time.monotonic() + timeout_s
        with self._news:
            while True:
                ended = self._reading is None or not self._reading.is_alive()
                for line in self.lines:
                    if wanted.items() <= line.items():
                        return line
                left_s = deadline - time.monotonic()
                if ended or left_s <= 0:
                    why = "it ended" if ended else f"nothing within {timeout_s} s"
                    raise AssertionError(f"expected {wanted} in the log: {why}\n{self.text}")
                self._news.wait(min(left_s, 0.5))

    def _wait_ready(self) -> None:
        """Poll /readyz until it says 200."""
        url = f"http://127.0.0.1:{self.sidecar_port}/readyz"
        deadline = time.monotonic() + DEADLINE_S
        while True:
            try:
                with urllib.request.urlopen(url, timeout=5):
                    return
            except (urllib.error.HTTPError, OSError) as error:
                if time.monotonic() > deadline or not self.running:
                    raise AssertionError(f"never ready: {error}\n{self.text}") from error
            time.sleep(POLL_S)

    def _read(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stderr is not None
        with process.stderr:
            for raw in process.stderr:
                line = _parsed(raw.decode(errors="replace").rstrip("\n"))
                with self._news:
                    self.lines.append(line)
                    self._news.notify_all()
        with self._news:
            self._news.notify_all()


def _parsed(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except ValueError:
        found = None
    return found if isinstance(found, dict) else {"text": text}
