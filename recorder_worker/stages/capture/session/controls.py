"""Commands to a session, as its lease holder gives effect to them: one at a time and in order."""

from __future__ import annotations

import structlog

from recorder_worker.core.command_parsing import parse_command
from recorder_worker.core.commands import TRIGGER, MarkSession, MaskSession
from recorder_worker.core.errors import BusUnavailableError
from recorder_worker.core.events import Control, MarkCaptured
from recorder_worker.core.lifecycle import State, Trigger, next_state
from recorder_worker.core.model import EndReason, Mask
from recorder_worker.core.subjects import Command, Fact
from recorder_worker.ports import EventLog
from recorder_worker.stages.capture.reading.packet_reader import PacketReader
from recorder_worker.stages.capture.reading.reader import Reader
from recorder_worker.stages.capture.reading.requests import (
    MaskWith,
    Pause,
    Request,
    Resume,
    Stop,
    TriggerNow,
)
from recorder_worker.stages.capture.services import CaptureServices
from recorder_worker.stages.capture.session.aftermath import refuse_control, refuse_mask
from recorder_worker.stages.capture.session.journal import CapturedJournal

log = structlog.get_logger(__name__)

LOOK_S = 2.0
"""Control events announce themselves; a lost announcement costs at most this."""

SECOND_NS = 1_000_000_000

TRIGGERS: dict[Command, Trigger] = {
    Command.STOP: Trigger.STOP,
    Command.PAUSE: Trigger.PAUSE,
    Command.RESUME: Trigger.RESUME,
    Command.MARK: Trigger.MARK,
    Command.MASK: Trigger.MASK,
}


class Controls:
    """Reads the session's control log, refuses what its state has no row for, asks the reader."""

    def __init__(
        self,
        journal: CapturedJournal,
        reader: Reader | PacketReader,
        services: CaptureServices,
    ) -> None:
        self._journal = journal
        self._reader = reader
        self._services = services
        self._log = services.log
        self._state = _state_of(journal)
        self._after = 0
        self._in_effect: Control | None = None
        self._look_at_ns = 0

    def announced(self) -> None:
        """There may be another one."""
        self._look_at_ns = 0

    async def take(self) -> None:
        """Give effect to what has come, once the reader has answered what was asked of it before.

        The log is read when something was announced, and now and then. Commands wait while the bus
        is away; the recording goes on into the spool.
        """
        now_ns = self._services.clock.monotonic_ns()
        if self._in_effect is not None or now_ns < self._look_at_ns:
            return
        # Before it is read: what is announced meanwhile makes it due again.
        self._look_at_ns = now_ns + round(LOOK_S * SECOND_NS)
        try:
            await self._take()
        except BusUnavailableError as error:
            log.warning("ControlsDelayed", error=str(error))

    async def _take(self) -> None:
        """Give effect to control events, one at a time and in order."""
        async for logged in self._log.read(Fact.CONTROL, self._journal.session_id, self._after):
            control = logged.event
            if isinstance(control, Control) and control.ordinal >= self._journal.controls:
                await self._give_effect(control)
            self._after = logged.sequence
            if self._in_effect is not None:
                return

    async def _give_effect(self, control: Control) -> None:
        trigger = _trigger(control, self._state)
        state = next_state(self._state, trigger)
        if state is None:
            await self._refuse(control)
            return
        if trigger is Trigger.MASK and isinstance(self._reader, PacketReader):
            await refuse_mask(self._services, control)
            self._journal.controls = control.ordinal + 1
            return
        self._state = state
        if trigger is Trigger.MASK and control.ordinal < self._journal.masked_until:
            self._journal.controls = control.ordinal + 1
            return
        if trigger is Trigger.MARK:
            self._journal.controls = control.ordinal + 1
            await self._mark(control, self._reader.now_ns())
            return
        self._in_effect = control
        self._reader.request(_request(control, trigger))

    async def _mark(self, control: Control, t_ns: int) -> None:
        await self._journal.append(
            MarkCaptured(
                **self._journal.place(),  # type: ignore[arg-type]
                t_ns=t_ns,
                kind=_kind(control),
                by=control.by,
                body=control.body,
            )
        )

    def masked(self) -> None:
        """Other masks hold: those of the control that was in effect, or of one before the begin."""
        if self._in_effect is not None and self._in_effect.command == Command.MASK:
            self.took_effect()

    async def triggered(self, t_ns: int) -> None:
        """The mark that has triggered an armed session stands behind what was held until then."""
        control = self._in_effect
        self.took_effect()
        if control is not None:
            await self._mark(control, t_ns)

    def took_effect(self) -> str:
        """The control that the reader has answered is done: who sent it."""
        control = self._in_effect
        self._in_effect = None
        if control is None:
            return ""
        self.announced()  # those behind it were not looked at
        self._journal.controls = control.ordinal + 1
        return control.by

    def ended(self) -> None:
        """The reader has ended: a stop that it was asked for is done."""
        if self._in_effect is not None and self._in_effect.command == Command.STOP:
            self.took_effect()

    async def _refuse(self, control: Control) -> None:
        await refuse_control(self._services, control, self._state)
        self._journal.controls = control.ordinal + 1


