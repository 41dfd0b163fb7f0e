"""What a recorded minute takes of each stage's process, of the disk and of the journal.

    .venv/bin/python -m benchmarks sizing

A nats-server and one process for each stage, as in docs/operations.md. Every load is recorded at
its own pace, so that the figures are those of a machine that records; processor time is the
processes' own and does not depend on what else runs, but for caches and the clock of the processor.
`SIZING_SECONDS` sets how long each load is recorded (60).
"""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import nats
import psutil
from nats.js import JetStreamContext

from benchmarks.peers import print_table
from benchmarks.recordings import film_of_noise
from recorder_worker.adapters.nats_server.config import NatsServerOptions
from recorder_worker.adapters.nats_server.server import NatsServer
from recorder_worker.client import RecorderClient
from recorder_worker.core.errors import BusUnavailableError
from recorder_worker.core.events import Captured
from recorder_worker.core.pipeline import STAGES
from recorder_worker.core.subjects import Fact

ROOT = Path(__file__).resolve().parents[1]
SECONDS = float(os.environ.get("SIZING_SECONDS", "60"))
READY_S, SEALED_S, SAMPLE_S = 60.0, 300.0, 0.25
MIB = 1024 * 1024
WARM_UP = {"kind": "pattern", "frames": 20, "pace": "fast"}


class Load(NamedTuple):
    """Something to record, and how long it is; None: until it is stopped."""

    name: str
    source: dict[str, Any]
    fps: float | None


class Figures(NamedTuple):
    """What one load took."""

    recorded_s: float
    cpu_s: dict[str, float]
    rss: dict[str, int]
    stored: int
    journal: int
    events: int


# --- what is recorded -----------------------------------------------------------------------------


@contextmanager
def idle_display(width: int, height: int) -> Iterator[str]:
    """An X display on which nothing happens."""
    reader, writer = os.pipe()
    command = ["Xvfb", "-displayfd", str(writer), "-screen", "0", f"{width}x{height}x24"]
    process = subprocess.Popen(  # noqa: S603  (a program of this benchmark)
        [*command, "-nolisten", "tcp"], pass_fds=[writer], stderr=subprocess.DEVNULL
    )
    os.close(writer)
    try:
        with os.fdopen(reader) as told:
            yield f":{told.readline().strip()}"
    finally:
        process.terminate()
        process.wait()


def loads(folder: Path, display: str) -> list[Load]:
    """Typical ones, from nothing to what nothing shrinks."""
    frames = round(SECONDS * 10)
    small = {"kind": "pattern", "width": 1280, "height": 720, "frames": frames}
    large = small | {"width": 1920, "height": 1080}
    film = film_of_noise(folder / "film.avi", frames)
    found = [Load("an idle display, 1280x720", {"kind": "x11", "uri": display}, 10)]
    return [
        *(found if display else []),
        Load("a desktop in use, 1280x720", small, 10),
        Load("a desktop in use, 1920x1080", large, 10),
        Load("the demo's clip, 1280x720", {"kind": "file", "uri": f"{ROOT}/demo/screen.mkv"}, None),
        Load("a 640x360 film of noise on 1920x1080", {"kind": "file", "uri": str(film)}, None),
    ]


# --- the processes --------------------------------------------------------------------------------


class Measured:
    """A nats-server and a process for each stage, and what they have taken so far."""

    def __init__(
        self, processes: dict[str, psutil.Process], data: Path, js: JetStreamContext
    ) -> None:
        self._processes = processes
        self._data = data
        self._js = js
        self.peak: dict[str, int] = {}

    def cpu_s(self) -> dict[str, float]:
        """Processor seconds of each process since its start."""
        times = {name: process.cpu_times() for name, process in self._processes.items()}
        return {name: found.user + found.system for name, found in times.items()}

    def sample(self) -> None:
        """Remember the largest resident size of each process."""
        for name, process in self._processes.items():
            self.peak[name] = max(self.peak.get(name, 0), process.memory_info().rss)

    async def journal(self) -> tuple[int, int]:
        """Bytes and messages of all streams."""
        streams = [stream.state for stream in await self._js.streams_info()]
        return sum(s.bytes for s in streams), sum(s.messages for s in streams)

    def stored(self, session_id: str) -> int:
        """Bytes of a session's folder, as files."""
        folder = self._data / "sessions" / session_id
        return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


@asynccontextmanager
async def running(folder: Path) -> AsyncIterator[tuple[Measured, RecorderClient]]:
    """Everything up and connected."""
    async with AsyncExitStack() as stack:
        server = NatsServer(NatsServerOptions(folder=folder / "nats", port=-1))
        await server.start()
        stack.push_async_callback(server.stop)
        processes: dict[str, psutil.Process] = {}
        for stage in STAGES:
            started = _stage(stage.name, folder, server.url)
            stack.callback(_end, started)
            processes[stage.name] = psutil.Process(started.pid)
        processes["nats-server"] = psutil.Process(server.pid)
        client = await stack.enter_async_context(RecorderClient.connect(server.url))
        bus = await nats.connect(server.url)
        stack.push_async_callback(bus.close)
        measured = Measured(processes, folder / "data", bus.jetstream())
        # What starting up takes is not the loads': all four stages are there when this is sealed.
        await _warm_up(client)
        yield measured, client


