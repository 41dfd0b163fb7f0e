"""The captured log of one session as its lease holder writes it: in order and fenced."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Self

import structlog

from recorder_worker.core.errors import BusUnavailableError, FencedError, LeaseLostError
from recorder_worker.core.events import Captured, Event, LeaseReleased
from recorder_worker.core.ids import event_key
from recorder_worker.core.model import Cursor, GapReason, Mask, Slowed
from recorder_worker.core.subjects import Fact
from recorder_worker.ports import Clock, Delivery, EventLog, Logged
from recorder_worker.stages.capture.services import CaptureServices
from recorder_worker.stages.capture.session.headway import Headway

log = structlog.get_logger(__name__)

BUS_RETRY_WAIT_S = 1.0


class CapturedJournal:
    """Appends captured events, each behind the last, until somebody else does."""

    def __init__(
        self,
        log: EventLog,
        clock: Clock,
        session_id: str,
        lease: str,
        boot: str,
        last: Logged | None,
        headway: Headway | None = None,
    ) -> None:
        self._headway = headway
        self._log = log
        self._clock = clock
        self.session_id = session_id
        self._lease = lease
        self._boot = boot
        self._sequence = last.sequence if last else 0
        event = last.event if last else None
        found = event if isinstance(event, Captured) else None
        self.same_boot = found is not None and bool(boot) and found.boot == boot
        """Whether the event that we go on from was written since this machine's last boot."""
        self.last = found
        """The newest captured event, ours or the one that we took over from."""
        self.next_ordinal = found.ordinal + 1 if found else 0
        self.controls = found.controls if found else 0
        """How many control events have taken effect."""
        self.cursor = found.cursor if found else Cursor()
        self.paused = found.paused if found else False
        self.armed = found.armed if found else False
        """Whether frames are held in memory alone, until a trigger."""
        self.slowed: Slowed | None = found.slowed if found else None
        """The lower frame rate in force, which whoever takes over keeps for now."""
        self.held = False
        """Whether nothing is read, for later stages are behind: never so when a lease begins."""
        self.masks: tuple[Mask, ...] = ()
        """The masks in force when this lease began."""
        self.masked_until = 0
        """Mask commands below this ordinal hold already, or were overtaken by one that does."""
        self.epoch = found.epoch if found else 0
        """The number of the key epoch."""

    @classmethod
    def of(
        cls, services: CaptureServices, session_id: str, delivery: Delivery, last: Logged | None
    ) -> Self:
        """That of a delivery of the session's start, behind the last event that it found."""
        identity = services.identity
        lease = f"{identity.worker}:{delivery.sequence}:{delivery.deliveries}"
        headway = Headway(partial(services.got_on, delivery))
        return cls(services.log, services.clock, session_id, lease, identity.boot_id, last, headway)

    def place(self) -> dict[str, object]:
        """The fields that every captured event has, for the next one."""
        return {
            "session_id": self.session_id,
            "ordinal": self.next_ordinal,
            "lease": self._lease,
            "controls": self.controls,
            "cursor": self.cursor,
            "paused": self.paused,
            "armed": self.armed,
            "slowed": self.slowed,
            "held": self.held,
            "boot": self._boot,
            "epoch": self.epoch,
            "clock": self._clock.state(),
            "wall_ns": self._clock.wall_ns(),
        }

    async def append(self, event: Captured) -> None:
        """Append an event made with `place`; waits for a bus that is away.

        Segments stay in the spool meanwhile, so nothing is lost while the bus is down; whether we
        still hold the lease when it is back is decided by the fence.

        Raises:
            LeaseLostError: another worker has written on: this one must stop.
        """
        key = event_key("captured", self.session_id, event.ordinal, self._lease)
        while True:
            try:
                self._sequence = await self._log.append(
                    Fact.CAPTURED, self.session_id, event, key=key, after=self._sequence
                )
            except BusUnavailableError as error:
                log.warning("CapturedEventDelayed", ordinal=event.ordinal, error=str(error))
                await asyncio.sleep(BUS_RETRY_WAIT_S)
                continue
            except FencedError as error:
                raise LeaseLostError(
                    f"session {self.session_id} is recorded by another worker now"
                ) from error
            self.last = event
            self.next_ordinal = event.ordinal + 1
            if self._headway is not None:
                await self._headway.seen(event)
            return

    async def tell(self, fact: Fact, event: Event, *key: str | int) -> None:
        """Publish a fact for clients; a repeated one is dropped by its key. Waits as `append`."""
        full_key = event_key(fact.value, self.session_id, *key)
        while True:
            try:
                await self._log.emit(fact, self.session_id, event, key=full_key)
            except BusUnavailableError as error:
                log.warning("FactDelayed", fact=fact.value, error=str(error))
                await asyncio.sleep(BUS_RETRY_WAIT_S)
                continue
            return


def gap_behind(last: Logged | None) -> GapReason | None:
    """What separates us from the last captured event: nothing, a hand-over or a crash."""
    event = last.event if last else None
    if not isinstance(event, Captured):
        return None
    return GapReason.HANDOVER if isinstance(event, LeaseReleased) else GapReason.CRASH
