"""Looks at one recorder all the time: what it holds, what it says, which alerts would be told."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, Self

import psutil
from endurance.alerts import Rules, Scrape, scraped
from worker_process import WorkerProcess

from recorder_worker.adapters.durable_file import SPARES

TIMEOUT_S = 20.0
MIB = 2**20
HISTORY_S = 1800.0
"""No rule looks further back."""


class Seen(NamedTuple):
    """One look. `failing` are the checks of /health that are not well, with what they say;
    `retention` is what that check says, which is well while a deletion waits for a store."""

    at_s: float
    held: dict[str, float]
    failing: dict[str, str]
    retention: str
    ready: bool
    alerts: frozenset[str]
    values: dict[str, float]


class Watch:
    """`async with` begins and ends it; what it has seen stands in `seen`.

    Args:
        worker: whose process and sidecar are looked at.
        every_s: how often.
        gauges: metrics that are kept, of all labels together (the largest).
        also: called at each look, for what has to move meanwhile.
    """

    def __init__(
        self,
        worker: WorkerProcess,
        every_s: float,
        gauges: tuple[str, ...] = (),
        also: Callable[[], None] = lambda: None,
    ) -> None:
        self._worker = worker
        self._every_s = every_s
        self._gauges = gauges
        self._also = also
        self._rules = Rules()
        self._scrapes: list[Scrape] = []
        self._pending: dict[str, float] = {}
        self._task: asyncio.Task[None] | None = None
        self.seen: list[Seen] = []
        self.fired: dict[str, float] = {}
        """Alerts that would have been sent, and when first."""
        self.said: Counter[str] = Counter()
        """Lines of the log above INFO, by event."""
        self._read = 0
        self.troubles: list[str] = []
        """Looks that failed: then nothing is shown."""

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._look_on())
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        await self.look()

    def during(self, begin_s: float, end_s: float) -> list[Seen]:
        """What was seen between two moments of the monotonic clock."""
        return [one for one in self.seen if begin_s <= one.at_s <= end_s]

    def value(self, name: str, **labels: str) -> float:
        """A metric as it was scraped last, of all series with these labels together."""
        wanted = set(labels.items())
        return sum(
            value
            for (found, have), value in self._scrapes[-1].values.items()
            if found == name and wanted <= have
        )

    async def look(self) -> None:
        """Look once."""
        # A child that ends meanwhile is seen as it was.
        with contextlib.suppress(psutil.NoSuchProcess):
            self.seen.append(await asyncio.to_thread(self._look))
        self._also()

    async def _look_on(self) -> None:
        while True:
            try:
                await self.look()
            except Exception as error:  # noqa: BLE001  (what cannot be seen is told at the end)
                self.troubles.append(repr(error))
            await asyncio.sleep(self._every_s)

    def _look(self) -> Seen:
        now_s = time.monotonic()
        held = self._held()
        text = self._ask("/metrics")
        self._scrapes = [one for one in self._scrapes if one.at_s > now_s - HISTORY_S]
        self._scrapes.append(scraped(text, now_s))
        report = json.loads(self._ask("/health") or "{}")
        self._count_lines()
        return Seen(
            now_s,
            held,
            {
                check["name"]: check["detail"]
                for check in report.get("checks", [])
                if not check["ok"]
            },
            next((c["detail"] for c in report.get("checks", []) if c["name"] == "retention"), ""),
            bool(report.get("ok")),
            self._told(now_s),
            {name: self._largest(name) for name in self._gauges},
        )

    def _held(self) -> dict[str, float]:
        worker = psutil.Process(self._worker.pid)
        servers = worker.children()
        return {
            "memory MiB": worker.memory_info().rss / MIB,
            "threads": worker.num_threads(),
            "descriptors": worker.num_fds(),
            "nats memory MiB": sum(one.memory_info().rss for one in servers) / MIB,
            "spool MiB": _bytes_below(self._worker.data_dir, "sessions/*/segments/*") / MIB,
            "chunks MiB": _bytes_below(self._worker.data_dir, "sessions/*/chunks/*") / MIB,
            "spares": len(list((self._worker.data_dir / SPARES).glob("*"))),
        }

    def _ask(self, path: str) -> str | None:
        """None: it does not answer."""
        url = f"http://127.0.0.1:{self._worker.sidecar_port}{path}"
        try:
            with urllib.request.urlopen(url, timeout=TIMEOUT_S) as answer:
                text: str = answer.read().decode()
                return text
        except (urllib.error.URLError, OSError):
            return None

    def _told(self, now_s: float) -> frozenset[str]:
        """The alerts that would be firing now: they have held for as long as `for` says."""
        holding = self._rules.holding(self._scrapes)
        self._pending = {name: self._pending.get(name, now_s) for name in holding}
        firing = {
            name
            for name, since_s in self._pending.items()
            if now_s - since_s >= self._rules.alerts[name][1]
        }
        for name in firing:
            self.fired.setdefault(name, now_s)
        return frozenset(holding)

    def _largest(self, name: str) -> float:
        values = [v for (found, _), v in self._scrapes[-1].values.items() if found == name]
        return max(values, default=0.0)

    def _count_lines(self) -> None:
        lines: list[dict[str, Any]] = self._worker.lines[self._read :]
        self._read += len(lines)
        for line in lines:
            if line.get("level") in ("warning", "error", "critical") or "text" in line:
                self.said[str(line.get("event", line.get("text", "")))] += 1


def _bytes_below(folder: Path, pattern: str) -> int:
    total = 0
    for path in folder.glob(pattern):
        with contextlib.suppress(FileNotFoundError):
            total += path.stat().st_size
    return total
