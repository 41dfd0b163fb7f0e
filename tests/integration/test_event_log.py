"""The event log on a real nats-server: in order, exactly once, fenced."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
import structlog
from captured_events import LogBuilder
from nats.js import JetStreamContext
from nats.js.api import RawStreamMsg
from nats_process import NatsProcess

from recorder_worker.bus import event_log
from recorder_worker.bus.connection.broker import Login, RecorderBroker, connect, make_broker
from recorder_worker.bus.event_log import JetStreamEventLog
from recorder_worker.bus.headers import EventHeaders
from recorder_worker.bus.streams.apply import apply_topology
from recorder_worker.bus.streams.topology import StreamLimits, streams
from recorder_worker.core.errors import BusUnavailableError, FencedError, StreamFullError
from recorder_worker.core.events import AnchorRequested, CapturedEvent, Event, SessionNumbered
from recorder_worker.core.subjects import Fact

LIMITS = StreamLimits(replicas=1, max_age_s=3600, max_bytes=100_000_000, duplicate_window_s=120)
SMALL = StreamLimits(replicas=1, max_age_s=3600, max_bytes=20_000, duplicate_window_s=120)
SESSION = "00000000-0000-4000-8000-00000000000a"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[NatsProcess]:
    with NatsProcess(tmp_path) as running:
        yield running


@pytest_asyncio.fixture
async def broker(server: NatsProcess) -> AsyncIterator[RecorderBroker]:
    login = Login(servers=(server.url,))
    made = make_broker(login)
    await connect(made, login)
    await apply_topology(made.jetstream, streams(LIMITS), {})
    yield made
    await made.stop()


@pytest.fixture
def log(broker: RecorderBroker) -> JetStreamEventLog:
    return JetStreamEventLog(lambda: broker.jetstream, EventHeaders("node"))


def some_events(count: int) -> list[CapturedEvent]:
    builder = LogBuilder(SESSION)
    for _ in range(count - 2):
        builder.segment()
    return builder.end()


async def fill(log: JetStreamEventLog, events: list[CapturedEvent]) -> list[int]:
    sequences = [0]
    for event in events:
        sequences.append(
            await log.append(
                Fact.CAPTURED, SESSION, event, key=f"k{event.ordinal}", after=sequences[-1]
            )
        )
    return sequences[1:]


async def test_what_is_stored_already_is_not_taken_for_what_stands_behind_the_fence(
    log: JetStreamEventLog,
) -> None:
    """The fence holds, and of the key the server says that it has it, further in front."""
    events = some_events(3)
    _, sequence, last = await fill(log, events)
    assert sequence < last
    with pytest.raises(FencedError, match=f"k1 is stored already, at {sequence}"):
        await log.append(Fact.CAPTURED, SESSION, events[1], key="k1", after=last)


async def test_an_empty_log_has_no_last_event_and_nothing_to_read(log: JetStreamEventLog) -> None:
    assert await log.last(Fact.CAPTURED, SESSION) is None
    assert [logged async for logged in log.read(Fact.CAPTURED, SESSION)] == []


async def test_events_are_read_back_as_they_were_appended(log: JetStreamEventLog) -> None:
    events = some_events(6)
    sequences = await fill(log, events)
    found = [logged async for logged in log.read(Fact.CAPTURED, SESSION)]
    assert [logged.event for logged in found] == events
    assert [logged.sequence for logged in found] == sequences
    behind = [logged.event async for logged in log.read(Fact.CAPTURED, SESSION, sequences[2])]
    assert behind == events[3:]
    last = await log.last(Fact.CAPTURED, SESSION)
    assert last is not None
    assert (last.event, last.sequence, last.key) == (events[-1], sequences[-1], "k5")


async def test_a_repeated_append_is_one_event_and_gives_the_same_sequence(
    log: JetStreamEventLog,
) -> None:
    (event, *_rest) = some_events(3)
    first = await log.append(Fact.CAPTURED, SESSION, event, key="same", after=0)
    again = await log.append(Fact.CAPTURED, SESSION, event, key="same", after=0)
    assert again == first
    assert len([logged async for logged in log.read(Fact.CAPTURED, SESSION)]) == 1


async def test_a_writer_with_a_stale_view_is_fenced_off(log: JetStreamEventLog) -> None:
    opened, segment, *_rest = some_events(4)
    first = await log.append(Fact.CAPTURED, SESSION, opened, key="a", after=0)
    await log.append(Fact.CAPTURED, SESSION, segment, key="b", after=first)
    with pytest.raises(FencedError):
        await log.append(Fact.CAPTURED, SESSION, segment, key="late", after=first)


async def test_of_many_that_append_at_once_one_wins(log: JetStreamEventLog) -> None:
    (event, *_rest) = some_events(3)
    results = await asyncio.gather(
        *(log.append(Fact.CAPTURED, SESSION, event, key=f"w{n}", after=0) for n in range(20)),
        return_exceptions=True,
    )
    assert sum(isinstance(result, int) for result in results) == 1
    assert sum(isinstance(result, FencedError) for result in results) == 19


async def test_the_fence_of_one_session_does_not_hold_back_another(
    log: JetStreamEventLog,
) -> None:
    (event, *_rest) = some_events(3)
    other = SESSION[:-1] + "b"
    await log.append(Fact.CAPTURED, SESSION, event, key="a", after=0)
    await log.append(Fact.CAPTURED, other, event, key="b", after=0)


OTHER = SESSION[:-1] + "b"


def numbered(session_id: str, counter: int) -> SessionNumbered:
    return SessionNumbered(session_id=session_id, counter=counter)


async def test_what_is_ordered_over_all_sessions_has_one_fence(log: JetStreamEventLog) -> None:
    assert await log.last_of_all(Fact.NUMBERED) is None
    one, two = numbered(SESSION, 1), numbered(OTHER, 2)
    first = await log.append_to_all(Fact.NUMBERED, SESSION, one, key="one", after=0)
    with pytest.raises(FencedError, match=r"session\.numbered\.\*"):
        await log.append_to_all(Fact.NUMBERED, OTHER, two, key="two", after=0)
    second = await log.append_to_all(Fact.NUMBERED, OTHER, two, key="two", after=first)
    newest = await log.last_of_all(Fact.NUMBERED)
    assert newest is not None
    assert (newest.event, newest.sequence, newest.key) == (two, second, "two")
    held = await log.last(Fact.NUMBERED, SESSION)
    assert held is not None
    assert held.event == one
    # Another fact in the same stream is another log.
    assert await log.last_of_all(Fact.LOGGED) is None


async def test_a_repeated_append_to_all_is_one_event_also_behind_others(
    log: JetStreamEventLog,
) -> None:
    one, two = numbered(SESSION, 1), numbered(OTHER, 2)
    first = await log.append_to_all(Fact.NUMBERED, SESSION, one, key="one", after=0)
    assert await log.append_to_all(Fact.NUMBERED, SESSION, one, key="one", after=0) == first
    await log.append_to_all(Fact.NUMBERED, OTHER, two, key="two", after=first)
    assert await log.append_to_all(Fact.NUMBERED, SESSION, one, key="one", after=0) == first


async def test_of_many_sessions_that_append_to_all_at_once_one_wins(
    log: JetStreamEventLog,
) -> None:
    ids = [f"{SESSION[:-2]}{n:02d}" for n in range(20)]
    results = await asyncio.gather(
        *(
            log.append_to_all(Fact.NUMBERED, each, numbered(each, 1), key=each, after=0)
            for each in ids
        ),
        return_exceptions=True,
    )
    assert sum(isinstance(result, int) for result in results) == 1
    assert sum(isinstance(result, FencedError) for result in results) == 19


async def test_a_foreign_message_does_not_hide_the_newest_event_of_all(
    broker: RecorderBroker, log: JetStreamEventLog
) -> None:
    garbage = await broker.jetstream.publish(Fact.NUMBERED.of("anybody"), b"not an event")
    foreign = await log.last_of_all(Fact.NUMBERED)
    assert foreign is not None
    assert (type(foreign.event), foreign.sequence) == (Event, garbage.seq)
    one = numbered(SESSION, 1)
    await log.append_to_all(Fact.NUMBERED, SESSION, one, key="one", after=garbage.seq)
    garbage = await broker.jetstream.publish(Fact.NUMBERED.of("anybody"), b"nor this")
    newest = await log.last_of_all(Fact.NUMBERED)
    assert newest is not None
    assert (newest.event, newest.sequence, newest.key) == (one, garbage.seq, "one")


async def test_the_newest_event_is_searched_from_the_end(
    broker: RecorderBroker, log: JetStreamEventLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    after = 0
    for n in range(1, 41):
        each = numbered(SESSION, n)
        after = await log.append_to_all(Fact.NUMBERED, SESSION, each, key=f"k{n}", after=after)
    for _ in range(20):  # of another fact in the same stream
        await broker.jetstream.publish(Fact.LOGGED.of("anybody"), b"not an event")
    for _ in range(5):
        garbage = await broker.jetstream.publish(Fact.NUMBERED.of("anybody"), b"nor this")
    monkeypatch.setattr(event_log, "LOOK_BACK", 8)
    asked: list[int | None] = []
    get_msg = JetStreamContext.get_msg

    async def counted(self: JetStreamContext, *args: Any, **kwargs: Any) -> RawStreamMsg:  # noqa: ANN401  (passed on)
        asked.append(kwargs.get("seq"))
        return await get_msg(self, *args, **kwargs)

    monkeypatch.setattr(JetStreamContext, "get_msg", counted)
    newest = await log.last_of_all(Fact.NUMBERED)
    assert newest is not None
    assert (newest.event, newest.sequence, newest.key) == (
        numbered(SESSION, 40),
        garbage.seq,
        "k40",
    )
    # Windows of 8, 16 and 32 sequences; the stream is not read from its beginning.
    assert min(seq for seq in asked if seq is not None) == garbage.seq - 8 - 16 - 32


async def test_a_fact_for_other_systems_has_one_subject(
    broker: RecorderBroker, log: JetStreamEventLog
) -> None:
    request = AnchorRequested(
        origin="r/log",
        tree_size=1,
        root_hash="00" * 32,
        note="a note",
        previous_size=0,
        previous_root_hash="00" * 32,
        session_id=SESSION,
    )
    await log.append(Fact.ANCHOR_REQUESTED, SESSION, request, key="a", after=0)
    stored = await broker.jetstream.get_last_msg("INTEGRATION", "integration.anchor.requested")
    assert stored.seq == 1
    held = await log.last(Fact.ANCHOR_REQUESTED, OTHER)
    assert held is not None
    assert held.event == request


async def test_an_append_waits_for_a_server_that_was_killed_and_comes_back(
    server: NatsProcess, log: JetStreamEventLog
) -> None:
    opened, segment, *_rest = some_events(4)
    first = await log.append(Fact.CAPTURED, SESSION, opened, key="a", after=0)
    server.kill()
    waiting = asyncio.create_task(log.append(Fact.CAPTURED, SESSION, segment, key="b", after=first))
    await asyncio.to_thread(server.start)
    second = await waiting
    assert second > first
    found = [logged.event async for logged in log.read(Fact.CAPTURED, SESSION)]
    assert found == [opened, segment]


async def test_what_is_not_an_event_is_passed_over_when_reading(
    broker: RecorderBroker, log: JetStreamEventLog
) -> None:
    opened, segment, *_rest = some_events(4)
    await log.append(Fact.CAPTURED, SESSION, opened, key="a", after=0)
    garbage = await broker.jetstream.publish(Fact.CAPTURED.of(SESSION), b"not an event")
    await log.append(Fact.CAPTURED, SESSION, segment, key="b", after=garbage.seq)
    found = [logged.event async for logged in log.read(Fact.CAPTURED, SESSION)]
    assert found == [opened, segment]


async def test_every_event_carries_cloudevents_attributes_and_the_sessions_trace(
    broker: RecorderBroker, log: JetStreamEventLog
) -> None:
    (event, *_rest) = some_events(3)
    await log.append(Fact.CAPTURED, SESSION, event, key="a", after=0)
    stored = await broker.jetstream.get_last_msg("SESSIONS", Fact.CAPTURED.of(SESSION))
    headers = stored.headers or {}
    assert headers["ce-type"] == "session.captured.v1"
    assert headers["ce-source"] == "/recorder/node"
    assert headers["ce-subject"] == SESSION
    assert headers["traceparent"].split("-")[1] == SESSION.replace("-", "")


async def test_a_full_stream_is_told_apart_from_a_server_that_is_away_and_said_once(
    broker: RecorderBroker, log: JetStreamEventLog
) -> None:
    await apply_topology(broker.jetstream, streams(SMALL), {})
    (event, *_rest) = some_events(3)
    with pytest.raises(StreamFullError, match=r"maximum bytes exceeded.*nats.max_bytes"):
        await fill_up(log, event)
    begin_s = time.monotonic()
    with structlog.testing.capture_logs() as lines:
        again = JetStreamEventLog(lambda: broker.jetstream, EventHeaders("node"))
        for n in range(3):
            with pytest.raises(BusUnavailableError):  # whoever waits for NATS waits for room too
                await again.emit(Fact.CAPTURED, SESSION, event, key=f"more{n}")
    patience_s = 3 * event_log.GIVE_UP_AFTER_S
    assert time.monotonic() - begin_s < patience_s, "there is nothing to be patient for"
    assert [(line["event"], line["log_level"]) for line in lines] == [("StreamFull", "error")]


async def fill_up(log: JetStreamEventLog, event: CapturedEvent) -> None:
    for n in range(1000):
        await log.emit(Fact.CAPTURED, SESSION, event, key=f"fill{n}")
