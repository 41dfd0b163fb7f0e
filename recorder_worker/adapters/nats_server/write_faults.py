"""A server whose disk was full takes nothing any more, when there is room again either.

Measured with nats-server 2.15: one write that fails (no room, an I/O error) closes its stream to
all that comes, until the server is started anew. It says so in its log. What it had acknowledged
is on the disk, and is there after the start.
"""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import structlog

log = structlog.get_logger("nats-server")

LOOK_S = 1.0
PROBE_BYTES = 1 << 20
"""Less room than this is none: the server would be back, and closed again at once."""
_SAID = "critical write error"


class WriteFaults:
    """Hears that the server can write no more, and waits until it could."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._pid = 0
        self._heard = asyncio.Event()

    def hear(self, pid: int, line: str) -> None:
        """A line of the log of the server with this process id."""
        if _SAID in line.lower() and pid != self._pid:
            self._pid = pid
            self._heard.set()
            log.error("NatsServerCannotWrite", pid=pid, line=line)

    async def cured(self) -> int:
        """Wait for such a server, and until its disk takes what is written: its process id."""
        await self._heard.wait()
        while not await asyncio.to_thread(_takes, self._folder):  # noqa: ASYNC110  (a disk sends no event)
            await asyncio.sleep(LOOK_S)
        self._heard.clear()
        return self._pid


def _takes(folder: Path) -> bool:
    path = folder / f"probe-{os.getpid()}"
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o640)
        try:
            os.posix_fallocate(descriptor, 0, PROBE_BYTES)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
            path.unlink()
    except OSError:
        return False
    return True
