"""A nats-server that is away twice: for less than the spool holds, and for more.

A display, which goes on while nobody looks, and patterns, which wait for their reader. In the first
absence all of it goes on into the spool and nothing is missing. In the second one the display has
a gap with its reason, and nothing else is missing.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Self

import numpy as np
from endurance.judge import Desk, Found
from endurance.plan import FPS, SMALL, Plan, Row
from endurance.watch import Watch
from nats_process import NatsProcess
from worker_process import WorkerProcess
from xserver import XServer

from recorder_worker.client import RecorderClient
from recorder_worker.core.events import SessionSealed

NAME = "nats away"
DEADLINE_S = 600.0
FIRST, SECOND = (0.08, 0.20), (0.40, 0.65)
"""Shares of the time; the spool holds a sixth of it."""
SECOND_NS = 1_000_000_000
SLACK_S = 20.0
BUSY_S = 5.0
"""A machine that others use as well may lose a frame or two of a display that does not wait."""
LIVE = "display, runs through"
ENDING = "pattern, ends in the first"


class BusAway:
    """As StoreAway, of the server."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        folder = plan.folder / "bus"
        folder.mkdir()
        self._nats = NatsProcess(folder / "nats")
        self._settings = plan.settings()
        env = self._settings | {"RECORDER_NATS__URL": self._nats.url}
        self._worker = WorkerProcess(folder, env=env)
        self._screen = XServer(320, 200)
        self._stack = AsyncExitStack()
        self._painted = 0
        self.desk = Desk(plan, NAME, self._worker, self._settings)
        self.ids: dict[str, str] = {}
        self._away: list[tuple[float, float]] = []

    async def __aenter__(self) -> Self:
        for part in (self._nats, self._worker, self._screen):
            await asyncio.to_thread(self._stack.enter_context, part)
        gauges = ("recorder_bus_connected",)
        self.watch = await self._stack.enter_async_context(
            Watch(self._worker, self._plan.scaled(10, 0.5), gauges, self._paint)
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def settle(self) -> None:
        """Begin what begins before; one will end by itself while the server is away."""
        frames = round(FPS * self._plan.outage_s * sum(FIRST) / 2)
        async with RecorderClient.connect(self._nats.url) as client:
            sources: dict[str, dict[str, Any]] = {
                "pattern, runs through": SMALL,
                ENDING: SMALL | {"frames": frames},
                LIVE: {"kind": "x11", "uri": self._screen.display},
            }
            for name, source in sources.items():
                self.ids[name] = (await client.start(dict(source), fps=FPS)).session_id

    async def outage(self) -> None:
        """Two absences, and a session that begins between them."""
        await self._absence(*FIRST)
        await self._plan.until(0.3)
        async with RecorderClient.connect(self._nats.url) as client:
            started = await client.start(dict(SMALL), fps=FPS)
            self.ids["pattern, begins between"] = started.session_id
        await self._absence(*SECOND)
        await self._plan.until(1.0)

    async def judge(self) -> None:
        """End all, and look."""
        async with RecorderClient.connect(self._nats.url) as client:
            for name, session_id in self.ids.items():
                if name != ENDING:
                    await client.stop(session_id)
                await self._judge_one(name, await client.wait_sealed(session_id, DEADLINE_S))
        await self.desk.good("log", "verify", self._worker.data_dir.absolute())
        await self.desk.good("doctor")
        self._said()

    # --- steps ----------------------------------------------------------------------------------

    def _paint(self) -> None:
        """Something else at each look: it shows that the display is really looked at."""
        self._painted += 1
        colour = 40 * (self._painted % 6)
        self._screen.paint(np.full((32, 32, 4), colour, np.uint8), 16, 16)

    async def _absence(self, begin: float, end: float) -> None:
        await self._plan.until(begin)
        await asyncio.to_thread(self._nats.kill)
        gone_s, gone_wall_s = time.monotonic(), time.time()
        await self._plan.until(end)
        self._away.append((gone_wall_s, time.time()))
        await asyncio.to_thread(self._nats.start)
        self._said_meanwhile(gone_s, time.monotonic())

    async def _judge_one(self, name: str, sealed: SessionSealed) -> None:
        folder: Path = self._worker.data_dir / "sessions" / self.ids[name]
        found = await self.desk.verified(folder.absolute(), "here")
        self.desk.held_against(found, sealed, "here")
        need = self._plan.need
        need(not list(folder.glob("segments/*")), f"{NAME}: {name}: segments are left")
        if name == LIVE:
            self._judge_gaps(found)
        else:
            need(not found.gaps, f"{NAME}: {name}: gaps of what waits: {found.gaps}")
        if name == ENDING:
            wanted = round(FPS * self._plan.outage_s * sum(FIRST) / 2)
            need(found.frames == wanted, f"{NAME}: {name}: {found.frames} frames of {wanted}")
        gaps = [f"{gap['reason']} {_length_s(gap):.0f} s" for gap in found.gaps]
        self._plan.rows.append(
            Row(NAME, name, sealed.reason.value, found.frames, gaps, (f"here {found.verdict}",))
        )

    def _judge_gaps(self, found: Found) -> None:
        """One of back pressure in the second absence, about as long as what the spool lacks."""
        plan, need = self._plan, self._plan.need
        began_s, ended_s = self._away[1]
        lost = [gap for gap in found.gaps if gap["reason"] == "back_pressure"]
        need(lost, f"{NAME}: no gap of back pressure, though the spool was too small")
        outside_s = sum(_length_s(gap) for gap in found.gaps if not _during(gap, self._away[1]))
        need(outside_s <= BUSY_S, f"{NAME}: gaps outside of the second absence: {found.gaps}")
        first = [gap for gap in found.gaps if _during(gap, self._away[0])]
        need(not first, f"{NAME}: gaps in the first absence: {first}")
        spooled_s = plan.queue_segments * plan.segment_s
        lacks_s = ended_s - began_s - spooled_s
        have_s = sum(map(_length_s, lost))
        close = abs(have_s - lacks_s) <= max(SLACK_S, 0.2 * lacks_s)
        need(close, f"{NAME}: {have_s:.0f} s of back pressure, expected about {lacks_s:.0f} s")

    def _said_meanwhile(self, gone_s: float, back_s: float) -> None:
        """Health and metrics said so, from soon behind its death until it came back."""
        need = self._plan.need
        away = self.watch.during(gone_s + self._plan.scaled(120, 4.0), back_s)
        need(away, f"{NAME}: nobody looked meanwhile")
        need(all(not one.ready for one in away), f"{NAME}: /health was ok meanwhile")
        need(
            all(one.values["recorder_bus_connected"] == 0 for one in away),
            f"{NAME}: recorder_bus_connected was not 0 meanwhile",
        )
        held = all("RecorderBusAway" in one.alerts for one in away)
        need(held, f"{NAME}: the expression of RecorderBusAway did not hold meanwhile")

    def _said(self) -> None:
        need = self._plan.need
        need("RecorderFramesLost" in self.watch.fired, f"{NAME}: RecorderFramesLost was not sent")
        if self._plan.outage_s > 1000:
            need("RecorderBusAway" in self.watch.fired, f"{NAME}: RecorderBusAway was not sent")
        need(not self.watch.seen[-1].failing, f"{NAME}: health: {self.watch.seen[-1].failing}")


def _during(gap: dict[str, int], away: tuple[float, float]) -> bool:
    began_s, ended_s = away
    begins = gap["wall0_ns"] >= (began_s - SLACK_S) * SECOND_NS
    return begins and gap["wall1_ns"] <= (ended_s + SLACK_S) * SECOND_NS


def _length_s(gap: dict[str, int]) -> float:
    return (gap["t1_ns"] - gap["t0_ns"]) / SECOND_NS
