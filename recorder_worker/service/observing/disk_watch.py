"""Looks all the time how full the disks are, and tells the ladder, the log, metrics and health."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

import structlog

from recorder_worker.adapters.disk import Disk
from recorder_worker.bus.background import Background
from recorder_worker.core.load.disk_ladder import DiskLadder, Rung
from recorder_worker.ports import Clock
from recorder_worker.service.observing.health import Check
from recorder_worker.service.observing.metrics import Metrics

log = structlog.get_logger(__name__)

NAME = "disk"
PROBE_S = 5.0
"""How often a file is written to see whether that works; while it does not, at every look."""
SECOND_NS = 1_000_000_000


class DiskWatch:
    """Measures as often as the ladder asks; `changed` is called when a rung begins or ends."""

    def __init__(
        self,
        disk: Disk,
        ladder: DiskLadder,
        clock: Clock,
        metrics: Metrics,
        changed: Callable[[], None],
    ) -> None:
        self._disk = disk
        self._ladder = ladder
        self._clock = clock
        self._metrics = metrics
        self._changed = changed
        self._trouble = ""
        self._probed_ns: int | None = None
        self._background = Background(self._look_for_ever)

    async def start(self) -> None:
        """Look once, and go on to look: whoever begins now knows how full it is."""
        await self.look()
        self._background.start()

    async def stop(self) -> None:
        """Look no more."""
        await self._background.stop()

    def check(self) -> Check:
        """Not ready, once nothing new is taken. What runs short of room before that says so."""
        return Check(NAME, self._ladder.rung < Rung.REFUSE, self._ladder.detail)

    async def look(self) -> None:
        """Measure, and tell of what is another than before."""
        try:
            rooms = await asyncio.to_thread(self._disk.rooms)
            await self._probe()
        except OSError as error:
            rooms, self._trouble = (), f"the disk cannot be looked at: {error}"
        ladder = self._ladder
        before = ladder.measured(rooms, self._clock.monotonic_ns(), self._trouble)
        self._metrics.gauges.disk(ladder.rung)
        if ladder.rung is before:
            return
        log.log(
            _severity(before, ladder.rung),
            "DiskRungChanged",
            rung=ladder.rung.name.lower(),
            before=before.name.lower(),
            detail=ladder.detail,
        )
        self._changed()

    async def _probe(self) -> None:
        now_ns = self._clock.monotonic_ns()
        fresh = self._probed_ns is not None and now_ns - self._probed_ns < PROBE_S * SECOND_NS
        if fresh and not self._trouble:
            return
        self._probed_ns = now_ns
        try:
            await asyncio.to_thread(self._disk.probe)
            if self._trouble:
                await asyncio.to_thread(self._disk.clear)
        except OSError as error:
            self._trouble = f"the disk takes no file: {error}"
        else:
            self._trouble = ""

    async def _look_for_ever(self) -> None:
        while True:
            await asyncio.sleep(self._ladder.look_s)
            await self.look()


def _severity(before: Rung, now: Rung) -> int:
    """From the rung on at which something is not recorded it is an error."""
    if now < before:
        return logging.INFO
    return logging.ERROR if now >= Rung.PAUSE else logging.WARNING
