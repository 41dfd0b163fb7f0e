"""How much room the end of sessions takes: from the moment that all are stopped to the last seal.

`python benchmarks/seal_reserve.py [SESSIONS …]`, as root: on a tmpfs of its own, with the embedded
server's store on it too. Prints, for each number of sessions, by how much the free room fell.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

from recorder_worker.bus.client import RecorderClient
from recorder_worker.service.settings.disk import DiskSettings
from recorder_worker.service.settings.tree import (
    CaptureSettings,
    NatsSettings,
    Settings,
    SidecarSettings,
)
from recorder_worker.service.worker import Worker

DISK_BYTES = 4_000_000_000
RECORD_S = 8.0
SOURCE = {"kind": "pattern", "width": 1280, "height": 720}


def free(disk: Path) -> int:
    """Room, in bytes."""
    found = os.statvfs(disk)
    return found.f_bavail * found.f_frsize


async def measured(disk: Path, count: int) -> tuple[int, int]:
    """How far below what was free at the stop the room fell, and stayed, in bytes."""
    settings = Settings(
        data_dir=str(disk / "data"),
        nats=NatsSettings(port=-1),
        sidecar=SidecarSettings(port=-1),
        disk=DiskSettings(floor_bytes=1),
        capture=CaptureSettings(capacity=count),
    )
    worker = Worker(settings)
    await worker.start()
    try:
        async with RecorderClient.connect(worker.nats_urls[0]) as client:
            started = [(await client.start(SOURCE, fps=2)).session_id for _ in range(count)]
            await asyncio.sleep(RECORD_S)
            begin = lowest = free(disk)
            over = threading.Event()

            def look() -> None:
                nonlocal lowest
                while not over.wait(0.002):
                    lowest = min(lowest, free(disk))

            looking = threading.Thread(target=look)
            looking.start()
            for session_id in started:
                await client.stop(session_id)
            for session_id in started:
                await client.wait_sealed(session_id, 300)
            await asyncio.sleep(1)
            over.set()
            looking.join()
            return begin - lowest, begin - free(disk)
    finally:
        await worker.stop()


def main() -> None:
    """Measure each number of sessions on a file system of its own."""
    for count in map(int, sys.argv[1:] or ("1", "8", "32")):
        with tempfile.TemporaryDirectory() as folder:
            mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", folder]
            subprocess.run(mount, check=True)  # noqa: S603  (as root, by hand)
            try:
                most, stays = asyncio.run(measured(Path(folder), count))
            finally:
                subprocess.run(["umount", "-l", folder], check=True)  # noqa: S603, S607  (as above)
        print(f"{count} sessions: {most} bytes at most, {stays} stay taken")


if __name__ == "__main__":
    main()
