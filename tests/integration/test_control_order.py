"""Commands of a session take effect in the order in which they were stored, on a real server."""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, ExitStack
from pathlib import Path
from typing import Any, Self

import pytest
import pytest_asyncio
from captured_events import LogBuilder
from nats.aio.client import Client
from nats_process import NatsProcess
from running_recorder import RunningRecorder, settings_in
from worker_process import WorkerProcess

from recorder_worker import __version__
from recorder_worker.adapters.system_clock import SystemClock
from recorder_worker.bus.connection.broker import Login, connect, make_broker
from recorder_worker.bus.event_log import JetStreamEventLog
from recorder_worker.bus.headers import EventHeaders
from recorder_worker.bus.streams.apply import apply_topology
from recorder_worker.bus.streams.topology import StreamLimits, streams
from recorder_worker.core.events import (
    Captured,
    Control,
    EndCaptured,
    MarkCaptured,
    SessionRejected,
)
from recorder_worker.core.subjects import Command, Fact
from recorder_worker.ports import Delivery
from recorder_worker.service.observing.metrics import Metrics
from recorder_worker.service.settings.tree import CaptureSettings, NatsSettings
from recorder_worker.stages.audit import AuditTrail
from recorder_worker.stages.authoriser import OpenAuthoriser
from recorder_worker.stages.control import START_GRACE_NS, ControlStage
from recorder_worker.stages.gate import CommandGate
from recorder_worker.stages.rejection import Rejections

LIVE = {"kind": "pattern", "width": 32, "height": 32}
BURST = ("pause", "resume", "mark", "pause", "resume", "mark")
SESSIONS = 20
MARKS = 500
SESSION = "00000000-0000-4000-8000-00000000000a"

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(180)]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def recorder(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningRecorder]:
    """One worker with room for all sessions of a burst."""
    many = CaptureSettings(segment_s=0.25, retry_s=1.0, capacity=SESSIONS + 2)
    folder = tmp_path_factory.mktemp("recorder")
    async with RunningRecorder(settings_in(folder, capture=many)) as running:
        yield running


async def publish(bus: Client, session_id: str, commands: tuple[str, ...]) -> None:
    """As a shell would, one behind the other and without waiting for an answer."""
    for number, command in enumerate(commands):
        body: dict[str, Any] = {"session_id": session_id}
        if command == "mark":
            body["text"] = str(number)
        await bus.publish(f"session.{command}", json.dumps(body).encode())
    await bus.flush()


async def controls(recorder: RunningRecorder, session_id: str) -> list[Control]:
    found = await recorder.facts(Fact.CONTROL, session_id)
    return [event for event in found if isinstance(event, Control)]


async def marks(recorder: RunningRecorder, session_id: str) -> list[str]:
    found = await recorder.facts(Fact.CAPTURED, session_id)
    return [json.loads(event.body)["text"] for event in found if isinstance(event, MarkCaptured)]


async def obeyed(recorder: RunningRecorder, session_id: str, count: int) -> Captured:
    """The first captured event that says that so many commands have taken effect."""
    async with asyncio.timeout(60), recorder.client.follow(session_id) as facts:
        async for seen in facts:
            if isinstance(seen.event, Captured) and seen.event.controls >= count:
                return seen.event
    raise AssertionError("facts never end")


async def assert_bursts_keep_their_order(recorder: RunningRecorder, sessions: int) -> None:
    ids = [
        (await recorder.client.start(LIVE, fps=5, timeout_s=60)).session_id for _ in range(sessions)
    ]
    await asyncio.gather(*(publish(recorder.bus, one, BURST) for one in ids))
    for session_id in ids:
        last = await obeyed(recorder, session_id, len(BURST))
        wanted = [f"session.{command}" for command in BURST]
        assert [c.command for c in await controls(recorder, session_id)] == wanted
        assert not last.paused
        assert await recorder.facts(Fact.REJECTED, session_id) == []
        await recorder.client.stop(session_id)
    for session_id in ids:
        sealed = await recorder.sealed(session_id)
        assert (sealed.reason.value, sealed.mark_count) == ("stopped", BURST.count("mark"))
        assert await marks(recorder, session_id) == ["2", "5"]


async def test_bursts_of_commands_to_many_sessions_take_effect_in_order(
    recorder: RunningRecorder,
) -> None:
    await assert_bursts_keep_their_order(recorder, SESSIONS)


