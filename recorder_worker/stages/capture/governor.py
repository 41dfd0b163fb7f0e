"""How much the sessions of a worker may ask of the machine, and of the stages behind."""

from __future__ import annotations

import msgspec
import structlog

from recorder_worker.core.load.back_pressure import BackPressure, BackPressureLimits, Lag
from recorder_worker.core.load.disk_ladder import DiskLadder, DiskLimits
from recorder_worker.core.load.rate_ladder import LadderLimits, RateLadder
from recorder_worker.ports import Clock, StageMetrics

log = structlog.get_logger(__name__)


class LoadLimits(msgspec.Struct, frozen=True, kw_only=True):
    """What an operator may set about load."""

    ladder: LadderLimits
    pressure: BackPressureLimits
    disk: DiskLimits


class Governor:
    """Shared by all sessions of a worker; used from the event loop alone."""

    def __init__(self, limits: LoadLimits, clock: Clock, metrics: StageMetrics) -> None:
        self.lowest_fps = limits.ladder.lowest_fps
        self.ladder = RateLadder(limits.ladder)
        self.pressure = BackPressure(limits.pressure)
        self.disk = DiskLadder(limits.disk)
        self._clock = clock
        self._metrics = metrics

    def measured(self, lag: Lag) -> None:
        """Take what waits for the later stages now; a change is told in log and metrics."""
        if not self.pressure.measured(lag, self._clock.monotonic_ns()):
            return
        behind = self.pressure.behind
        self._metrics.behind(behind=behind)
        if behind:
            log.warning("CaptureBehind", detail=self.pressure.detail)
        else:
            log.info("CaptureCaughtUp", detail=self.pressure.detail)
