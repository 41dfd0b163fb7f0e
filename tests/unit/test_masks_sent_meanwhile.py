"""Masks that were sent while nobody recorded hold from the first frame on, and stay in force."""

from __future__ import annotations

from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any, cast

import msgspec
from captured_events import LogBuilder
from hand_clock import HandClock

from recorder_worker.adapters.system_clock import SystemClock
from recorder_worker.core.events import Control
from recorder_worker.core.model import Mask
from recorder_worker.core.subjects import Command, Fact
from recorder_worker.ports import EventLog, Logged
from recorder_worker.stages.capture.reading.requests import MaskWith, Pause, Request, Resume
from recorder_worker.stages.capture.services import CaptureServices
from recorder_worker.stages.capture.session.controls import LOOK_S, Controls, masks_sent_meanwhile
from recorder_worker.stages.capture.session.journal import CapturedJournal

LEFT = Mask(x=0, y=0, width=4, height=8)
RIGHT = Mask(x=4, y=0, width=4, height=8)


class ControlLog:
    """The control log of one session, as the bus has it: read from a sequence on."""

    def __init__(self) -> None:
        self.logged: list[Logged] = []

    def add(self, command: Command, *masks: Mask, by: str = "kim") -> None:
        body: dict[str, Any] = {"session_id": LogBuilder().session_id}
        if command is Command.MASK:
            body["masks"] = masks
        ordinal = len(self.logged)
        event = Control(
            session_id=LogBuilder().session_id,
            ordinal=ordinal,
            command=command.value,
            command_id=f"c{ordinal}",
            by=by,
            body=msgspec.json.encode(body).decode(),
            wall_ns=0,
        )
        self.logged.append(Logged(event, ordinal + 1, f"c{ordinal}"))

    async def read(self, fact: Fact, _session_id: str, after: int = 0) -> AsyncIterator[Logged]:
        assert fact is Fact.CONTROL
        for logged in self.logged[after:]:
            yield logged


class AskedReader:
    """Keeps what it is asked for; it answers nothing by itself."""

    def __init__(self) -> None:
        self.asked: list[Request] = []

    def request(self, request: Request) -> None:
        self.asked.append(request)


def taken_over(log: ControlLog, *, controls: int = 0, paused: bool = False) -> CapturedJournal:
    builder = LogBuilder()
    last = msgspec.structs.replace(builder.events[-1], controls=controls, paused=paused)
    return CapturedJournal(
        cast("EventLog", log), SystemClock(), builder.session_id, "w", "", Logged(last, 1, "k")
    )


async def test_the_newest_of_them_holds_first_and_those_before_it_uncover_nothing() -> None:
    log = ControlLog()
    log.add(Command.MASK, RIGHT, by="obeyed long ago")
    log.add(Command.MASK)
    log.add(Command.PAUSE)
    log.add(Command.RESUME)
    log.add(Command.MASK, LEFT, by="ann")
    log.add(Command.MARK)
    journal = taken_over(log, controls=1)
    found = await masks_sent_meanwhile(cast("EventLog", log), journal)
    assert found == MaskWith(masks=(LEFT,), by="ann")

    reader = AskedReader()
    services = cast("CaptureServices", SimpleNamespace(log=log, clock=SystemClock()))
    controls = Controls(journal, cast("Any", reader), services)
    await controls.take()
    assert reader.asked == [Pause(by="kim")]  # the one that uncovers all is passed over
    controls.masked()  # the answer to what the lease has asked for is none to the pause
    await controls.take()
    assert reader.asked == [Pause(by="kim")]  # which is waited for
    controls.took_effect()
    await controls.take()
    controls.took_effect()
    log.logged.pop()  # a mark needs a bus to be written to
    log.add(Command.MASK, RIGHT)
    controls.announced()
    await controls.take()
    assert reader.asked == [Pause(by="kim"), Resume(), MaskWith(masks=(RIGHT,), by="kim")]


async def test_what_the_state_of_the_session_refuses_holds_nothing() -> None:
    log = ControlLog()
    log.add(Command.STOP)
    log.add(Command.MASK, LEFT)
    journal = taken_over(log)
    assert await masks_sent_meanwhile(cast("EventLog", log), journal) is None
    assert journal.masked_until == 0


async def test_a_paused_session_takes_them_as_well() -> None:
    log = ControlLog()
    log.add(Command.MASK, LEFT)
    found = await masks_sent_meanwhile(cast("EventLog", log), taken_over(log, paused=True))
    assert found == MaskWith(masks=(LEFT,), by="kim")


async def test_the_log_is_read_when_something_is_announced_and_now_and_then() -> None:
    """Once for each segment that comes, a question to the server would be as many as all others."""
    log, clock = ControlLog(), HandClock(0)
    services = cast("CaptureServices", SimpleNamespace(log=log, clock=clock))
    reader = AskedReader()
    controls = Controls(taken_over(log), cast("Any", reader), services)
    await controls.take()
    log.add(Command.PAUSE)
    for _ in range(3):
        await controls.take()
    assert not reader.asked
    controls.announced()
    await controls.take()
    assert reader.asked == [Pause(by="kim")]
    log.add(Command.RESUME)
    controls.took_effect()
    await controls.take()
    assert reader.asked[1:] == [Resume()], "what stood behind it needs no further word"
    controls.took_effect()
    await controls.take()
    log.add(Command.PAUSE)
    clock.now_ns += round(LOOK_S * 1e9) - 1
    await controls.take()
    assert not reader.asked[2:]
    clock.now_ns += 1
    await controls.take()
    assert reader.asked[2:] == [Pause(by="kim")], "a word that got lost costs no more"