async def test_many_marks_stand_in_the_order_in_which_they_were_sent(
    recorder: RunningRecorder,
) -> None:
    session_id = (await recorder.client.start(LIVE, fps=5)).session_id
    await publish(recorder.bus, session_id, (*("mark",) * MARKS, "stop"))
    assert (await recorder.sealed(session_id)).mark_count == MARKS
    assert await marks(recorder, session_id) == [str(number) for number in range(MARKS)]
    accepted = await controls(recorder, session_id)
    assert [c.ordinal for c in accepted] == list(range(MARKS + 1))
    stored = [c.command_sequence for c in accepted]
    assert stored == sorted(stored)


async def test_commands_for_unknown_sessions_hold_up_the_others_once_and_not_each(
    recorder: RunningRecorder,
) -> None:
    session_id = (await recorder.client.start(LIVE, fps=5)).session_id
    unknown = [str(uuid.uuid4()) for _ in range(30)]
    began = time.monotonic()
    for one in unknown:
        await recorder.client.stop(one)
    await recorder.client.stop(session_id)
    assert (await recorder.sealed(session_id)).reason.value == "stopped"
    waited_s = time.monotonic() - began
    assert waited_s < START_GRACE_NS / 1e9 * len(unknown) / 2, "each of 30 waited for itself"
    for one in unknown:
        (refusal,) = await recorder.facts(Fact.REJECTED, one)
        assert isinstance(refusal, SessionRejected)
        assert (refusal.field, refusal.got) == ("session_id", one)
        assert "send this again after session.started" in refusal.hint


