"""The door for commands to running sessions: checked here, obeyed by the lease holder.

A worker that gets `session.stop` rarely is the one that records the session. So the command is
put into the session's control log, in order and fenced; whoever holds the lease, now or after a
restart, gives effect to what it finds there.
"""

from __future__ import annotations

import structlog

from recorder_worker.core.command_parsing import parse_command, session_id_in
from recorder_worker.core.commands import ControlCommand, StartSession
from recorder_worker.core.errors import OutOfOrderError, RefusedError
from recorder_worker.core.events import Control, EndCaptured
from recorder_worker.core.ids import event_key
from recorder_worker.core.subjects import Fact
from recorder_worker.ports import Clock, Delivery, EventLog
from recorder_worker.stages.rejection import Rejections

log = structlog.get_logger(__name__)

TRIES_FOR_A_START = 24
"""A command may overtake its session's start. With the disposition's waits this is some 10 s."""


class ControlStage:
    """Handles `session.stop`, `.pause`, `.resume` and `.mark`."""

    def __init__(self, log: EventLog, clock: Clock, rejections: Rejections) -> None:
        self._log = log
        self._clock = clock
        self._rejections = rejections

    async def handle(self, delivery: Delivery) -> None:
        """Put a command into its session's control log, or refuse it.

        Raises:
            OutOfOrderError: the session has not started yet; its start may be on its way.
            FencedError: another command came first; try again behind it.
        """
        try:
            command = parse_command(delivery.command, delivery.body)
            if isinstance(command, StartSession):
                raise TypeError("session.start is handled by the capture stage")
            await self._accept(command, delivery)
        except RefusedError as error:
            await self._rejections.publish(
                error,
                command=delivery.command.value,
                command_id=delivery.command_id,
                session_id=session_id_in(delivery.body),
            )

    async def _accept(self, command: ControlCommand, delivery: Delivery) -> None:
        session_id = command.session_id
        await self._check_running(session_id, delivery)
        if delivery.deliveries > 1 and await self._is_there(session_id, delivery.command_id):
            return
        last = await self._log.last(Fact.CONTROL, session_id)
        before = last.event if last else None
        control = Control(
            session_id=session_id,
            ordinal=before.ordinal + 1 if isinstance(before, Control) else 0,
            command=delivery.command.value,
            command_id=delivery.command_id,
            by=command.by,
            body=delivery.body.decode(),
            wall_ns=self._clock.wall_ns(),
        )
        key = event_key(Fact.CONTROL.value, session_id, delivery.command_id)
        after = last.sequence if last else 0
        await self._log.append(Fact.CONTROL, session_id, control, key=key, after=after)
        log.info("CommandAccepted", command=control.command, session_id=session_id)
        await self._check_in_time(control)

    async def _check_running(self, session_id: str, delivery: Delivery) -> None:
        if await self._log.last(Fact.STARTED, session_id) is None:
            if delivery.deliveries < TRIES_FOR_A_START:
                raise OutOfOrderError(f"session {session_id} has not started yet")
            raise RefusedError(
                field="session_id",
                expected="a session that has started",
                got=session_id,
                hint="nobody has started it; if it waits for a free worker, send this again "
                "after session.started",
            )
        captured = await self._log.last(Fact.CAPTURED, session_id)
        event = captured.event if captured else None
        if isinstance(event, EndCaptured):
            raise _has_ended(event)

    async def _check_in_time(self, control: Control) -> None:
        """Refuse a command that got into the log when the holder had looked for the last time.

        What the holder has answered is behind the number of controls in the last event.
        """
        captured = await self._log.last(Fact.CAPTURED, control.session_id)
        event = captured.event if captured else None
        if isinstance(event, EndCaptured) and event.controls <= control.ordinal:
            raise _has_ended(event)

    async def _is_there(self, session_id: str, command_id: str) -> bool:
        """Whether an earlier delivery of this command got into the log already."""
        async for logged in self._log.read(Fact.CONTROL, session_id):
            if isinstance(logged.event, Control) and logged.event.command_id == command_id:
                return True
        return False


def _has_ended(event: EndCaptured) -> RefusedError:
    return RefusedError(
        field="session_id",
        expected="a session that is being recorded",
        got=f"one that has ended: {event.reason.value}",
        hint="its recording is, or will be, sealed; there is nothing more to do",
    )
