"""A disk that somebody else fills twice, and has room again: a pause, and then an end of all.

The data directory and the recorder's own nats-server are on one small file system. First as much is
taken as lets sessions be paused, and then everything, to the last byte.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Self

from endurance.judge import Desk
from endurance.plan import FPS, SMALL, Plan, Row
from endurance.watch import MIB, Watch
from small_disks import fill, small_disk
from worker_process import WorkerProcess

from recorder_worker.client import RecorderClient
from recorder_worker.core.errors import BusUnavailableError, RefusedError
from recorder_worker.core.events import SessionSealed
from recorder_worker.core.subjects import Fact

NAME = "disk full"
DEADLINE_S = 600.0
SIZE, FLOOR, PAUSE, REFUSE, WARN, BACK = 256, 24, 48, 56, 64, 2
"""MiB. Of what is left in the first time the journal needs some, for an hour."""
LEFT = 36
NEARLY, WHOLLY = (0.1, 0.35), (0.5, 0.9)
LATE = "asked for while it was full"
STOPPED = {"begins behind", LATE}
OPTIONS = {"first to be paused": 1, "last to be paused": 9}


class DiskFull:
    """As StoreAway, of the disk."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        folder = plan.folder / "disk"
        folder.mkdir()
        self._settings = plan.settings() | {
            "RECORDER_DATA_DIR": "small/data",
            "RECORDER_DISK__FLOOR_BYTES": str(FLOOR * MIB),
            "RECORDER_DISK__PAUSE_BYTES": str(PAUSE * MIB),
            "RECORDER_DISK__REFUSE_BYTES": str(REFUSE * MIB),
            "RECORDER_DISK__WARN_BYTES": str(WARN * MIB),
            "RECORDER_DISK__BACK_BYTES": str(BACK * MIB),
            "RECORDER_DISK__START_WAIT_S": "1",
            "RECORDER_CHUNK__MAX_STORED_BYTES": "1000000",
        }
        self._disk = folder / "small"
        self._worker = WorkerProcess(folder, env=self._settings)
        self._stack = AsyncExitStack()
        self.desk = Desk(plan, NAME, self._worker, self._settings)
        self.ids: dict[str, str] = {}
        self._asked: list[str] = []
        self._answers: list[str] = []

    async def __aenter__(self) -> Self:
        self._stack.enter_context(small_disk(self._disk, SIZE * MIB))
        await asyncio.to_thread(self._stack.enter_context, self._worker)
        self.watch = await self._stack.enter_async_context(
            Watch(self._worker, self._plan.scaled(10, 0.5), ("recorder_disk_state",))
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def settle(self) -> None:
        """Two sessions; which one gives way first is said by their priorities."""
        for name, priority in OPTIONS.items():
            await self._start(name, priority=priority)

    async def outage(self) -> None:
        """Fill and free, twice; what is asked to begin meanwhile is refused, and told why."""
        await self._filled(*NEARLY, leave=LEFT * MIB, rung=3)
        await self._plan.until((NEARLY[1] + WHOLLY[0]) / 2)
        await self._start("begins between")
        await self._filled(*WHOLLY, leave=0, rung=4)
        await self._plan.soon(lambda: self._state() < 2, f"{NAME}: the ladder does not come down")
        await self._start("begins behind")
        await self._plan.until(1.0)

    async def judge(self) -> None:
        """All sealed; gaps by the disk alone, and only while it was full."""
        async with RecorderClient.connect(self._worker.nats_url) as client:
            await client.stop(self.ids["begins behind"])
            for asked in self._asked:
                # A command that the journal had taken, and could not be refused on a full disk.
                if await client.last(Fact.STARTED, asked) is not None:
                    self.ids[LATE] = asked
                    await client.stop(asked)
            for name, session_id in self.ids.items():
                await self._judge_one(name, await client.wait_sealed(session_id, DEADLINE_S))
        await self.desk.good("log", "verify", self._worker.data_dir.absolute())
        await self.desk.good("doctor")
        need, watch = self._plan.need, self.watch
        for alert in ("RecorderDiskFull", "RecorderFramesLost", "RecorderSessionEndedBadly"):
            need(alert in watch.fired, f"{NAME}: {alert} was not sent")
        if self._plan.outage_s > 1000:
            for alert in ("RecorderDiskLow", "RecorderNotReady"):
                need(alert in watch.fired, f"{NAME}: {alert} was not sent")
        need("disk" in self._answers[0], f"{NAME}: a start was answered: {self._answers[0]}")
        print(
            f"{NAME}: a start was answered, nearly full: {self._answers[0]}; "
            f"without a byte: {self._answers[1]}"
        )
        letters = watch.value("recorder_dead_letters_waiting")
        need(letters == 0, f"{NAME}: {letters} dead letters")
        need(not watch.seen[-1].failing, f"{NAME}: health: {watch.seen[-1].failing}")

    # --- steps ----------------------------------------------------------------------------------

    async def _start(self, name: str, **more: Any) -> None:  # noqa: ANN401  (fields of session.start)
        async with RecorderClient.connect(self._worker.nats_url) as client:
            started = await client.start(dict(SMALL), fps=FPS, **more)
            self.ids[name] = started.session_id

    async def _refused(self) -> None:
        """Ask for a session while there is no room. On a disk without a byte the answer cannot be
        stored: then it waits, as its sender is told, and begins when there is room."""
        asked, wait_s = str(uuid.uuid4()), self._plan.scaled(120, 5.0)
        self._asked.append(asked)
        try:
            async with RecorderClient.connect(self._worker.nats_url) as client:
                await client.start(dict(SMALL), session_id=asked, fps=FPS, timeout_s=wait_s)
        except RefusedError as error:
            self._answers.append(f"refused: {error}")
        except BusUnavailableError as error:
            self._answers.append(f"not taken: {error}")
        else:
            self._plan.need(held=False, text=f"{NAME}: a session was taken without room")

    def _state(self) -> float:
        return self.watch.seen[-1].values["recorder_disk_state"]

    async def _filled(self, begin: float, end: float, *, leave: int, rung: int) -> None:
        await self._plan.until(begin)
        ballast = await asyncio.to_thread(fill, self._disk, leave)
        try:
            await self._while_full(end, rung)
        finally:
            await asyncio.to_thread(ballast.unlink)

    async def _while_full(self, end: float, rung: int) -> None:
        plan, need, began_s = self._plan, self._plan.need, time.monotonic()
        await self._plan.soon(
            lambda: self._state() >= rung, f"{NAME}: the ladder does not reach {rung}"
        )
        await self._refused()
        await plan.until(end)
        full = self.watch.during(began_s + plan.scaled(60, 3.0), time.monotonic())
        need(full, f"{NAME}: nobody looked meanwhile")
        need(all("disk" in one.failing for one in full), f"{NAME}: /health did not say so")
        need(all(not one.ready for one in full), f"{NAME}: /health was ok meanwhile")
        states = {one.values["recorder_disk_state"] for one in full}
        need(states == {rung}, f"{NAME}: recorder_disk_state was {states}, expected {rung}")
        held = all("RecorderDiskLow" in one.alerts for one in full)
        need(held, f"{NAME}: the expression of RecorderDiskLow did not hold all the time")

    async def _judge_one(self, name: str, sealed: SessionSealed) -> None:
        folder: Path = self._worker.data_dir / "sessions" / self.ids[name]
        found = await self.desk.verified(folder.absolute(), "here")
        self.desk.held_against(found, sealed, "here")
        need = self._plan.need
        reasons = {gap["reason"] for gap in found.gaps}
        need(reasons <= {"disk"}, f"{NAME}: {name}: gaps {found.gaps}")
        need(not list(folder.glob("segments/*")), f"{NAME}: {name}: segments are left")
        need(not list(folder.rglob("*.tmp")), f"{NAME}: {name}: half-written files are left")
        wanted = "stopped" if name in STOPPED else "disk_full"
        need(sealed.reason.value == wanted, f"{NAME}: {name}: sealed as {sealed.reason}")
        # A pattern waits: by its end it may lack nothing, and has a gap where it was paused.
        need(name not in OPTIONS or "disk" in reasons, f"{NAME}: {name}: gaps {reasons}")
        gaps = [
            f"{gap['reason']} {(gap['t1_ns'] - gap['t0_ns']) / 1e9:.0f} s" for gap in found.gaps
        ]
        self._plan.rows.append(
            Row(NAME, name, sealed.reason.value, found.frames, gaps, (f"here {found.verdict}",))
        )
