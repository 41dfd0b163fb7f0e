"""A nats-server of its own, to be killed and started again on its port and store."""

from __future__ import annotations

import socket
import subprocess
import time
from pathlib import Path
from typing import Self

from ports import free_port

from recorder_worker.adapters.nats_server.binary import find_program

DEADLINE_S = 30.0


class NatsProcess:
    """`with` starts it and kills it."""

    def __init__(self, folder: Path, *, jetstream: bool = True) -> None:
        self._folder = folder
        self._port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self.url = f"nats://127.0.0.1:{self._port}"
        folder.mkdir(parents=True, exist_ok=True)
        # What all streams may reserve: the default is a share of a disk that may be nearly full.
        limits = "max_file_store: 4TB, sync_interval: always"
        store = f'jetstream {{ store_dir: "{folder}/store", {limits} }}\n'
        (folder / "server.conf").write_text(
            f"host: 127.0.0.1\nport: {self._port}\n" + (store if jetstream else "")
        )

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def start(self) -> None:
        """Start it and wait until it takes connections."""
        with (self._folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                [str(find_program()), "-c", str(self._folder / "server.conf")],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        deadline = time.monotonic() + DEADLINE_S
        while True:
            try:
                with socket.create_connection(("127.0.0.1", self._port), 1):
                    return
            except OSError:
                assert self._process.poll() is None, self._said()
                assert time.monotonic() < deadline, self._said()
                time.sleep(0.02)

    def _said(self) -> str:
        log = (self._folder / "server.log").read_text(errors="replace")
        return f"nats-server does not start: {log[-2000:]}"

    def end(self) -> None:
        """SIGTERM, so that it stores all that it knows, and wait until it is gone."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(DEADLINE_S)

    def kill(self) -> None:
        """SIGKILL, and wait until it is gone."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(DEADLINE_S)
