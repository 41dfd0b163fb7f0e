"""The session that the table records: nine small frames, one of them missing, and what happens.

A mark and a refused command come behind the second frame, and the epoch turns behind the sixth.
The source waits for each, so that every run has the same effects in the same order.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NotYet
from typing import Any

import msgspec
import numpy as np
from blake3 import blake3

from faults.injector import Process
from recorder_worker.core.errors import UnitsMissingError
from recorder_worker.core.frames.pictures import Picture
from recorder_worker.core.model import GapReason, SourceClock, SourceFacts
from recorder_worker.core.sources.kinds import Source
from recorder_worker.ports import Frame

SESSION = "0192f3a4-5b6c-7d8e-9f00-0000000000fa"
OWNER = "alice"
UNITS = 9
MISSING = 4
MARK_AT, EPOCH_AT = 2, 6
FPS = 4
SIZE = 16
START: dict[str, Any] = {
    "session_id": SESSION,
    "source": {"kind": "pattern", "width": SIZE, "height": SIZE, "frames": UNITS, "pace": "fast"},
    "owner": OWNER,
}
MARK = msgspec.json.encode({"session_id": SESSION, "text": "valve 7 opened", "by": OWNER})
HOLD, RELEASE, DELETE = (
    msgspec.json.encode({"session_id": SESSION, "reason": reason, "by": OWNER})
    for reason in ("case 12/26", "the case is closed", "the visitor asked for it")
)
REFUSED = msgspec.json.encode({"session_id": SESSION, "text": 7})


def picture(unit: int) -> Picture:
    """What a unit shows: another picture each time, and the same one whoever asks."""
    return np.random.default_rng(unit).integers(0, 255, (SIZE, SIZE, 3), np.uint8)


def pixels(unit: int) -> str:
    """BLAKE3 of a unit's pixels, in hexadecimal."""
    return blake3(picture(unit).tobytes()).hexdigest()


class SteppedSource:
    """A media source that waits, in front of some units, until what shall happen has happened."""

    def __init__(
        self,
        process: Process,
        happens: Callable[[int, Process], Awaitable[None]],
        loop: asyncio.AbstractEventLoop,
        source: Source,
        first_unit: int,
    ) -> None:
        self._process = process
        self._happens = happens
        self._loop = loop
        self._source = source
        self._unit = first_unit

    @property
    def facts(self) -> SourceFacts:
        return SourceFacts(
            kind="pattern",
            uri=self._source.uri,
            description="the session of the fault table",
            width=SIZE,
            height=SIZE,
            clock=SourceClock.MEDIA,
            frame_rate=FPS,
            frame_count=UNITS,
        )

    def read(self) -> Frame | None:
        self._process.check()
        if self._unit >= UNITS:
            return None
        if self._unit in (MARK_AT, EPOCH_AT):
            self._wait_for(asyncio.run_coroutine_threadsafe(self._step(), self._loop))
        unit, self._unit = self._unit, self._unit + 1
        if unit == MISSING:
            t_ns = (unit + 1) * 1_000_000_000 // FPS
            raise UnitsMissingError(1, t_ns, GapReason.SOURCE_LOST, "the source has not got it")
        return Frame(picture=picture(unit), t_ns=unit * 1_000_000_000 // FPS)

    def close(self) -> None:
        """Nothing is open."""

    async def _step(self) -> None:
        await self._happens(self._unit, self._process)

    def _wait_for(self, step: Future[None]) -> None:
        while True:
            self._process.check()
            try:
                step.result(0.02)
            except NotYet:
                continue
            return
