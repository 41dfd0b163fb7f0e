"""The door for commands to running sessions: checked here, obeyed by the lease holder.

A worker that gets `session.stop` rarely is the one that records the session. So the command is
put into the session's control log, in order and fenced; whoever holds the lease, now or after a
restart, gives effect to what it finds there.

What the holder has obeyed cannot be undone, so the order is made here. The consumer lets one
command be un-acked at a time, over all workers: none is handled before the one stored ahead of it
has its answer. The price is that a command that waits makes all others wait; so nothing here waits
for long.
"""

from __future__ import annotations

import asyncio

import structlog

from recorder_worker.core.access.identity import NOBODY, Identity
from recorder_worker.core.command_parsing import session_id_in
from recorder_worker.core.commands import ControlCommand
from recorder_worker.core.errors import RefusedError
from recorder_worker.core.events import Control, EndCaptured, SessionStarted
from recorder_worker.core.ids import event_key
from recorder_worker.core.subjects import Fact
from recorder_worker.ports import Clock, Delivery, EventLog, Logged
from recorder_worker.stages.gate import CommandGate

log = structlog.get_logger(__name__)

START_GRACE_NS = 2_000_000_000
"""A command may come right behind its session's start, which takes a moment to open its source."""
LOOK_S = 0.05

FORGET_NS = 30_000_000_000
"""Two clocks are compared for no longer: they drift, and the server's may be set."""


class ControlStage:
    """Handles `session.stop`, `.pause`, `.resume` and `.mark`."""

    def __init__(self, log: EventLog, clock: Clock, gate: CommandGate) -> None:
        self._log = log
        self._clock = clock
        self._gate = gate
        self._grace = StartGrace()

    async def handle(self, delivery: Delivery) -> None:
        """Put a command into its session's control log, or refuse it.

        Raises:
            FencedError: a worker that had lost this command wrote first; try again behind it.
            TransientError: try again.
        """
        try:
            command = await self._gate.parsed(delivery)
            if not isinstance(command, ControlCommand):
                raise TypeError(f"{delivery.command.value} is handled by another stage")
            await self._accept(command, delivery)
        except RefusedError as error:
            await self._gate.refuse(error, delivery, session_id_in(delivery.body))

    async def _accept(self, command: ControlCommand, delivery: Delivery) -> None:
        session_id = command.session_id
        last, captured = await asyncio.gather(  # at once: those behind this command wait for it
            self._log.last(Fact.CONTROL, session_id), self._log.last(Fact.CAPTURED, session_id)
        )
        before = last.event if last else None
        if isinstance(before, Control) and _is_of(before, delivery):
            await self._finish(before, delivery, before.identity)
            return
        if isinstance(before, Control) and _is_older(delivery, before):
            return
        identity = await self._gate.ask(delivery)
        by = self._gate.person(identity, command.by)
        if isinstance(before, Control) and _repeats(delivery, before):
            await self._check_owner(identity, delivery, session_id)
            await self._finish(before, delivery, identity)
            return
        await self._check_owner(identity, delivery, session_id, started=captured is not None)
        await self._check_running(session_id, delivery, captured)
        await self._check_owner(identity, delivery, session_id)
        control = Control(
            session_id=session_id,
            ordinal=before.ordinal + 1 if isinstance(before, Control) else 0,
            command=delivery.command.value,
            command_id=delivery.command_id,
            command_sequence=delivery.sequence,
            command_received_ns=delivery.received_ns,
            by=by,
            identity=identity,
            body=delivery.body.decode(),
            wall_ns=self._clock.wall_ns(),
        )
        # By the message, not by its id alone, which a client may give to two commands: the second
        # would be dropped as a copy of the first, and count as accepted.
        stored = (delivery.received_ns, delivery.sequence)
        key = event_key(Fact.CONTROL.value, session_id, *stored, delivery.command_id)
        after = last.sequence if last else 0
        await self._log.append(Fact.CONTROL, session_id, control, key=key, after=after)
        log.info("CommandAccepted", command=control.command, session_id=session_id)
        await self._finish(control, delivery, identity)

    async def _finish(self, control: Control, delivery: Delivery, identity: Identity) -> None:
        """What is left to do for a command that stands in the control log.

        A crash before this is taken up here by the next delivery, which comes before any other
        command: so whatever was accepted is in the audit trail.
        """
        await self._check_in_time(control)
        await self._gate.accepted(identity, delivery, control.session_id)

    async def _check_owner(
        self, identity: Identity, delivery: Delivery, session_id: str, *, started: bool = True
    ) -> None:
        """Refuse a command to a session of another where the role may command its own only.

        Before anything is said of the session; one that has not `started` has no owner yet.
        """
        if identity == NOBODY or not started:
            return
        last = await self._log.last(Fact.STARTED, session_id)
        event = last.event if last else None
        owner = event.owner if isinstance(event, SessionStarted) else ""
        self._gate.check_owner(identity, delivery, owner)

    async def _check_running(
        self, session_id: str, delivery: Delivery, captured: Logged | None
    ) -> None:
        """Refuse a command for a session that has ended or, after a moment, has not started."""
        deadline_ns = self._grace.deadline_ns(delivery.received_ns, self._clock.monotonic_ns())
        while not await self._is_running(session_id, captured):
            if self._clock.monotonic_ns() >= deadline_ns:
                self._grace.ran_out(delivery.received_ns, deadline_ns)
                raise RefusedError(
                    field="session_id",
                    expected="a session that has started",
                    got=session_id,
                    hint="nobody has started it; if it waits for a free worker, send this again "
                    "after session.started",
                )
            await asyncio.sleep(LOOK_S)
            captured = await self._log.last(Fact.CAPTURED, session_id)

    async def _is_running(self, session_id: str, captured: Logged | None) -> bool:
        """Whether the session has started; raises RefusedError where it has ended.

        What was captured counts before `session.started`, which is published once and so is the
        first fact that a stream forgets of a session that lasts longer than its `max_age_s`.
        """
        if captured is None:
            return await self._log.last(Fact.STARTED, session_id) is not None
        if isinstance(captured.event, EndCaptured):
            raise _has_ended(captured.event)
        return True

    async def _check_in_time(self, control: Control) -> None:
        """Refuse a command that got into the log when the holder had looked for the last time.

        What the holder has answered is behind the number of controls in the last event.
        """
        captured = await self._log.last(Fact.CAPTURED, control.session_id)
        event = captured.event if captured else None
        if isinstance(event, EndCaptured) and event.controls <= control.ordinal:
            raise _has_ended(event)


