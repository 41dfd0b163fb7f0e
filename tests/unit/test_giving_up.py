"""The last resort of a start: what is told, and what is ended, by how far its session had come."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from captured_events import LogBuilder
from hand_clock import HandClock

from recorder_worker.core.commands import StartSession
from recorder_worker.core.errors import FencedError, LeaseLostError, RefusedError
from recorder_worker.core.events import EndCaptured, Event, SessionFailed, SessionStarted
from recorder_worker.core.model import EndReason
from recorder_worker.core.subjects import Command, Fact
from recorder_worker.ports import Delivery, Logged
from recorder_worker.stages.capture.session.giving_up import give_up

SESSION = LogBuilder().session_id
BODY = b'{"session_id":"%s","source":{"kind":"pattern"}}' % SESSION.encode()
REASON = "WorkerDiedError: its worker died 5 times"
START = Delivery(
    command=Command.START,
    body=BODY,
    command_id="the command",
    sequence=3,
    received_ns=7,
    deliveries=6,
)


class Services:
    """As much of the services of capture as a last resort asks for."""

    def __init__(self) -> None:
        self.log = self
        self.gate = self
        self.clock = HandClock(1)
        self.identity = SimpleNamespace(worker="worker", boot_id="boot")
        self.logs: dict[Fact, list[Event]] = {}
        self.refused: list[RefusedError] = []
        self.told: list[Event] = []
        self.taken = False

    async def last(self, fact: Fact, _session_id: str) -> Logged | None:
        found = self.logs.get(fact, [])
        return Logged(found[-1], len(found), "") if found else None

    async def read(self, fact: Fact, _session_id: str) -> Any:  # noqa: ANN401  (an iterator)
        for sequence, event in enumerate(self.logs.get(fact, []), 1):
            yield Logged(event, sequence, "")

    async def append(self, fact: Fact, _session_id: str, event: Event, **_: object) -> int:
        if self.taken:
            raise FencedError("another worker has written on")
        self.logs[fact].append(event)
        return len(self.logs[fact])

    async def emit(self, _fact: Fact, _session_id: str, event: Event, **_: object) -> None:
        self.told.append(event)

    async def refuse(self, error: RefusedError, _delivery: Delivery, _session_id: str) -> None:
        self.refused.append(error)

    async def got_on(self, _delivery: Delivery) -> None:
        raise AssertionError("an end is no headway")

    def started(self, sequence: int = START.sequence) -> None:
        opened = LogBuilder().events[0]
        self.logs[Fact.STARTED] = [
            SessionStarted(
                session_id=SESSION,
                command_id=START.command_id,
                command_digest="ab" * 32,
                command_sequence=sequence,
                command_received_ns=START.received_ns,
                source=opened.source,  # type: ignore[union-attr]  # the first is
                node="node",
                wall_ns=1,
            )
        ]

    async def give_up(self, delivery: Delivery = START) -> None:
        await give_up(self, delivery, REASON)  # type: ignore[arg-type]  # as above


async def test_of_what_begun_nothing_the_client_gets_a_refusal() -> None:
    services = Services()
    await services.give_up()
    (error,) = services.refused
    assert (error.refusal.field, error.refusal.got) == ("source", REASON)
    assert services.told == []


@pytest.mark.parametrize("body", [b"no command", b"{}"])
async def test_of_what_is_no_start_nothing_is_told(body: bytes) -> None:
    services = Services()
    await services.give_up(msgspec.structs.replace(START, body=body))
    assert (services.refused, services.told) == ([], [])


async def test_a_session_that_another_start_has_begun_is_left_alone() -> None:
    services = Services()
    services.started(sequence=START.sequence + 1)
    services.logs[Fact.CAPTURED] = [*LogBuilder().segment().events]
    before = len(services.logs[Fact.CAPTURED])
    await services.give_up()
    assert (services.refused, services.told) == ([], [])
    assert len(services.logs[Fact.CAPTURED]) == before


async def test_one_of_which_nothing_was_captured_has_failed() -> None:
    services = Services()
    services.started()
    await services.give_up()
    (failed,) = services.told
    assert isinstance(failed, SessionFailed)
    assert failed.detail.startswith(f"nothing was recorded: {REASON}")


async def test_one_that_was_captured_is_ended_where_it_was_once() -> None:
    services = Services()
    services.started()
    services.logs[Fact.CAPTURED] = [*LogBuilder().segment().segment().events]
    before = services.logs[Fact.CAPTURED][-1]
    for _ in range(2):  # the dead letter could not be stored: it comes again
        await services.give_up()
    end = services.logs[Fact.CAPTURED][-1]
    assert isinstance(end, EndCaptured)
    assert (end.reason, end.detail) == (EndReason.WORKER_LOST, REASON)
    assert (end.cursor, end.ordinal) == (before.cursor, before.ordinal + 1)  # type: ignore[attr-defined]  # captured
    assert [type(event) for event in services.told] == [SessionFailed, SessionFailed]
    assert services.told[0] == services.told[1]


async def test_one_that_another_worker_goes_on_with_is_his() -> None:
    services = Services()
    services.started()
    services.logs[Fact.CAPTURED] = [*LogBuilder().segment().events]
    services.taken = True
    with pytest.raises(LeaseLostError):
        await services.give_up()
    assert services.told == []


def test_the_start_of_these_tests_is_one() -> None:
    assert msgspec.json.decode(BODY, type=StartSession).session_id == SESSION
