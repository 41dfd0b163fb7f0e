"""How many live desktops one core records at once, and how soon what they show is durable.

    .venv/bin/python -m benchmarks desktops

One worker with all stages and its own nats-server, both on one core; on the others an Xvfb of
1920x1080 for each session, and what draws on them: a log, a caret, nothing, in turn. The number of
sessions rises. Each time all desktops are idle first, and then drawn on, and for some seconds each
the processor time of the processes is taken and the frames in the events are counted. It ends where
fewer than 95 of 100 frames are reached, or the core is full. `DESKTOPS_SECONDS` sets how long each
takes (10), `DESKTOPS_MOST` the largest number of sessions (64): 3 and 2 are a short run.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import NamedTuple

import nats

from benchmarks.cores import run_on, two_parts
from benchmarks.displays import FPS, HEIGHT, WIDTH
from benchmarks.durability import CapturedFeed, Reached, Window, frame_times
from benchmarks.live_desktops import LiveDesktops
from benchmarks.peers import print_table
from benchmarks.whole_worker import DEADLINE_S, WholeWorker
from recorder_worker.client import RecorderClient

SECONDS = float(os.environ.get("DESKTOPS_SECONDS", "10"))
MOST = int(os.environ.get("DESKTOPS_MOST", "64"))
STEPS = (1, 2, 4, 8, 12, 16, 20, 24, 32, 40, 48, 64)
HELD, FULL = 0.95, 0.97
SETTLE_S, LATE_S = 4.0, 2.5
"""Until what begins (keyframes, new windows) is over; until the last events of a window are in."""


class Cost(NamedTuple):
    """Seconds on a processor, or shares of one core."""

    worker: float
    nats: float
    servers: float


class Phase(NamedTuple):
    """Some seconds of all sessions: what they took of a core, and what came of it."""

    window: Window
    cost: Cost
    memory: int
    """Resident bytes of the worker at the end of them."""
    reached: Reached

    @property
    def rate(self) -> float:
        """Frames a second, the mean of all sessions."""
        return statistics.fmean(self.reached.rates)

    @property
    def held(self) -> bool:
        """Whether so many desktops can be recorded."""
        return self.rate >= HELD * FPS and self.cost.worker + self.cost.nats < FULL


class Step(NamedTuple):
    """A number of sessions, all idle and all drawn on."""

    desktops: int
    idle: Phase
    mixed: Phase


# --- measuring ------------------------------------------------------------------------------------


class Run:
    """All that runs, and the sessions so far."""

    def __init__(self, worker: WholeWorker, client: RecorderClient, feed: CapturedFeed) -> None:
        self.worker = worker
        self.feed = feed
        self.sessions: list[str] = []
        self._client = client

    async def step(self, desktops: LiveDesktops, count: int) -> Step:
        """Have so many sessions, and measure them."""
        await asyncio.to_thread(desktops.grow, count)
        for display in desktops.displays[len(self.sessions) :]:
            source = {"kind": "x11", "uri": display}
            started = await self._client.start(source, fps=FPS, timeout_s=DEADLINE_S)
            self.sessions.append(started.session_id)
        desktops.rest()
        idle = await self._phase(desktops)
        desktops.go_on()
        return Step(count, idle, await self._phase(desktops))

    async def _phase(self, desktops: LiveDesktops) -> Phase:
        await asyncio.sleep(SETTLE_S)
        before, begin_ns = Cost(*self.worker.cpu_s(), desktops.cpu_s()), time.time_ns()
        await asyncio.sleep(SECONDS)
        after, window = (
            Cost(*self.worker.cpu_s(), desktops.cpu_s()),
            Window(begin_ns, time.time_ns()),
        )
        await asyncio.sleep(LATE_S)
        taken_s = (window.end_ns - window.begin_ns) / 1e9
        shares = ((late - early) / taken_s for late, early in zip(after, before, strict=True))
        reached = self.feed.reached(self.sessions, window)
        return Phase(window, Cost(*shares), self.worker.held()["memory"], reached)

    async def finish(self) -> dict[str, dict[int, int]]:
        """Seal all sessions; of each the time of every frame in its record."""
        for session_id in self.sessions:
            await self._client.stop(session_id)
        found = {}
        for session_id in self.sessions:
            sealed = await self._client.wait_sealed(session_id, DEADLINE_S)
            times = frame_times(self.worker.data / "sessions" / session_id)
            told = sum(event.span.unit_count for event, _ in self.feed.segments(session_id))
            if not len(times) == told == sealed.frame_count:
                raise ValueError(
                    f"expected one number of frames, found {len(times)} in the chunks, {told} in "
                    f"the events, {sealed.frame_count} in the seal of {session_id}"
                )
            found[session_id] = times
        return found


@asynccontextmanager
async def running(folder: Path) -> AsyncIterator[Run]:
    """A worker, connected to and followed."""
    async with AsyncExitStack() as stack:
        measured, others = stack.enter_context(two_parts())
        run_on(measured)
        worker = WholeWorker(folder, {"RECORDER_CAPTURE__CAPACITY": str(MOST)})
        stack.callback(worker.end)
        run_on(others)
        url = await worker.url()
        client = await stack.enter_async_context(RecorderClient.connect(url))
        bus = await nats.connect(url)
        stack.push_async_callback(bus.close)
        feed = CapturedFeed()
        await feed.open(bus)
        yield Run(worker, client, feed)


async def measure(folder: Path) -> None:
    """More and more sessions, until it is too much; then the tables."""
    async with running(folder) as run:
        steps: list[Step] = []
        with LiveDesktops() as desktops:
            for count in (number for number in STEPS if number <= MOST):
                steps.append(await run.step(desktops, count))
                if not steps[-1].mixed.held:
                    break
            recorded = await run.finish()
        print_steps(steps)
        print_latency(steps, run.feed, recorded)


# --- the tables -----------------------------------------------------------------------------------


_REACHED = ("MiB", "frames/s", "lowest", "gaps (frames)", "slowed")


def print_steps(steps: list[Step]) -> None:
    """What each number of desktops took, and reached."""
    for name in ("mixed", "idle"):
        phases = {
            f"{step.desktops} desktops": (step.desktops, getattr(step, name)) for step in steps
        }
        print_table(
            f"{name}: {WIDTH}x{HEIGHT} at {FPS} frames a second, of one core for each desktop",
            {row: _cells(count, phase) for row, (count, phase) in phases.items()},
            ["worker", "nats", "X server", "of the core", *_REACHED],
        )
    held = [step for step in steps if step.mixed.held]
    if not held:
        print("recorded at once: not even one")
        return
    most = held[-1]
    cost = (most.mixed.cost.worker + most.mixed.cost.nats) / most.desktops
    limit = "more were too much" if most is not steps[-1] else "no more were tried"
    print(f"recorded at once: {most.desktops} ({limit}); these took so much of the core that")
    print(f"a whole one is enough for {1 / cost:.0f}")


def _cells(count: int, phase: Phase) -> list[str]:
    cost, reached = phase.cost, phase.reached
    return [
        *(f"{100 * share / count:.2f} %" for share in cost),
        f"{100 * (cost.worker + cost.nats):.0f} %",
        f"{phase.memory / 2**20:.0f}",
        f"{phase.rate:.2f}",
        f"{min(reached.rates):.2f}",
        f"{reached.gaps} ({reached.lost})",
        str(reached.slowed),
    ]


def print_latency(
    steps: list[Step], feed: CapturedFeed, recorded: dict[str, dict[int, int]]
) -> None:
    """From a frame, and from the close of its segment, to its event in the stream."""
    rows = {}
    for step in steps:
        found = feed.latency(recorded, step.mixed.window)
        rows[f"{step.desktops} desktops"] = [f"{ms:.0f} ms" for ms in (*found.frame, *found.close)]
    columns = ["frame p50", "p99", "segment p50", "p99"]
    print_table("until it is durable and its event is seen, mixed", rows, columns)
    print(f"load of this machine: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")


def main() -> None:
    """Record more and more desktops and print the tables."""
    if shutil.which("Xvfb") is None:
        print("no Xvfb here: desktops are not measured")
        return
    with tempfile.TemporaryDirectory() as name:
        asyncio.run(measure(Path(name)))
