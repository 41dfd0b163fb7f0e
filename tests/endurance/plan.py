"""How long the outage is, and what follows from that; what is found wrong."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

HOUR_S = 3600.0
FPS = 1.0
SOON_S = 600.0
SMALL: dict[str, Any] = {"kind": "pattern", "width": 160, "height": 96}
"""A picture of so few pixels costs next to nothing, and each of them is checked."""


class Plan:
    """The clock of one run: everything in it is a share of the outage."""

    def __init__(self, outage_s: float, folder: Path) -> None:
        self.outage_s = outage_s
        self.folder = folder
        self.begin_s = 0.0
        self.wrong: list[str] = []
        self.rows: list[Row] = []

    def scaled(self, at_an_hour: float, least: float = 0.0) -> float:
        """A time that is so long where the outage is an hour."""
        return max(least, at_an_hour * self.outage_s / HOUR_S)

    @property
    def segment_s(self) -> float:
        """No shorter than a frame, else fewer would fill the spool than are counted on."""
        return 1 / FPS

    @property
    def queue_segments(self) -> int:
        """The default at an hour: a sixth of the outage fits into the spool."""
        return max(4, round(self.outage_s / 6 / self.segment_s))

    def begin(self) -> None:
        self.begin_s = time.monotonic()

    def at_s(self, share: float) -> float:
        return self.begin_s + share * self.outage_s

    async def until(self, share: float) -> None:
        """Sleep until so much of the outage is over."""
        await asyncio.sleep(max(0.0, self.at_s(share) - time.monotonic()))

    def settings(self) -> dict[str, str]:
        """Of every recorder: its defaults at an hour, quicker where it is shorter."""
        quick = self.outage_s < HOUR_S
        return {
            "RECORDER_CAPTURE__SEGMENT_S": str(self.segment_s),
            "RECORDER_CAPTURE__CHECKPOINT_S": str(min(5.0, self.scaled(300, 1.0))),
            "RECORDER_CAPTURE__QUEUE_SEGMENTS": str(self.queue_segments),
            "RECORDER_CHUNK__DURATION_S": str(min(10.0, self.scaled(300, 1.0))),
            "RECORDER_RETENTION__EVERY_S": str(self.scaled(60, 1.0)),
            "RECORDER_STORAGE__SWEEP_S": str(self.scaled(60, 1.0)),
            "RECORDER_NATS__MAX_BYTES": "1000000000",
            "RECORDER_DISK__FLOOR_BYTES": "0",
            **({"RECORDER_STORAGE__BACKOFF_S": "0.2,0.5,1"} if quick else {}),
        }

    def need(self, held: object, text: str) -> None:
        """Note down what is wrong, and go on: the rest is looked at all the same."""
        if not held:
            print(f"WRONG: {text}", flush=True)
            self.wrong.append(text)

    async def soon(self, holds: Callable[[], object], text: str) -> None:
        """Wait for something; that it does not come is wrong."""
        end_s = time.monotonic() + SOON_S
        while not holds() and time.monotonic() < end_s:
            await asyncio.sleep(0.2)
        self.need(holds(), text)


class Row(NamedTuple):
    """One session, as it was found."""

    recorder: str
    name: str
    reason: str
    frames: int
    gaps: Sequence[str]
    verdicts: Sequence[str]
