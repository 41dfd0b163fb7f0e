"""Many sessions for long, one after the other ten times as fast: what grows, and by how much.

    make soak

One worker with all stages and its nats-server. `SOAK_SESSIONS` (50) are recorded at once; each ends
by itself after six minutes of normal speed, and another begins in its place, so that an hour has
ten of each. All that happens by the clock of a session (a frame every two seconds, segments of
20 s, chunks of two minutes, checkpoints of one, epochs of five) happens `SOAK_SPEED` (10) times as
often, so that an hour passes in six minutes: `SOAK_HOURS` (1) says how many, behind an hour and a
half (`SOAK_WARM_UP_HOURS`) in which tables and heap find their size. Every two seconds it is looked
what worker and server hold, and what waits for the stages. Through each of these a line is laid; it
has to be flat, and nothing ever far above it; every session, of the warm-up too, has to be sealed
with all its frames and without a gap, and some have to verify. Exit code 1 where not. A machine
that is too slow lets messages wait and holds sessions, as it must, which makes gaps in which
nothing is missing: there it says so, and wants a lower `SOAK_SPEED`.
"""

from __future__ import annotations

import asyncio
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import combinations
from pathlib import Path
from typing import NamedTuple

import nats
from nats.js import JetStreamContext

from benchmarks.peers import print_table
from benchmarks.whole_worker import DEADLINE_S, WholeWorker
from recorder_worker.bus.streams.topology import SESSIONS_STREAM
from recorder_worker.client import RecorderClient
from recorder_worker.core.pipeline import OWNERS, SESSION_LOG, STORAGE, TABLE
from recorder_worker.service.observing.pressure import LATER_STAGES

SESSIONS = int(os.environ.get("SOAK_SESSIONS", "50"))
SPEED = float(os.environ.get("SOAK_SPEED", "10"))
HOURS = float(os.environ.get("SOAK_HOURS", "1"))
SESSION_S, LOOK_S = 360.0, 2.0
"""How long a session is at normal speed; how often it is looked at what is held."""
FPS = 0.5
FRAMES = round(SESSION_S * FPS)
VERIFIED = 20
WARM_UP_HOURS = float(os.environ.get("SOAK_WARM_UP_HOURS", "1.5"))
"""Fifteen sessions behind each other in each place, before the line begins.

A heap has its size when the largest moments of its threads have met by chance: the most of an arena
is what it keeps."""
GROWTH = {"memory": 0.05, "nats_memory": 0.25, "descriptors": 0.05, "threads": 0.05}
"""The share of its median by which each may grow over the hours behind it."""
PEAK = 1.25
BURST = {"descriptors": 20.0, "threads": 10.0}
"""Nothing is ever more than so many times its median, and so many more for a moment in which many
files are synced at once: a step late in the run is no line."""
MOST_LOOKS = 1000
"""Through so many moments a line is laid: of all pairs there are the square of that."""
FEW = {"descriptors": 3.0, "threads": 3.0}
"""So many more or less are open and at work at any moment, and no growth."""
NATS_MEMORY = int(os.environ.get("RECORDER_NATS__MEMORY_BYTES", str(2**26)))
"""Where its server begins to give back what it keeps of the journal: soon, so that it shows."""
STAGES = (*LATER_STAGES, OWNERS.name, SESSION_LOG.name, STORAGE.name, TABLE.name)
"""All that take events about every session."""
LAG = 2 * SESSIONS
"""Messages that may wait for all of them together, in the median."""


class Look(NamedTuple):
    """What was held at one moment."""

    at_s: float
    held: dict[str, int]
    waiting: dict[str, int]
    """Messages, by stage."""


class Line(NamedTuple):
    """A straight line through what was seen."""

    median: float
    least: float
    most: float
    an_hour: float
    """Growth in an hour of the sessions' clock."""
    growth: float
    """Growth over all that was seen."""


