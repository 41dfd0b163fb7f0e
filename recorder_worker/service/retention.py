"""Keeps retention going in this process: rounds, waits, tries again, says what is wrong."""

from __future__ import annotations

import asyncio
import random
from contextlib import suppress

import structlog

from recorder_worker.bus.background import Background
from recorder_worker.core.errors import FencedError, IncidentError, TransientError
from recorder_worker.service.observing.health import Check
from recorder_worker.service.observing.keeping import KeepingGauges
from recorder_worker.stages.retention.keeper import RetentionKeeper, Tended

log = structlog.get_logger(__name__)

NAME = "retention"
SOON_S = 0.2
"""Until a worker that met another one looks again; each by its own chance, so that they part."""
RETRY_S = 5.0


class RetentionKeeping:
    """The task that tends; `start` and `stop` it.

    Args:
        every_s: seconds between two rounds, unless somebody orders a deletion.
    """

    def __init__(self, keeper: RetentionKeeper, *, every_s: float) -> None:
        self._keeper = keeper
        self._every_s = every_s
        self._gauges: KeepingGauges | None = None
        self._ordered = asyncio.Event()
        self._problem = ""
        self._last = Tended()
        self._background = Background(self._tend_for_ever)

    def ordered(self) -> None:
        """A deletion was ordered: do not wait for the next round."""
        self._ordered.set()

    def check(self) -> Check:
        """The check for `Health.add`.

        A limit that holds keep from being reached is no fault of this worker, nor is a store that
        is away, or a folder that somebody has changed: another worker would fare no better.
        """
        last = self._last
        above = (
            f"; {last.above_bytes} bytes above retention.max_total_bytes, and all that is left is "
            "under hold or kept by its own retain_s"
            if last.above_bytes
            else ""
        )
        stopped = [*last.problems, *last.postponed]
        waits = f"; {len(stopped)} are tried again: {stopped[0]}" if stopped else ""
        doubts = f"; {last.doubts}" if last.doubts else ""
        detail = (
            f"{last.sessions} sealed sessions of {last.stored_bytes} bytes, {last.held} under hold"
            f"{above}{doubts}{waits}"
        )
        return Check(NAME, ok=not self._problem, detail=self._problem or detail)

    def start(self, gauges: KeepingGauges) -> None:
        """Begin."""
        self._gauges = gauges
        self._background.start()

    async def stop(self) -> None:
        """Remove no more. What was begun is for whoever comes next."""
        await self._background.stop()

    async def _tend_for_ever(self) -> None:
        while True:
            self._ordered.clear()
            wait_s = await self._tend()
            if not self._background.running:
                return
            with suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await self._ordered.wait()

    async def _tend(self) -> float:
        """One round; gives the seconds until the next one."""
        try:
            found = await self._keeper.tend()
        except FencedError:
            return SOON_S * random.random()  # noqa: S311  (no secret)
        except IncidentError as error:
            self._problem = str(error)
            log.error("RetentionStopped", reason=str(error))  # noqa: TRY400  (a state, no defect)
            return RETRY_S
        except TransientError as error:
            log.warning("RetentionPostponed", error=str(error))
            return RETRY_S
        except Exception as error:
            # A defect must not end the task: the next try may fare better, and health says so.
            log.exception("RetentionFailed")
            self._problem = f"nothing is removed: {error!r}; see the log of this worker"
            return RETRY_S
        self._say(found)
        again = found.problems or found.postponed
        return min(RETRY_S, self._every_s) if again else self._every_s

    def _say(self, found: Tended) -> None:
        if found.above_bytes and not self._last.above_bytes:
            log.warning(
                "RetentionLimitNotReached",
                above_bytes=found.above_bytes,
                held=found.held,
                hint="release holds, or raise retention.max_total_bytes",
            )
        self._problem, self._last = "", found
        if self._gauges is not None:
            self._gauges.tended(found)