class TwoWorkers:
    """Two control workers in processes of their own, and this process's recorder beside them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.server = NatsProcess(folder / "nats")
        self.env = {
            "RECORDER_NATS__URL": self.server.url,
            "RECORDER_DATA_DIR": str(folder / "data"),
            "RECORDER_CAPTURE__SEGMENT_S": "0.25",
            "RECORDER_CAPTURE__LEASE_S": "2",
            "RECORDER_DISK__FLOOR_BYTES": "1",
        }
        self.workers: list[WorkerProcess] = []
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        self._stack.enter_context(self.server)
        for name in ("one", "two"):
            (self.folder / name).mkdir()
            worker = WorkerProcess(self.folder / name, "capture", env=self.env)
            self.workers.append(self._stack.enter_context(worker))
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def accepted(self) -> list[int]:
        """How many commands each worker has accepted, as its log says."""
        return [
            sum(line.get("event") == "CommandAccepted" for line in worker.lines)
            for worker in self.workers
        ]


@pytest.fixture
def two(tmp_path: Path) -> Iterator[TwoWorkers]:
    with TwoWorkers(tmp_path) as running:
        yield running


async def test_with_workers_in_several_processes_the_order_is_the_same(two: TwoWorkers) -> None:
    settings = settings_in(two.folder / "data", nats=NatsSettings(url=two.server.url))
    async with RunningRecorder(settings) as recorder:
        await assert_bursts_keep_their_order(recorder, SESSIONS // 2)
    assert all(two.accepted()), f"one of them had nothing to do: {two.accepted()}"


async def test_a_worker_that_dies_in_a_burst_loses_doubles_and_reorders_nothing(
    two: TwoWorkers,
) -> None:
    settings = settings_in(two.folder / "data", nats=NatsSettings(url=two.server.url))
    async with RunningRecorder(settings) as recorder:
        session_id = (await recorder.client.start(LIVE, fps=5)).session_id
        await publish(recorder.bus, session_id, (*("mark",) * MARKS, "stop"))
        await asyncio.to_thread(two.workers[0].logged, "CommandAccepted")
        await asyncio.to_thread(two.workers[0].kill)
        assert (await recorder.sealed(session_id)).mark_count == MARKS
        assert await marks(recorder, session_id) == [str(number) for number in range(MARKS)]


# --- the handler itself, on a real log ----------------------------------------------------------


class Door:
    """A control stage on a log of its own, given deliveries by hand."""

    def __init__(self, log: JetStreamEventLog) -> None:
        self.log = log
        clock = SystemClock()
        metrics = Metrics(version=__version__, node="test")
        rejections = Rejections(log, clock, metrics)
        gate = CommandGate(OpenAuthoriser(), AuditTrail(log, clock, "test"), rejections)
        self._stage = ControlStage(log, clock, gate)

    async def give(self, number: int, *, deliveries: int = 1, received_ns: int = 0) -> None:
        """The mark that COMMANDS has as its message `number`."""
        received_ns = received_ns or number * 1000
        await self._stage.handle(
            Delivery(
                command=Command.MARK,
                body=json.dumps({"session_id": SESSION, "text": str(number)}).encode(),
                command_id=f"command {number} of {received_ns}",
                sequence=number,
                received_ns=received_ns,
                deliveries=deliveries,
            )
        )

    async def texts(self) -> list[str]:
        """The marks in the control log, in order."""
        return [
            json.loads(logged.event.body)["text"]
            async for logged in self.log.read(Fact.CONTROL, SESSION)
            if isinstance(logged.event, Control)
        ]

    async def refusals(self) -> list[SessionRejected]:
        return [
            logged.event
            async for logged in self.log.read(Fact.REJECTED, SESSION)
            if isinstance(logged.event, SessionRejected)
        ]

    async def captured(self, *, end: bool) -> None:
        """What the holder wrote; there is no `session.started`: the stream has forgotten it."""
        builder = LogBuilder(SESSION)
        builder.segment()
        events = builder.end() if end else builder.events
        after = 0
        for event in events:
            key = f"captured {event.ordinal}"
            after = await self.log.append(Fact.CAPTURED, SESSION, event, key=key, after=after)


@pytest_asyncio.fixture(loop_scope="module")
async def door(tmp_path: Path) -> AsyncIterator[Door]:
    limits = StreamLimits(replicas=1, max_age_s=3600, max_bytes=10_000_000, duplicate_window_s=1)
    async with AsyncExitStack() as stack:
        server = stack.enter_context(NatsProcess(tmp_path))
        broker = make_broker(Login(servers=(server.url,)))
        await connect(broker, Login(servers=(server.url,)))
        stack.push_async_callback(broker.stop)
        await apply_topology(broker.jetstream, streams(limits), {})
        yield Door(JetStreamEventLog(lambda: broker.jetstream, EventHeaders("node")))


async def test_commands_that_are_delivered_again_are_not_doubled(door: Door) -> None:
    await door.captured(end=False)
    for number in (7, 8, 9):
        await door.give(number)
    await door.give(9, deliveries=2)  # killed between the append and the acknowledgement
    for number in (7, 8, 9):  # a server that lost acknowledgements forgets also the counts
        await door.give(number)
    await door.give(10)
    assert await door.texts() == ["7", "8", "9", "10"]
    assert await door.refusals() == []


async def test_a_commands_stream_that_was_made_anew_is_obeyed(door: Door) -> None:
    await door.captured(end=False)
    await door.give(9)
    await door.give(1, received_ns=time.time_ns())
    assert await door.texts() == ["9", "1"]


async def test_a_session_whose_start_has_aged_out_of_the_stream_still_takes_commands(
    door: Door,
) -> None:
    await door.captured(end=False)
    assert await door.log.last(Fact.STARTED, SESSION) is None
    await door.give(1)
    assert (await door.texts(), await door.refusals()) == (["1"], [])


async def test_a_session_that_has_ended_takes_no_commands_and_does_not_wait(door: Door) -> None:
    await door.captured(end=True)
    last = await door.log.last(Fact.CAPTURED, SESSION)
    assert last is not None
    assert isinstance(last.event, EndCaptured)
    await door.give(1)
    assert await door.texts() == []
    (refusal,) = await door.refusals()
    assert refusal.got.startswith("one that has ended")


async def test_a_command_that_was_accepted_too_late_is_refused_also_when_it_comes_again(
    door: Door,
) -> None:
    await door.captured(end=True)
    control = Control(
        session_id=SESSION,
        ordinal=0,
        command="session.mark",
        command_id="command 1 of 1000",
        command_sequence=1,
        command_received_ns=1000,
        by="",
        body='{"text": "1"}',
        wall_ns=1,
    )
    await door.log.append(Fact.CONTROL, SESSION, control, key="k", after=0)
    await door.give(1, deliveries=2)  # killed behind the append, before it looked at the end
    assert await door.texts() == ["1"]
    assert len(await door.refusals()) == 1
