"""A real RTSP server that tests start, stop and stall, and a line to it that they garble."""

from __future__ import annotations

import functools
import json
import os
import select
import signal
import socket
import ssl
import subprocess
import threading
from pathlib import Path
from typing import Self

import pytest
from ports import free_port

SYSTEM_PYTHON = "/usr/bin/python3"
SERVER = Path(__file__).with_name("rtsp_server.py")
START_S = 60.0
CUT_BYTES = 200


@functools.cache
def _there() -> bool:
    script = (
        "import gi; gi.require_version('GstRtspServer', '1.0'); "
        "from gi.repository import Gst, GstRtspServer; Gst.init(None); "
        "assert Gst.ElementFactory.find('x264enc')"
    )
    try:
        asked = subprocess.run([SYSTEM_PYTHON, "-c", script], check=False, capture_output=True)
    except OSError:
        return False
    return asked.returncode == 0


class Camera:
    """GStreamer's RTSP server in a process of its own; the fields are those of its script."""

    def __init__(self, **fields: object) -> None:
        self._fields = fields
        self._process: subprocess.Popen[str] | None = None
        self.port = free_port()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self, **fields: object) -> None:
        """Start, on the port of the last time, perhaps with other fields."""
        self._fields |= fields
        if not _there():
            pytest.skip("no RTSP server of GStreamer here; see scripts/setup-system.sh")
        self._process = subprocess.Popen(
            [SYSTEM_PYTHON, str(SERVER), json.dumps({**self._fields, "port": self.port})],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert self._process.stdout is not None
        ready, _, _ = select.select([self._process.stdout], [], [], START_S)
        line = self._process.stdout.readline() if ready else ""
        assert line.strip().isdigit(), "the RTSP server did not start; see scripts/setup-system.sh"
        self.port = int(line)

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            if self._process.stdout is not None:
                self._process.stdout.close()
            self._process = None

    def stall(self) -> None:
        self._signal(signal.SIGSTOP)

    def go_on(self) -> None:
        self._signal(signal.SIGCONT)

    def resize(self) -> None:
        """Pictures get twice the width and height, in mid-stream."""
        self._signal(signal.SIGUSR1)

    def cover(self) -> None:
        """Pictures are black from now on, or no more."""
        self._signal(signal.SIGUSR2)

    def uri(self, login: str = "", port: int | None = None) -> str:
        return f"rtsp://{login}localhost:{port or self.port}/cam"

    def _signal(self, number: int) -> None:
        assert self._process is not None
        os.kill(self._process.pid, number)


class Line:
    """Carries bytes to a server, as long as nobody wants something else to arrive."""

    def __init__(self, port: int, tls: ssl.SSLContext | None = None) -> None:
        self._server_port = port
        self._tls = tls
        self._door = socket.create_server(("127.0.0.1", 0))
        self.port = self._door.getsockname()[1]
        self._garbled = 0
        self._cut = False
        self.answer = b""
        self.asked = 0
        threading.Thread(target=self._run, daemon=True).start()

    def close(self) -> None:
        self._door.close()

    def garble(self) -> None:
        """On the connections that there are other bytes arrive from now on."""
        self._garbled = self.asked

    def cut(self) -> None:
        """Break off in the midst of what comes next, for a picture is longer than CUT_BYTES."""
        self._cut = True

    def _run(self) -> None:
        while True:
            try:
                client, _ = self._door.accept()
            except OSError:
                return
            self.asked += 1
            threading.Thread(target=self._carry, args=(client, self.asked), daemon=True).start()

    def _carry(self, client: socket.socket, number: int) -> None:
        try:
            if self._tls is not None:
                client = self._tls.wrap_socket(client, server_side=True)
            if self.answer:
                self._answer(client)
                return
            with client, socket.create_connection(("127.0.0.1", self._server_port)) as server:
                while True:
                    ready, _, _ = select.select([client, server], [], [])
                    if client in ready:
                        asked = client.recv(65_536)
                        if not asked:
                            return
                        server.sendall(asked)
                    if server in ready:
                        sent = server.recv(65_536)
                        if not sent:
                            return
                        if self._cut and len(sent) > CUT_BYTES:
                            self._cut = False
                            client.sendall(sent[: len(sent) // 2])
                            return
                        garble = number <= self._garbled
                        client.sendall(os.urandom(len(sent)) if garble else sent)
        except OSError:
            return

    def _answer(self, client: socket.socket) -> None:
        with client:
            while client.recv(65_536):
                client.sendall(self.answer)
