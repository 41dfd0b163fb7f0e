"""Looks every few seconds how much waits for each stage and how full the streams are.

For metrics, and for readiness.
"""

from __future__ import annotations

import asyncio
from functools import partial

import structlog

from recorder_worker.bus.background import Background
from recorder_worker.bus.bus import Backlog, Bus, StreamFill
from recorder_worker.bus.streams.topology import COMMANDS_STREAM, SESSIONS_STREAM
from recorder_worker.core.pipeline import CAPTURE
from recorder_worker.ports import Clock
from recorder_worker.service.observing.health import Check, Health, StageProgress
from recorder_worker.service.observing.metrics import Metrics

log = structlog.get_logger(__name__)

LOOK_S = 2.0
STALL_S = 30.0
MAKE_AGAIN = "restart the worker, which makes it again, or run `recorder streams apply`"
STREAMS = (SESSIONS_STREAM, COMMANDS_STREAM)
FULL_PERCENT = 95
"""From here on a stream counts as full: there must be time to act before it refuses events."""


class BacklogWatch:
    """Feeds `StageProgress` checks and the backlog gauges from JetStream's own numbers."""

    def __init__(self, bus: Bus, health: Health, metrics: Metrics, clock: Clock) -> None:
        self._bus = bus
        self._health = health
        self._metrics = metrics
        self._clock = clock
        self._progress: dict[str, StageProgress] = {}
        self._gone: dict[str, str] = {}
        self.backlogs: dict[str, Backlog] = {}
        """What was found last, by stage."""
        self._streams = {
            stream: Check(f"stream.{stream}", ok=True, detail="not seen yet") for stream in STREAMS
        }
        for stream in STREAMS:
            health.add(f"stream.{stream}", partial(self._streams.__getitem__, stream))
        self._background = Background(self._look_for_ever)

    def add(self, stage: str) -> StageProgress:
        """Watch a stage."""
        progress = StageProgress(stage, self._clock, STALL_S)
        self._progress[stage] = progress
        self._health.add(f"stage.{stage}", lambda: self._check(stage))
        return progress

    def start(self) -> None:
        """Begin to look."""
        self._background.start()

    async def stop(self) -> None:
        """Look no more."""
        await self._background.stop()

    def _check(self, stage: str) -> Check:
        gone = self._gone.get(stage)
        if gone is not None:
            return Check(f"stage.{stage}", ok=False, detail=gone)
        return self._progress[stage].check()

    async def _look_for_ever(self) -> None:
        while True:
            for stage in self._progress:
                await self._look(stage)
                if not self._background.running:
                    return
            for stream in STREAMS:
                await self._look_at_stream(stream)
                if not self._background.running:
                    return
            await asyncio.sleep(LOOK_S)

    async def _look(self, stage: str) -> None:
        try:
            backlog = await self._bus.backlog(stage)
        except LookupError as error:
            # FastStream would go on asking a consumer that is not there, silently.
            if stage not in self._gone:
                log.warning("ConsumerGone", stage=stage, error=str(error))
            self._gone[stage] = f"{error}; {MAKE_AGAIN}"
            return
        except TimeoutError as error:
            log.debug("BacklogUnknown", stage=stage, error=str(error))
            return
        self._gone.pop(stage, None)
        self.backlogs[stage] = backlog
        self._metrics.gauges.backlog(stage, backlog, self._clock.wall_ns())
        # A lease is un-acked for as long as its session lasts, and a start that waits for a
        # free worker is no fault: neither is a stall of capture.
        waiting = 0 if stage == CAPTURE.name else backlog.pending + backlog.ack_pending
        self._progress[stage].waiting(waiting)

    async def _look_at_stream(self, stream: str) -> None:
        name = f"stream.{stream}"
        try:
            fill = await self._bus.fill(stream)
        except LookupError as error:
            detail = f"{error}; {MAKE_AGAIN}"
            self._streams[stream] = Check(name, ok=False, detail=detail)
            return
        except TimeoutError as error:
            log.debug("StreamUnknown", stream=stream, error=str(error))
            return
        self._streams[stream] = stream_check(name, fill)


def stream_check(name: str, fill: StreamFill) -> Check:
    """Whether a stream has room. A full one refuses new events: nothing would be recorded."""
    if fill.max_bytes <= 0:
        return Check(name, ok=True, detail=f"{fill.stored_bytes} bytes; the stream has no limit")
    ok = fill.stored_bytes * 100 < fill.max_bytes * FULL_PERCENT
    detail = f"{fill.stored_bytes} of {fill.max_bytes} bytes"
    advice = (
        f"expected less than {FULL_PERCENT} %: a full stream refuses new events; raise "
        "nats.max_bytes or lower nats.max_age_s, and restart (where nats.manage is off: "
        "run `recorder streams apply` as the user deploy)"
    )
    return Check(name, ok, detail if ok else f"{detail}, {advice}")