class StartGrace:
    """How long a command waits for its session's start, and makes those behind it wait.

    The grace counts from when commands were stored, not from when they are looked at: commands
    for unknown ids that come together wait together. However many there are, they hold up the
    others by one grace and not by one each. Only differences of the server's times are used, so
    a clock that is set differently here does not matter.
    """

    def __init__(self) -> None:
        self._ran_out: tuple[int, int] | None = None

    def deadline_ns(self, received_ns: int, now_ns: int) -> int:
        """Until when, on the monotonic clock, a command that was stored then may wait from now."""
        longest_ns = now_ns + START_GRACE_NS
        if self._ran_out is None:
            return longest_ns
        received_before_ns, deadline_before_ns = self._ran_out
        if now_ns - deadline_before_ns > FORGET_NS:
            return longest_ns
        return min(longest_ns, deadline_before_ns + received_ns - received_before_ns)

    def ran_out(self, received_ns: int, deadline_ns: int) -> None:
        """A command that was stored then has waited to its deadline, in vain."""
        self._ran_out = (received_ns, deadline_ns)


def _is_of(accepted: Control, delivery: Delivery) -> bool:
    """Whether a command was accepted as just this message, and not as one that it repeats."""
    return (accepted.command_id, accepted.command_sequence, accepted.command_received_ns) == (
        delivery.command_id,
        delivery.sequence,
        delivery.received_ns,
    )


def _is_older(delivery: Delivery, accepted: Control) -> bool:
    """Whether a command was stored before one of its session that has been accepted.

    Then it had its answer before that one came, and comes again because the server lost the
    acknowledgement, or because a worker stood still while it had it. The sequence alone does not
    tell: a COMMANDS stream that was lost and made anew hands out the same ones again, but later.
    """
    return (
        delivery.sequence <= accepted.command_sequence
        and delivery.received_ns <= accepted.command_received_ns
    )


def _has_ended(event: EndCaptured) -> RefusedError:
    return RefusedError(
        field="session_id",
        expected="a session that is being recorded",
        got=f"one that has ended: {event.reason.value}",
        hint="its recording is, or will be, sealed; there is nothing more to do",
    )


def _repeats(delivery: Delivery, accepted: Control) -> bool:
    """Whether a client sent again what it had sent before: the same command under the same id."""
    said = (delivery.command_id, delivery.command.value, delivery.body)
    return said == (accepted.command_id, accepted.command, accepted.body.encode())