def line_through(times: list[float], values: list[float]) -> Line:
    """By the median of the slopes between all moments (Theil 1950, Sen 1968).

    A heap grows in steps. By least squares one step late in the run is the steepest line.

    Raises:
        statistics.StatisticsError: less than two moments.
    """
    moments = range(0, len(times), 1 + len(times) // MOST_LOOKS)
    slope = statistics.median(
        (values[late] - values[early]) / (times[late] - times[early])
        for early, late in combinations(moments, 2)
    )
    return Line(
        median=statistics.median(values),
        least=min(values),
        most=max(values),
        an_hour=slope * 3600 / SPEED,
        growth=slope * (times[-1] - times[0]),
    )


def variables() -> dict[str, str]:
    """Settings of a worker whose sessions live faster."""
    return {
        "RECORDER_CAPTURE__CAPACITY": str(2 * SESSIONS),
        "RECORDER_CAPTURE__SEGMENT_S": str(20 / SPEED),
        "RECORDER_CAPTURE__CHECKPOINT_S": str(max(1.0, 60 / SPEED)),
        "RECORDER_CAPTURE__EPOCH_S": str(max(1.0, 300 / SPEED)),
        "RECORDER_CHUNK__DURATION_S": str(120 / SPEED),
        "RECORDER_NATS__MEMORY_BYTES": str(NATS_MEMORY),
        **{f"RECORDER_{stage.upper()}__WORKERS": "6" for stage in LATER_STAGES},
    }


class Soak:
    """The sessions, and what is seen meanwhile."""

    def __init__(self, worker: WholeWorker, client: RecorderClient, js: JetStreamContext) -> None:
        self.worker = worker
        self._client = client
        self._js = js
        self._from_s = time.monotonic() + WARM_UP_HOURS * 3600 / SPEED
        self._until_s = self._from_s + HOURS * 3600 / SPEED
        self.looks: list[Look] = []
        self.sealed: list[str] = []
        self.took_s: list[float] = []
        self.held_gaps = 0
        self.wrong: list[str] = []

    async def run(self) -> None:
        """Until the time is over and the last session is sealed."""
        async with asyncio.TaskGroup() as tasks:
            looking = tasks.create_task(self._look_on())
            async with asyncio.TaskGroup() as places:
                for nth in range(SESSIONS):
                    places.create_task(self._keep(nth))
            looking.cancel()

    async def _keep(self, nth: int) -> None:
        """One session behind the other; places begin apart, so that no crowd ends at once."""
        await asyncio.sleep(nth * SESSION_S / SPEED / SESSIONS)
        while time.monotonic() < self._until_s:
            source = {"kind": "pattern", "width": 320, "height": 192, "frames": FRAMES}
            source["seed"] = random.getrandbits(31)
            began_s = time.monotonic()
            started = await self._client.start(source, fps=FPS * SPEED, timeout_s=DEADLINE_S)
            sealed = await self._client.wait_sealed(started.session_id, DEADLINE_S)
            self.sealed.append(started.session_id)
            self.took_s.append(time.monotonic() - began_s)
            if sealed.frame_count == FRAMES and not sealed.lost_units:
                self.held_gaps += sealed.gap_count
                continue
            self.wrong.append(
                f"{started.session_id}: {sealed.frame_count} frames of {FRAMES}, "
                f"{sealed.lost_units} lost"
            )

    async def _look_on(self) -> None:
        while time.monotonic() < self._until_s:
            waiting = {}
            for stage in STAGES:
                info = await self._js.consumer_info(SESSIONS_STREAM, stage)
                waiting[stage] = (info.num_pending or 0) + (info.num_ack_pending or 0)
            self.looks.append(Look(time.monotonic(), self.worker.held(), waiting))
            await asyncio.sleep(LOOK_S)

    def verify_some(self, folder: Path) -> None:
        """Have some of the recordings verified, by the command that an auditor uses."""
        recorder = Path(sys.executable).with_name("recorder")
        for session_id in self.sealed[:: max(1, len(self.sealed) // VERIFIED)]:
            command = [str(recorder), "verify", str(folder / "sessions" / session_id)]
            ended = subprocess.run(command, check=False, capture_output=True, text=True)  # noqa: S603  (a program of this environment)
            if ended.returncode:
                self.wrong.append(f"{session_id}: verify ended with {ended.returncode}")

    def steep(self) -> list[str]:
        """Print what was held, and how it grew; what is wrong with that."""
        looks = [look for look in self.looks if look.at_s >= self._from_s]
        times = [look.at_s for look in looks]
        rows, wrong = {}, []
        for name, share in GROWTH.items():
            unit = 2**20 if "memory" in name else 1
            line = line_through(times, [look.held[name] / unit for look in looks])
            rows[name.replace("_", " ")] = _cells(line)
            if line.growth > max(FEW.get(name, 0.0), share * line.median):
                wrong.append(f"{name}: grew by {line.growth:.1f}, more than {share:.0%} of it")
            if line.most > PEAK * line.median + BURST.get(name, 0.0):
                wrong.append(f"{name}: at most {line.most:.0f}, more than {PEAK} times its median")
        for stage in STAGES:
            line = line_through(times, [float(look.waiting[stage]) for look in looks])
            rows[f"messages that wait for {stage}"] = _cells(line)
        line = line_through(times, [float(sum(look.waiting.values())) for look in looks])
        if line.median > LAG:
            wrong.append(f"messages that wait: {line.median:.0f}, more than {LAG}")
        columns = ["median", "least", "most", "growth an hour", "growth in all"]
        title = f"{HOURS:g} h of the sessions behind {WARM_UP_HOURS:g} h of warm-up; memory in MiB"
        print_table(title, rows, columns)
        return wrong


def _cells(line: Line) -> list[str]:
    seen = [f"{value:.1f}" for value in (line.median, line.least, line.most)]
    return [*seen, f"{line.an_hour:+.1f}", f"{line.growth:+.1f}"]


@asynccontextmanager
async def running(folder: Path) -> AsyncIterator[Soak]:
    """A worker, connected to."""
    worker = WholeWorker(folder, variables())
    try:
        url = await worker.url()
        async with RecorderClient.connect(url) as client:
            bus = await nats.connect(url)
            try:
                yield Soak(worker, client, bus.jetstream())
            finally:
                await bus.close()
    finally:
        worker.end()


async def soak(folder: Path) -> int:
    """Run, look and print; the exit code."""
    begin_s = time.monotonic()
    async with running(folder) as run:
        await run.run()
        own_s, others_s = run.worker.cpu_s()
        lasted_s = time.monotonic() - begin_s
    run.verify_some(folder / "data")
    wrong = [*run.steep(), *run.wrong]
    if run.held_gaps:
        wrong.append(
            f"sessions were held {run.held_gaps} times, without a loss: this machine is too slow "
            f"for SOAK_SPEED={SPEED:g}, take less"
        )
    sealed, took_s = len(run.sealed), statistics.median(run.took_s)
    print(
        f"{sealed} sessions sealed in {time.monotonic() - begin_s:.0f} s, {SESSIONS} at once, each "
        f"{took_s:.1f} s behind its start, where {SESSION_S / SPEED:.0f} s are recorded; each took "
        f"{own_s / sealed:.2f} s of a core, and {others_s / sealed:.2f} s of nats-server's; in all "
        f"{(own_s + others_s) / lasted_s:.1f} of {os.cpu_count()} cores, whose load was "
        f"{os.getloadavg()[0]:.1f}"
    )
    for text in wrong[:20]:
        print(f"WRONG: {text}")
    print("flat, and nothing is missing" if not wrong else f"{len(wrong)} things are wrong")
    return 1 if wrong else 0


def main() -> int:
    """Soak in a temporary folder."""
    with tempfile.TemporaryDirectory() as name:
        return asyncio.run(soak(Path(name)))


if __name__ == "__main__":
    sys.exit(main())
