"""The capture stage: a start message becomes a lease, and a lease a recording.

The message stays un-acked while the session is recorded, so a worker that dies gives it back by
doing nothing; whoever gets it next finds in the last captured event all that is needed to go on.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass, field

import structlog

from recorder_worker.core.command_parsing import session_id_in
from recorder_worker.core.commands import StartSession
from recorder_worker.core.errors import (
    BusUnavailableError,
    FencedError,
    LeaseLostError,
    LeaseReleasedError,
    RefusedError,
    StoreError,
)
from recorder_worker.core.events import EndCaptured
from recorder_worker.core.ids import session_id_for
from recorder_worker.core.sources.logins import Login, without_login
from recorder_worker.core.subjects import Fact
from recorder_worker.ports import Delivery
from recorder_worker.stages.capture.services import CaptureServices
from recorder_worker.stages.capture.session.admission import DuplicateStartError
from recorder_worker.stages.capture.session.aftermath import leave_spool, tell_aftermath
from recorder_worker.stages.capture.session.giving_up import give_up
from recorder_worker.stages.capture.session.lease import Lease

log = structlog.get_logger(__name__)


@dataclass
class _Held:
    """A session that this worker records, by which message, and whom to tell when it is over."""

    sequence: int
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    done: asyncio.Event = field(default_factory=asyncio.Event)


class CaptureStage:
    """Handles `session.start`: one call records one session from its begin to its end."""

    def __init__(self, services: CaptureServices) -> None:
        self._services = services
        self._release = asyncio.Event()
        self._active: dict[str, _Held] = {}
        self._idle = asyncio.Event()
        self._idle.set()

    @property
    def active_sessions(self) -> tuple[str, ...]:
        """The sessions that this worker holds the lease of."""
        return tuple(self._active)

    def wake_all(self) -> None:
        """Let every session look again at what it is asked to give up."""
        for held in self._active.values():
            held.wake.set()

    async def release_all(self) -> None:
        """Give every session to another worker, because this one shuts down; wait for it."""
        self._release.set()
        self.wake_all()
        await self._idle.wait()

    async def handle(self, delivery: Delivery) -> None:
        """Record a session, from its begin or from where another worker left it.

        Raises:
            LeaseLostError, LeaseReleasedError: another worker has it, or shall have it.
            TransientError: try again.
        """
        if self._release.is_set():
            raise LeaseReleasedError("this worker is shutting down")
        try:
            command = await self._services.gate.parsed(delivery)
            if not isinstance(command, StartSession):
                raise TypeError(f"{delivery.command} is not a start")
            command, login = without_login(command)
        except RefusedError as error:
            await self._services.gate.refuse(error, delivery, session_id_in(delivery.body))
            return
        session_id = command.session_id or session_id_for(delivery.command_id, delivery.received_ns)
        with structlog.contextvars.bound_contextvars(session_id=session_id):
            try:
                await self._hold(session_id, command, delivery, login)
            except DuplicateStartError:
                log.info("StartRepeated", command_id=delivery.command_id)
            except RefusedError as error:
                await self._services.gate.refuse(error, delivery, session_id)

    async def give_up(self, delivery: Delivery, reason: str) -> None:
        """The last resort of a start that is dead-lettered; as `giving_up.give_up`."""
        await give_up(self._services, delivery, reason)

    async def _hold(
        self, session_id: str, command: StartSession, delivery: Delivery, login: Login | None
    ) -> None:
        """Hold the lease; a redelivery to the worker that has it already waits with it."""
        lease = Lease(self._services, session_id, command, delivery, login)
        held = self._active.get(session_id)
        if held is not None:
            await self._wait_with(held, lease, delivery)
            return
        held = _Held(delivery.sequence)
        self._active[session_id] = held
        self._idle.clear()
        self._services.metrics.sessions_active(len(self._active))
        try:
            await self._record(lease, held)
        finally:
            del self._active[session_id]
            held.done.set()
            if not self._active:
                self._idle.set()
            self._services.metrics.sessions_active(len(self._active))

    async def _wait_with(self, held: _Held, lease: Lease, delivery: Delivery) -> None:
        """A start for a session that is in this worker's hands already."""
        if await lease.started() is None or held.sequence != delivery.sequence:
            raise FencedError(f"session {lease.session_id} is just being started")
        log.info("LeaseRedelivered")
        await held.done.wait()
        # Whether it ended or was given away is looked up again, as for any delivery.
        raise FencedError(f"session {lease.session_id} was in this worker's hands")

    async def _record(self, lease: Lease, held: _Held) -> None:
        started = await lease.started()
        last = await self._services.log.last(Fact.CAPTURED, lease.session_id)
        if last is not None and isinstance(last.event, EndCaptured):
            await tell_aftermath(self._services, last.event)
            return
        try:
            await lease.record(started, last, wake=held.wake, release=self._release)
        except LeaseLostError:
            services = self._services
            with suppress(BusUnavailableError, StoreError):
                await leave_spool(services.log, services.store, lease.session_id)
            raise
