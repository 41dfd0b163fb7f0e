"""A nats-server with the users of `recorder nats-conf`, and logins as each of them."""

from __future__ import annotations

import signal
import socket
import subprocess
import time
from pathlib import Path
from typing import Self

import nats
from nats.aio.client import Client
from ports import free_port
from worker_process import run_recorder

from recorder_worker.adapters.nats_server.binary import find_program
from recorder_worker.bus.connection.broker import Login
from recorder_worker.bus.connection.tls import TlsFiles

DEADLINE_S = 30.0


class ServerProcess:
    """nats-server on a configuration file; `with` starts it and ends it."""

    def __init__(self, conf: Path, port: int, env: dict[str, str] | None = None) -> None:
        self.conf = conf
        self.port = port
        self._env = env
        self._log = conf.with_suffix(".log")
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    @property
    def log(self) -> str:
        return self._log.read_text(encoding="utf-8")

    def start(self) -> None:
        """Start it and wait until it takes connections."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [str(find_program()), "-c", str(self.conf)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self._env,
            )
        deadline = time.monotonic() + DEADLINE_S
        while True:
            try:
                with socket.create_connection(("127.0.0.1", self.port), 1):
                    return
            except OSError:
                assert self._process.poll() is None, self.log
                assert time.monotonic() < deadline, self.log
                time.sleep(0.02)

    def reload(self) -> None:
        """SIGHUP: it reads its configuration again."""
        assert self._process is not None, "start it first"
        self._process.send_signal(signal.SIGHUP)

    def kill(self) -> None:
        """SIGKILL, and wait until it is gone."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(DEADLINE_S)


class SecuredNats:
    """A folder of `recorder nats-conf`, and the server on it; `env` are settings for everybody."""

    def __init__(self, folder: Path, *arguments: str, env: dict[str, str] | None = None) -> None:
        self.folder = folder
        self.port = free_port()
        self._env = env or {}
        self.write(*arguments)
        self.server = ServerProcess(folder / "conf" / "nats-server.conf", self.port)

    def __enter__(self) -> Self:
        self.server.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.kill()

    def write(self, *arguments: str) -> None:
        """`recorder nats-conf`."""
        made = run_recorder(
            "nats-conf",
            *("--out", str(self.folder / "conf"), "--store", str(self.folder / "store")),
            *("--listen", f"127.0.0.1:{self.port}", *arguments),
            folder=self.folder,
            env=self._env,
        )
        assert made.returncode == 0, made.stderr

    def variables(self, user: str) -> dict[str, str]:
        """The variables of a user's file."""
        text = (self.folder / "conf" / "users" / f"{user}.env").read_text(encoding="utf-8")
        lines = [line for line in text.splitlines() if not line.startswith("#")]
        return dict(line.split("=", 1) for line in lines) | self._env

    def login(self, user: str) -> Login:
        """As a client of this product logs in."""
        found = self.variables(user)
        return Login(
            servers=(found["RECORDER_NATS__URL"],),
            user=found["RECORDER_NATS__USER"],
            password=found["RECORDER_NATS__PASSWORD"],
            tls=TlsFiles(ca=found.get("RECORDER_NATS__TLS_CA", "")),
            api_prefix=found.get("RECORDER_NATS__API_PREFIX", "$JS.API"),
            owner=found.get("RECORDER_NATS__OWNER", ""),
        )

    def apply_streams(self) -> None:
        """`recorder streams apply` as the user deploy."""
        applied = run_recorder("streams", "apply", folder=self.folder, env=self.variables("deploy"))
        assert applied.returncode == 0, applied.stderr

    async def connect(self, user: str, refusals: list[str]) -> Client:
        """A plain connection; what the server refuses comes into `refusals`."""
        login = self.login(user)

        async def refused(error: Exception) -> None:
            refusals.append(str(error))

        return await nats.connect(
            login.servers[0], user=login.user, password=login.password, error_cb=refused
        )
