"""Ports for servers of tests, which keep them while they are down."""

from __future__ import annotations

import os
import random
import socket
from collections import deque
from pathlib import Path

_EPHEMERAL = Path("/proc/sys/net/ipv4/ip_local_port_range")
_LOWEST, _HIGHEST = 15_000, 32_767
# Not that of the tests, which is given the same seed in every process.
_random = random.SystemRandom()
_given: deque[int] = deque(maxlen=500)


def free_port() -> int:
    """One that nobody listens on now, and below those that the kernel gives to connections.

    A port that the kernel chooses may be given to any connection that leaves this machine before
    the server has it, or while the server is down and has to come back where its clients look.
    For the same reason no other of the processes that share the tests gives one of ours, and this
    one gives none twice in a row: a port of which nobody listens may be somebody's all the same.
    """
    processes = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    number = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    highest = min(_HIGHEST, int(_EPHEMERAL.read_text().split()[0]) - 1)
    while True:
        port = _random.randint(_LOWEST, highest)
        if port % processes != number % processes or port in _given:
            continue
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            _given.append(port)
            return port