def _stage(name: str, folder: Path, url: str) -> subprocess.Popen[bytes]:
    settings = {
        "RECORDER_NATS__URL": url,
        "RECORDER_DATA_DIR": str(folder / "data"),
        "RECORDER_SIDECAR__PORT": "0",
        "RECORDER_LOG__LEVEL": "error",
        "RECORDER_DISK__FLOOR_BYTES": "0",
    }
    return subprocess.Popen(  # noqa: S603  (a program of this environment)
        [str(Path(sys.executable).with_name("recorder")), "run", name],
        cwd=folder,
        env=os.environ | settings,
    )


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    process.wait(READY_S)


async def _warm_up(client: RecorderClient) -> None:
    async with asyncio.timeout(READY_S):
        while True:
            try:
                started = await client.start(WARM_UP, timeout_s=READY_S)
                break
            except BusUnavailableError:  # no stage has made the streams yet
                await asyncio.sleep(SAMPLE_S)
    await client.wait_sealed(started.session_id, SEALED_S)


async def record(load: Load, measured: Measured, client: RecorderClient) -> Figures:
    """One load, from its start to its seal."""
    before, (journal, events) = measured.cpu_s(), await measured.journal()
    measured.peak.clear()
    fields: dict[str, Any] = {} if load.fps is None else {"fps": load.fps}
    started = await client.start(load.source, timeout_s=READY_S, **fields)
    stop_s = SECONDS if load.source["kind"] == "x11" else None
    sealing = asyncio.create_task(_sealed(client, started.session_id, stop_s))
    while not sealing.done():
        measured.sample()
        await asyncio.sleep(SAMPLE_S)
    await sealing
    last = await client.last(Fact.CAPTURED, started.session_id)
    if not isinstance(last, Captured):
        raise TypeError(f"expected the end of the session, found {last}")
    after, (journal_after, events_after) = measured.cpu_s(), await measured.journal()
    return Figures(
        recorded_s=last.cursor.t_ns / 1e9,
        cpu_s={name: after[name] - before[name] for name in after},
        rss=dict(measured.peak),
        stored=measured.stored(started.session_id),
        journal=journal_after - journal,
        events=events_after - events,
    )


async def _sealed(client: RecorderClient, session_id: str, stop_s: float | None) -> None:
    """Wait for the seal; a source that does not end is stopped."""
    if stop_s is not None:
        await asyncio.sleep(stop_s)
        await client.stop(session_id)
    await client.wait_sealed(session_id, SECONDS + SEALED_S)


# --- the tables -----------------------------------------------------------------------------------


def print_figures(found: dict[str, Figures]) -> None:
    """Per recorded minute, and the largest memory."""
    names = [*(stage.name for stage in STAGES), "nats-server"]
    minutes = {load: figures.recorded_s / 60 for load, figures in found.items()}
    print_table(
        "processor seconds for a recorded minute",
        {
            load: [
                *(f"{f.cpu_s[name] / minutes[load]:.2f}" for name in names),
                f"{sum(f.cpu_s.values()) / minutes[load]:.1f}",
            ]
            for load, f in found.items()
        },
        [*names, "all"],
    )
    print_table(
        "on the disk, and on the bus",
        {
            load: [
                f"{f.stored / MIB / minutes[load]:.2f}",
                f"{f.stored / MIB / minutes[load] * 60 / 1024:.2f}",
                f"{f.journal / MIB / minutes[load] * 60:.1f}",
                f"{f.events / f.recorded_s:.1f}",
            ]
            for load, f in found.items()
        },
        ["MiB a minute", "GiB an hour", "journal MiB an hour", "messages a second"],
    )
    print_table(
        "largest resident memory, MiB",
        {load: [f"{f.rss[name] / MIB:.0f}" for name in names] for load, f in found.items()},
        names,
    )


async def measure(folder: Path, display: str) -> dict[str, Figures]:
    """All loads, one after the other, on the same processes."""
    async with running(folder) as (measured, client):
        return {load.name: await record(load, measured, client) for load in loads(folder, display)}


def main() -> None:
    """Record every load and print the tables."""
    with tempfile.TemporaryDirectory() as name:
        if shutil.which("Xvfb") is None:
            print("no Xvfb here: no idle display")
            print_figures(asyncio.run(measure(Path(name), "")))
            return
        with idle_display(1280, 720) as display:
            print_figures(asyncio.run(measure(Path(name), display)))
