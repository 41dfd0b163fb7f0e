"""What the recorder needs of JetStream: one suite, for a real server and the one in memory.

The fault table (tests/faults) runs on the latter, so the two must not differ in anything it uses.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import nats
import nats.errors
import pytest
import pytest_asyncio
from memory_jetstream import MemoryJetStream, MemoryServer
from nats.aio.msg import Msg
from nats.js.errors import BadRequestError, NotFoundError
from nats_process import NatsProcess

from recorder_worker.bus.event_log import FENCE, FENCED_SUBJECT, MESSAGE_ID, WRONG_LAST_SEQUENCE
from recorder_worker.bus.streams.apply import apply_topology
from recorder_worker.bus.streams.consumers import ConsumerLimits, consumers
from recorder_worker.bus.streams.topology import StreamLimits, streams

WINDOW_S = 4.0
ACK_WAIT_S = 2.5
"""So long that a real server, or a test, may stand still for a second or two in between."""
BEHIND_IT_S = ACK_WAIT_S * 1.3
WITHIN_S = 20.0
STREAMS = streams(
    StreamLimits(replicas=1, max_age_s=3600, max_bytes=10_000_000, duplicate_window_s=WINDOW_S)
)
CONSUMERS = consumers(
    ConsumerLimits(
        lease_s=ACK_WAIT_S,
        chunk_ack_wait_s=ACK_WAIT_S,
        compress_ack_wait_s=ACK_WAIT_S,
        merkle_ack_wait_s=ACK_WAIT_S,
    )
)
ONE, OTHER = "session.captured.one", "session.captured.other"


class TestClock:
    __test__ = False

    def __init__(self) -> None:
        self.now_ns = 1_700_000_000_000_000_000

    def wall_ns(self) -> int:
        return self.now_ns


class Bench:
    """A server, and how a stage gets a message from it within a time."""

    def __init__(
        self,
        jetstream: Any,  # noqa: ANN401  (either of the two)
        take: Callable[[str, float], Awaitable[Msg | None]],
        wait: Callable[[float], Awaitable[None]],
    ) -> None:
        self.jetstream = jetstream
        self.take = take
        self.wait = wait

    async def publish(self, subject: str, data: bytes = b"x", **headers: str) -> Any:  # noqa: ANN401  (as nats-py)
        names = {"key": MESSAGE_ID, "fence": FENCE, "over": FENCED_SUBJECT}
        given = {names[name]: value for name, value in headers.items()}
        return await self.jetstream.publish(subject, data, stream="SESSIONS", headers=given)

    async def got(self, stage: str) -> Msg:
        found = await self.take(stage, WITHIN_S)
        assert found is not None, f"nothing came for {stage}"
        return found


@asynccontextmanager
async def in_memory() -> AsyncIterator[Bench]:
    clock = TestClock()
    server = MemoryServer(STREAMS, CONSUMERS, clock)

    async def take(stage: str, within_s: float) -> Msg | None:
        consumer = server.consumers[stage]
        due_ns = consumer.due_ns()
        if due_ns is None or due_ns > clock.now_ns + within_s * 1e9:
            return None
        clock.now_ns = max(clock.now_ns, due_ns)
        return consumer.take()

    async def wait(seconds: float) -> None:
        clock.now_ns += round(seconds * 1e9)

    yield Bench(MemoryJetStream(server), take, wait)


@asynccontextmanager
async def real(folder: Path) -> AsyncIterator[Bench]:
    with NatsProcess(folder) as process:
        client = await nats.connect(process.url)
        jetstream = client.jetstream()
        await apply_topology(jetstream, STREAMS, CONSUMERS)

        async def take(stage: str, within_s: float) -> Msg | None:
            pull = await jetstream.pull_subscribe_bind(stage, CONSUMERS[stage].stream)
            try:
                (message,) = await pull.fetch(1, timeout=within_s)
            except nats.errors.TimeoutError:
                return None
            finally:
                await pull.unsubscribe()
            return message

        # The one thing that only time shows: that the server has forgotten a message id.
        yield Bench(jetstream, take, asyncio.sleep)
        await client.close()


@pytest_asyncio.fixture(params=["memory", "nats-server"])
async def bench(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Bench]:
    made = in_memory() if request.param == "memory" else real(tmp_path / "nats")
    async with made as opened:
        yield opened


async def test_a_repeated_message_id_is_stored_once_until_the_window_is_over(bench: Bench) -> None:
    first = await bench.publish(ONE, key="a")
    again = await bench.publish(ONE, key="a")
    assert (again.seq, bool(again.duplicate), bool(first.duplicate)) == (first.seq, True, False)
    # Message ids are of the whole stream, not of a subject.
    assert (await bench.publish(OTHER, key="a")).duplicate
    await bench.wait(WINDOW_S * 1.5)
    assert (await bench.publish(ONE, key="a")).seq > first.seq


async def test_a_fence_lets_one_through_and_is_looked_at_before_the_message_id(
    bench: Bench,
) -> None:
    first = await bench.publish(ONE, key="a", fence="0")
    for headers in ({"key": "b", "fence": "0"}, {"key": "a", "fence": "0"}, {"fence": "0"}):
        with pytest.raises(BadRequestError) as refused:
            await bench.publish(ONE, b"again", **headers)
        assert refused.value.err_code == WRONG_LAST_SEQUENCE
    await bench.publish(OTHER, fence="0")
    assert (await bench.publish(ONE, fence=str(first.seq))).seq == first.seq + 2


async def test_a_fence_over_all_subjects_of_a_kind(bench: Bench) -> None:
    first = await bench.publish(ONE, fence="0", over="session.captured.*")
    with pytest.raises(BadRequestError):
        await bench.publish(OTHER, fence="0", over="session.captured.*")
    await bench.publish("session.chunked.one", fence="0", over="session.chunked.*")
    await bench.publish(OTHER, fence=str(first.seq), over="session.captured.*")


async def test_messages_are_read_by_subject_and_sequence(bench: Bench) -> None:
    jetstream = bench.jetstream
    with pytest.raises(NotFoundError):
        await jetstream.get_last_msg("SESSIONS", ONE, direct=True)
    await bench.publish(ONE, b"1", key="k1")
    await bench.publish(OTHER, b"2")
    await bench.publish(ONE, b"3")
    last = await jetstream.get_last_msg("SESSIONS", ONE, direct=True)
    assert (last.seq, last.data, last.subject) == (3, b"3", ONE)
    newest = await jetstream.get_last_msg("SESSIONS", "session.captured.*", direct=True)
    assert newest.seq == 3
    behind = await jetstream.get_msg("SESSIONS", seq=2, subject=ONE, direct=True, next=True)
    assert behind.seq == 3
    first = await jetstream.get_msg("SESSIONS", seq=1)
    assert (first.data, (first.headers or {})[MESSAGE_ID]) == (b"1", "k1")
    with pytest.raises(NotFoundError):
        await jetstream.get_msg("SESSIONS", seq=4, subject=ONE, direct=True, next=True)
    with pytest.raises(NotFoundError) as missing:
        await jetstream.get_msg("SESSIONS", seq=9)
    assert missing.value.err_code == 10037
    state = (await jetstream.stream_info("SESSIONS")).state
    assert (state.first_seq, state.last_seq) == (1, 3)


async def test_a_bucket_keeps_the_newest_value_of_a_key(bench: Bench) -> None:
    subject, stream = "$KV.recorder-sessions.one", "KV_recorder-sessions"
    first = await bench.jetstream.publish(subject, b"1", stream=stream, headers={FENCE: "0"})
    await bench.jetstream.publish(subject, b"2", stream=stream, headers={FENCE: str(first.seq)})
    with pytest.raises(NotFoundError):
        await bench.jetstream.get_msg(stream, seq=first.seq)


async def test_what_is_acknowledged_or_terminated_does_not_come_again(bench: Bench) -> None:
    await bench.publish(ONE, b"1")
    await bench.publish("session.chunked.one", b"not for this stage")
    await bench.publish(ONE, b"2")
    first, second = await bench.got("chunk"), await bench.got("chunk")
    assert (first.data, second.data) == (b"1", b"2")
    metadata = first.metadata
    assert (metadata.stream, metadata.consumer, metadata.sequence.stream) == (
        "SESSIONS",
        "chunk",
        1,
    )
    assert metadata.num_delivered == 1
    await first.ack()
    await second.term()
    assert await bench.take("chunk", BEHIND_IT_S) is None


async def test_what_nobody_answers_comes_again_and_says_how_often_it_came(bench: Bench) -> None:
    await bench.publish(ONE)
    assert (await bench.got("chunk")).metadata.num_delivered == 1
    again = await bench.got("chunk")
    assert again.metadata.num_delivered == 2
    await again.ack()
    assert await bench.take("chunk", BEHIND_IT_S) is None


async def test_an_answer_that_comes_late_is_an_answer_to_the_message(bench: Bench) -> None:
    """Also where another worker has it by now: whatever that one answers changes nothing."""
    await bench.publish(ONE)
    held_up = await bench.got("chunk")
    again = await bench.got("chunk")
    await held_up.ack()
    await again.nak()
    assert await bench.take("chunk", BEHIND_IT_S) is None


async def test_a_nak_brings_a_message_again_after_its_delay_and_others_meanwhile(
    bench: Bench,
) -> None:
    await bench.publish(ONE, b"1")
    await bench.publish(ONE, b"2")
    first = await bench.got("chunk")
    await first.nak(delay=2)
    second = await bench.got("chunk")
    assert second.data == b"2"
    await second.ack()
    again = await bench.got("chunk")
    assert (again.data, again.metadata.num_delivered) == (b"1", 2)
    await again.nak()
    at_once = await bench.got("chunk")
    assert at_once.metadata.num_delivered == 3
    await at_once.ack()


async def test_a_sign_of_life_keeps_a_message(bench: Bench) -> None:
    await bench.publish(ONE)
    held = await bench.got("chunk")
    for _ in range(6):
        await bench.wait(ACK_WAIT_S / 4)
        await held.in_progress()
        assert await bench.take("chunk", ACK_WAIT_S / 10) is None
    await held.ack()


async def test_commands_are_given_out_one_at_a_time(bench: Bench) -> None:
    for body in (b"1", b"2"):
        await bench.jetstream.publish("session.mark", body, stream="COMMANDS")
    first = await bench.got("control")
    assert await bench.take("control", 0.3) is None
    await first.ack()
    assert (await bench.got("control")).data == b"2"
