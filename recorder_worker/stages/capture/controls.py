"""Commands to a session, as its lease holder gives effect to them: one at a time and in order."""

from __future__ import annotations

import structlog

from recorder_worker.core.command_parsing import parse_command
from recorder_worker.core.commands import MarkSession
from recorder_worker.core.errors import BusUnavailableError
from recorder_worker.core.events import Control, MarkCaptured
from recorder_worker.core.lifecycle import State, Trigger, next_state
from recorder_worker.core.model import EndReason
from recorder_worker.core.subjects import Command, Fact
from recorder_worker.stages.capture.aftermath import refuse_control
from recorder_worker.stages.capture.journal import CapturedJournal
from recorder_worker.stages.capture.packet_reader import PacketReader
from recorder_worker.stages.capture.reader import Reader
from recorder_worker.stages.capture.requests import Pause, Request, Resume, Stop
from recorder_worker.stages.capture.services import CaptureServices

log = structlog.get_logger(__name__)

TRIGGERS: dict[Command, Trigger] = {
    Command.STOP: Trigger.STOP,
    Command.PAUSE: Trigger.PAUSE,
    Command.RESUME: Trigger.RESUME,
    Command.MARK: Trigger.MARK,
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
        self._state = State.PAUSED if journal.paused else State.RECORDING
        self._after = 0
        self._in_effect: Control | None = None

    @property
    def waiting(self) -> bool:
        """Whether the reader has not yet answered the last one."""
        return self._in_effect is not None

    async def take(self) -> None:
        """Give effect to what has come.

        Commands wait while the bus is away; the recording goes on into the spool.
        """
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
        command = Command(control.command)
        state = next_state(self._state, TRIGGERS[command])
        if state is None:
            await self._refuse(control)
            return
        self._state = state
        if command is Command.MARK:
            await self._mark(control)
            return
        self._in_effect = control
        requests: dict[Command, Request] = {
            Command.STOP: Stop(reason=EndReason.STOPPED, detail=control.by),
            Command.PAUSE: Pause(by=control.by),
            Command.RESUME: Resume(),
        }
        self._reader.request(requests[command])

    async def _mark(self, control: Control) -> None:
        self._journal.controls = control.ordinal + 1
        mark = parse_command(Command.MARK, control.body.encode())
        kind = mark.type if isinstance(mark, MarkSession) else ""
        await self._journal.append(
            MarkCaptured(
                **self._journal.place(),  # type: ignore[arg-type]
                t_ns=self._reader.now_ns(),
                kind=kind,
                by=control.by,
                body=control.body,
            )
        )

    def took_effect(self) -> str:
        """The control that the reader has answered is done: who sent it."""
        control = self._in_effect
        self._in_effect = None
        if control is None:
            return ""
        self._journal.controls = control.ordinal + 1
        return control.by

    def ended(self) -> None:
        """The reader has ended: a stop that it was asked for is done."""
        if self._in_effect is not None and self._in_effect.command == Command.STOP:
            self.took_effect()

    async def _refuse(self, control: Control) -> None:
        await refuse_control(self._services, control, self._state)
        self._journal.controls = control.ordinal + 1
