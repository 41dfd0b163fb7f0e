"""A second store that is away for the whole time: first it refuses connections, then it hangs.

Sessions begin before, run through, begin meanwhile and end meanwhile; one is deleted by its age
meanwhile, of which there is a copy, and one of which there is none. Chunks leave this disk as soon
as they are copied, so whatever is here has no copy.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Self

from endurance.judge import GOOD, Desk
from endurance.plan import FPS, SMALL, Plan, Row
from endurance.silent_port import SilentPort
from endurance.watch import Watch
from s3_server import BUCKET, OWNER, S3Server
from worker_process import WorkerProcess

from recorder_worker.client import RecorderClient
from recorder_worker.core.events import SessionSealed

NAME = "store away"
DEADLINE_S = 600.0
ALERT = "RecorderSecondStoreAway"
BACKOFF_S = 30.0
SHORT = {"kind": "pattern", "width": 64, "height": 48, "pace": "fast", "frames": 40}


class StoreAway:
    """`async with` starts store and recorder; then `settle`, `outage`, `judge`, in this order."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        folder = plan.folder / "store"
        folder.mkdir()
        self._s3 = S3Server(folder / "s3")
        self._settings = plan.settings() | {
            "RECORDER_STORAGE__KIND": "s3",
            "RECORDER_STORAGE__ENDPOINT": self._s3.url,
            "RECORDER_STORAGE__BUCKET": BUCKET,
            "RECORDER_STORAGE__ACCESS_KEY_ID": OWNER[0],
            "RECORDER_STORAGE__SECRET_ACCESS_KEY": OWNER[1],
            "RECORDER_STORAGE__KEEP_LOCAL": "after_seal",
            "RECORDER_STORAGE__KEEP_LOCAL_S": "0",
            "RECORDER_STORAGE__TIMEOUT_S": str(min(20.0, plan.scaled(600, 1.0))),
        }
        self._worker = WorkerProcess(folder, env=self._settings)
        self._silent = SilentPort(self._s3.url)
        self._stack = AsyncExitStack()
        self.desk = Desk(plan, NAME, self._worker, self._settings)
        self.ids: dict[str, str] = {}
        self.sealed: dict[str, SessionSealed] = {}
        self._here: dict[str, int] = {}
        self._refused = 0.0

    async def __aenter__(self) -> Self:
        await asyncio.to_thread(self._stack.enter_context, self._s3)
        await asyncio.to_thread(self._stack.enter_context, self._worker)
        self.client = await self._stack.enter_async_context(
            RecorderClient.connect(self._worker.nats_url)
        )
        gauges = ("recorder_second_store_ok_state", "recorder_copy_failures_total")
        self.watch = await self._stack.enter_async_context(
            Watch(self._worker, self._plan.scaled(10, 0.5), gauges)
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def settle(self) -> None:
        """Begin what begins before; one session is sealed, copied and gone from here."""
        await self._start("before, sealed", SHORT)
        await self._start("before, deleted by age", SHORT, retain_s=self._seconds(0.3))
        for name in self.ids:
            await self._seal(name)
        await self._start("before, ends meanwhile")
        await self._start("runs through")
        gone = self._folder("before, sealed") / "chunks"
        await self._plan.soon(
            lambda: not gone.exists(), f"{NAME}: chunks of a copied session do not leave"
        )

    async def outage(self) -> None:
        """Kill the store, and bring it back at the end."""
        plan = self._plan
        await asyncio.to_thread(self._s3.kill)
        await plan.until(0.1)
        await self._start("meanwhile, deleted by age", SHORT, retain_s=self._seconds(0.3))
        await self._seal("meanwhile, deleted by age")
        await plan.until(0.25)
        await self._start("begins meanwhile")
        await self._start("begins and ends meanwhile")
        await plan.until(0.5)
        self._refused = self.watch.value("recorder_copy_failures_total")
        self._silent.__enter__()
        await self._stop("before, ends meanwhile")
        await plan.until(0.75)
        await self._stop("begins and ends meanwhile")
        await plan.until(0.97)
        await self._look_at_what_is_here()
        await plan.until(1.0)
        self._silent.__exit__()
        await asyncio.to_thread(self._s3.start)

    async def judge(self) -> None:
        """What is here, and there; then what was said meanwhile, and how often was asked."""
        for name in ("runs through", "begins meanwhile"):
            await self._stop(name)
        await self._copied()
        for name in self.ids:
            await self._judge_one(name)
        await self.desk.good("log", "verify", self._worker.data_dir.absolute())
        await self._plan.soon(lambda: not self._failing(), f"{NAME}: health: {self._failing()}")
        await self.desk.good("doctor")
        self._said()
        self._attempts()

    # --- steps ----------------------------------------------------------------------------------

    def _seconds(self, share: float) -> int:
        return max(1, round(share * self._plan.outage_s))

    async def _start(
        self,
        name: str,
        source: dict[str, Any] = SMALL,
        **more: Any,  # noqa: ANN401  (fields of session.start)
    ) -> None:
        started = await self.client.start(dict(source), fps=FPS, **more)
        self.ids[name] = started.session_id

    async def _stop(self, name: str) -> None:
        await self.client.stop(self.ids[name])
        await self._seal(name)

    async def _seal(self, name: str) -> None:
        self.sealed[name] = await self.client.wait_sealed(self.ids[name], DEADLINE_S)

    def _folder(self, name: str) -> Path:
        return self._worker.data_dir / "sessions" / self.ids[name]

    def _failing(self) -> dict[str, str]:
        return self.watch.seen[-1].failing

    async def _look_at_what_is_here(self) -> None:
        """What was sealed meanwhile is whole on this disk, and what was deleted by age is gone."""
        for name in ("before, ends meanwhile", "begins and ends meanwhile"):
            found = await self.desk.verified(self._folder(name).absolute(), "here, store away")
            self.desk.held_against(found, self.sealed[name], "here, store away")
        for name, session_id in self.ids.items():
            chunks = len(list(self._folder(name).glob("chunks/*")))
            self._here[name] = chunks
            gone = "deleted" in name or name == "before, sealed"
            self._plan.need((chunks == 0) == gone, f"{NAME}: {name} {session_id}: {chunks} chunks")
        said = self.watch.seen[-1].retention
        self._plan.need(
            "are tried again" in said, f"{NAME}: no word of unfinished deletions: {said}"
        )

    async def _copied(self) -> None:
        """Everything is there, and nothing waits."""
        self._back_s = time.monotonic()
        await self._plan.soon(
            lambda: all(not list(self._folder(name).glob("chunks/*")) for name in self.ids),
            f"{NAME}: not all chunks were copied, and left",
        )
        self._took_s = time.monotonic() - self._back_s
        for name in self.ids:
            if "deleted" in name:
                await self._buried(name)
        waiting = self.watch.value("recorder_dead_letters_waiting")
        self._plan.need(waiting == 0, f"{NAME}: {waiting} dead letters")

    async def _buried(self, name: str) -> None:
        stones = self._folder(name) / "retention"
        text = f"{NAME}: {name}: no tombstone"
        await self._plan.soon(lambda: len(list(stones.iterdir())) > 1, text)

    async def _judge_one(self, name: str) -> None:
        session_id, sealed = self.ids[name], self.sealed[name]
        back = self._plan.folder / "fetched" / session_id
        back.parent.mkdir(exist_ok=True)
        if "deleted" in name:
            await self.desk.command("fetch", session_id, back)
            there = await self.desk.verified(back, "fetched", ("REDACTED",))
            here = await self.desk.verified(self._folder(name).absolute(), "here", ("REDACTED",))
        else:
            await self.desk.good("fetch", session_id, back)
            there = await self.desk.verified(back, "fetched", GOOD)
            self.desk.held_against(there, sealed, "fetched")
            await self.desk.good("repair", session_id)
            here = await self.desk.verified(self._folder(name).absolute(), "here, repaired", GOOD)
            self.desk.held_against(here, sealed, "here, repaired")
            self._plan.need(not here.gaps, f"{NAME}: {name}: gaps {here.gaps}")
        verdicts = (f"here {here.verdict}", f"there {there.verdict}")
        self._plan.rows.append(
            Row(NAME, name, sealed.reason.value, sealed.frame_count, (), verdicts)
        )

    # --- what was said --------------------------------------------------------------------------

    def _said(self) -> None:
        need, plan = self._plan.need, self._plan
        away = self.watch.during(plan.at_s(0.05), plan.at_s(0.99))
        quiet = [one.at_s - plan.begin_s for one in away if "storage" not in one.failing]
        need(not quiet, f"{NAME}: /health did not say so at {quiet[:5]}")
        need(all(one.ready for one in away), f"{NAME}: /health was not ok, and needs no restart")
        zero = all(one.values["recorder_second_store_ok_state"] == 0 for one in away)
        need(zero, f"{NAME}: recorder_second_store_ok_state was not 0 all the time")
        held = all(ALERT in one.alerts for one in away)
        need(held, f"{NAME}: the expression of {ALERT} did not hold all the time")
        if plan.outage_s > 1000:
            need(ALERT in self.watch.fired, f"{NAME}: {ALERT} was not sent")
        others = set(self.watch.fired) - {
            ALERT,
            "RecorderCopiesLate",
            "RecorderClockUnsynchronised",
        }
        need(not others, f"{NAME}: alerts of something else: {sorted(others)}")

    def _attempts(self) -> None:
        """As many ask as there are workers, the look and the keeper, each at the last wait."""
        plan = self._plan
        backoff_s = BACKOFF_S if plan.outage_s >= 3600 else 1.0
        askers = 2 + 1
        keeper = plan.outage_s / plan.scaled(60, 1.0) * 2
        most = askers * (plan.outage_s / backoff_s + 6) + keeper
        failures = self.watch.value("recorder_copy_failures_total")
        plan.need(failures <= most, f"{NAME}: {failures} failures, more than {most:.0f}")
        connections = 2 * (most / 2) + 20
        plan.need(
            self._silent.taken <= connections,
            f"{NAME}: {self._silent.taken} connections in half of it, more than {connections:.0f}",
        )
        print(
            f"{NAME}: {self._refused:.0f} tries failed while connections were refused, "
            f"{failures - self._refused:.0f} while they hung, on {self._silent.taken} connections, "
            f"{self._silent.most_at_once} at once; most that was allowed: {most:.0f} tries. "
            f"All was copied {self._took_s:.0f} s behind the return"
        )
