"""A whole recorder in a process of its own, as it is measured from outside."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import psutil

DEADLINE_S = 300.0


class WholeWorker:
    """`recorder run` with everything in it, and its nats-server.

    Args:
        folder: an empty one, for all that they write.
        variables: settings, as environment variables.
    """

    def __init__(self, folder: Path, variables: Mapping[str, str]) -> None:
        self.data = folder / "data"
        self._log = folder / "log"
        settings = {
            "RECORDER_NATS__PORT": "-1",
            "RECORDER_DATA_DIR": str(self.data),
            "RECORDER_SIDECAR__PORT": "0",
            "RECORDER_LOG__FORMAT": "json",
            "RECORDER_DISK__FLOOR_BYTES": "0",
            **variables,
        }
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(  # noqa: S603  (a program of this environment)
                [str(Path(sys.executable).with_name("recorder")), "run"],
                cwd=folder,
                env=os.environ | settings,
                stderr=log,
            )

    async def url(self) -> str:
        """Where its nats-server is, once it works."""
        async with asyncio.timeout(DEADLINE_S):
            while True:
                for line in self._log.read_text().splitlines():
                    if line.endswith("}") and json.loads(line).get("event") == "WorkerStarted":
                        return str(json.loads(line)["nats"])
                if self.process.poll() is not None:
                    raise ChildProcessError(f"the worker ended: {self._log.read_text()}")
                await asyncio.sleep(0.1)

    def cpu_s(self) -> tuple[float, float]:
        """Processor seconds of the worker and of its nats-server since their start."""
        worker = psutil.Process(self.process.pid)
        times = [worker.cpu_times(), *(child.cpu_times() for child in worker.children())]
        own, *others = (found.user + found.system for found in times)
        return own, sum(others)

    def held(self) -> dict[str, int]:
        """What the worker holds, and its nats-server beside it: bytes, descriptors, threads."""
        worker = psutil.Process(self.process.pid)
        return {
            "memory": int(worker.memory_info().rss),
            "descriptors": worker.num_fds(),
            "threads": worker.num_threads(),
            "nats_memory": sum(int(child.memory_info().rss) for child in worker.children()),
        }

    def end(self) -> None:
        """Tell it to stop, and wait."""
        self.process.terminate()
        self.process.wait(DEADLINE_S)
