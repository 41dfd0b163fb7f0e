"""Ports for servers of tests, which keep them while they are down."""

from __future__ import annotations

import random
import socket
from pathlib import Path

_EPHEMERAL = Path("/proc/sys/net/ipv4/ip_local_port_range")
_LOWEST, _HIGHEST = 15_000, 32_767
# Not that of the tests, which is given the same seed in every process.
_random = random.SystemRandom()


def free_port() -> int:
    """One that nobody listens on now, and below those that the kernel gives to connections.

    A port that the kernel chooses may be given to any connection that leaves this machine before
    the server has it, or while the server is down and has to come back where its clients look.
    """
    highest = min(_HIGHEST, int(_EPHEMERAL.read_text().split()[0]) - 1)
    while True:
        port = _random.randint(_LOWEST, highest)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
