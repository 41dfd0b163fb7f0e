"""Makes the consumers of integrations again where somebody has removed them.

Those of the stages are watched by `/readyz`, for without them nothing is recorded. These count for
nothing, and a consumer that is gone would only be noticed by the CPU that asking for it takes.
Removing one is also the way to have everything told again: it comes back with all that its stream
holds in front of it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import structlog

from recorder_worker.bus.background import Background
from recorder_worker.bus.bus import Bus
from recorder_worker.core.errors import TopologyError

log = structlog.get_logger(__name__)

LOOK_S = 2.0


class ConsumerKeeper:
    """Looks every few seconds, from `start` to `stop`."""

    def __init__(self, bus: Bus, stages: Sequence[str]) -> None:
        self._bus = bus
        self._stages = stages
        self._gone: set[str] = set()
        self._background = Background(self._look_for_ever)

    def start(self) -> None:
        """Begin to look."""
        self._background.start()

    async def stop(self) -> None:
        """Look no more."""
        await self._background.stop()

    async def _look_for_ever(self) -> None:
        while self._background.running:
            await asyncio.sleep(LOOK_S)
            for stage in self._stages:
                await self._look(stage)

    async def _look(self, stage: str) -> None:
        try:
            await self._bus.backlog(stage)
        except LookupError:
            await self._restore(stage)
        except TimeoutError as error:
            log.debug("BacklogUnknown", stage=stage, error=str(error))
        else:
            self._gone.discard(stage)

    async def _restore(self, stage: str) -> None:
        try:
            await self._bus.restore(stage)
        except TopologyError as error:
            if stage not in self._gone:
                log.warning("ConsumerGone", stage=stage, error=str(error))
            self._gone.add(stage)
        else:
            self._gone.discard(stage)
            log.warning("ConsumerRestored", stage=stage)