def _state_of(journal: CapturedJournal) -> State:
    if journal.armed:
        return State.ARMED
    return State.PAUSED if journal.paused else State.RECORDING


def _trigger(control: Control, state: State) -> Trigger:
    trigger = TRIGGERS[Command(control.command)]
    if trigger is Trigger.MARK and state is State.ARMED and _kind(control) == TRIGGER:
        return Trigger.TRIGGER
    return trigger


def _kind(control: Control) -> str:
    mark = parse_command(Command.MARK, control.body.encode())
    return mark.type if isinstance(mark, MarkSession) else ""


def _request(control: Control, trigger: Trigger) -> Request:
    """What a command asks of the reader."""
    match trigger:
        case Trigger.STOP:
            return Stop(reason=EndReason.STOPPED, detail=control.by)
        case Trigger.PAUSE:
            return Pause(by=control.by)
        case Trigger.RESUME:
            return Resume()
        case Trigger.MASK:
            return MaskWith(masks=masks_of(control), by=control.by)
        case Trigger.TRIGGER:
            return TriggerNow()
        case _:
            raise TypeError(f"{trigger.value} asks nothing of the reader")


def masks_of(control: Control) -> tuple[Mask, ...]:
    """The rectangles that an accepted `session.mask` names."""
    command = parse_command(Command.MASK, control.body.encode())
    return command.masks if isinstance(command, MaskSession) else ()


async def masks_in_force(
    log: EventLog, session_id: str, controls: int, begun_with: tuple[Mask, ...]
) -> tuple[Mask, ...]:
    """The masks that hold behind so many controls: those of the newest mask command among them.

    The control log is the one place that knows. A command counts once the captured log has its
    mark: of one that was obeyed in a reader that died before that, no frame is in the log either,
    and whoever takes the session over obeys it anew.
    """
    found = begun_with
    async for logged in log.read(Fact.CONTROL, session_id):
        control = logged.event
        if not isinstance(control, Control) or control.ordinal >= controls:
            continue
        if control.command == Command.MASK:
            found = masks_of(control)
    return found


async def masks_sent_meanwhile(log: EventLog, journal: CapturedJournal) -> MaskWith | None:
    """What the newest mask command asks that was sent while nobody recorded, if it will be obeyed.

    It is to hold from the first frame on. Commands are obeyed one by one, and the reader reads
    between them: what somebody has asked to cover would be recorded until its turn came. Those that
    it overtakes are not obeyed any more, so that none of them uncovers it again.
    """
    state, newest = _state_of(journal), None
    async for logged in log.read(Fact.CONTROL, journal.session_id):
        control = logged.event
        if not isinstance(control, Control) or control.ordinal < journal.controls:
            continue
        trigger = _trigger(control, state)
        behind = next_state(state, trigger)
        if behind is not None:
            state = behind
            newest = control if trigger is Trigger.MASK else newest
    if newest is None:
        return None
    journal.masked_until = newest.ordinal + 1
    return MaskWith(masks=masks_of(newest), by=newest.by)
