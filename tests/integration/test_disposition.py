"""What happens to a message by what its handler raised, on a real nats-server."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from pathlib import Path

import pytest
import pytest_asyncio
from nats_process import NatsProcess

from recorder_worker import __version__
from recorder_worker.bus.bus import Bus, BusSettings
from recorder_worker.bus.connection.broker import Login
from recorder_worker.bus.disposition import IN_TURN_S, RetryLimits
from recorder_worker.bus.streams.consumers import ConsumerLimits
from recorder_worker.bus.streams.topology import StreamLimits
from recorder_worker.bus.subscriptions import decode_command
from recorder_worker.core.errors import (
    BlobUnreadableError,
    BusUnavailableError,
    LeaseLostError,
    OutOfOrderError,
    PermanentError,
    StoreError,
)
from recorder_worker.ports import Delivery
from recorder_worker.service.observing.metrics import Metrics

DEADLINE_S = 20.0
MAX_DELIVER = 3


class Desk:
    """A bus with one stage whose handler the test chooses."""

    server: NatsProcess

    def __init__(self, url: str) -> None:
        self.metrics = Metrics(version=__version__, node="test")
        self.bus = Bus(
            BusSettings(
                login=Login(servers=(url,)),
                node="test",
                streams=StreamLimits(
                    replicas=1, max_age_s=3600, max_bytes=10_000_000, duplicate_window_s=60
                ),
                consumers=ConsumerLimits(
                    lease_s=1, chunk_ack_wait_s=1, compress_ack_wait_s=1, merkle_ack_wait_s=1
                ),
                retry=RetryLimits(backoff_s=(0.05, 0.1), max_deliver=MAX_DELIVER),
            ),
            self.metrics,
        )
        self.seen: list[Delivery] = []
        self.last_resorts: list[str] = []
        self.raises: Callable[[Delivery], Exception | None] = lambda _delivery: None
        self.works_s = 0.0
        self.progress = 0

    async def handle(self, delivery: Delivery) -> None:
        self.seen.append(delivery)
        await asyncio.sleep(self.works_s)
        error = self.raises(delivery)
        if error is not None:
            raise error

    async def start(self, workers: int = 1) -> None:
        async def last_resort(_subject: str, _data: bytes, reason: str) -> None:
            self.last_resorts.append(reason)

        self.bus.register(
            "capture",
            self.handle,
            decode=decode_command,
            workers=workers,
            progressed=self._progressed,
            last_resort=last_resort,
        )
        await self.bus.start()

    def _progressed(self) -> None:
        self.progress += 1

    async def send(self, body: bytes = b"{}") -> None:
        await self.bus.jetstream().publish("session.start", body)

    async def until(self, condition: Callable[[], Awaitable[bool]]) -> None:
        deadline = time.monotonic() + DEADLINE_S
        while not await condition():
            assert time.monotonic() < deadline, "it did not happen"
            await asyncio.sleep(0.02)

    async def settled(self) -> bool:
        backlog = await self.bus.backlog("capture")
        return backlog.pending == 0 and backlog.ack_pending == 0

    async def dead(self) -> tuple[bytes, dict[str, str]]:
        """The last dead letter: its data and headers."""
        message = await self.bus.jetstream().get_last_msg("DEAD", "session.dead.capture")
        return message.data or b"", message.headers or {}


@pytest_asyncio.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    with NatsProcess(tmp_path) as server:
        made = Desk(server.url)
        made.server = server
        yield made
        with suppress(BusUnavailableError):
            await made.bus.stop()


async def test_a_message_that_is_handled_is_acknowledged_once(desk: Desk) -> None:
    await desk.start()
    await desk.send()
    await desk.until(lambda: _is(bool(desk.seen)))
    await desk.until(desk.settled)
    assert len(desk.seen) == 1


async def test_a_permanent_error_is_dead_lettered_with_reason_place_and_original(
    desk: Desk,
) -> None:
    desk.raises = lambda _: PermanentError("the segment\nis gone")
    await desk.start()
    await desk.send(b'{"poison": 1}')
    await desk.until(lambda: _is(bool(desk.last_resorts)))
    await desk.until(desk.settled)
    data, headers = await desk.dead()
    assert data == b'{"poison": 1}'
    assert headers["Recorder-Reason"] == "PermanentError: the segment is gone"
    assert headers["Recorder-Subject"] == "session.start"
    assert headers["Recorder-Where"].startswith("test_disposition.py:")
    assert len(desk.seen) == 1
    assert desk.last_resorts == ["PermanentError: the segment is gone"]


async def test_poison_does_not_hold_up_what_comes_behind_it(desk: Desk) -> None:
    desk.raises = lambda d: PermanentError("poison") if d.body == b"bad" else None
    await desk.start()
    for body in (b"bad", b"good", b"bad", b"good"):
        await desk.send(body)
    await desk.until(desk.settled)
    await desk.until(lambda: _is(len(desk.seen) == 4))
    assert [d.body for d in desk.seen] == [b"bad", b"good", b"bad", b"good"]


@pytest.mark.parametrize("error", [OutOfOrderError("not yet"), StoreError("disk is busy")])
async def test_a_transient_error_comes_again_more_often_than_a_defect_may(
    desk: Desk, error: Exception
) -> None:
    desk.raises = lambda d: error if d.deliveries <= MAX_DELIVER + 3 else None
    await desk.start()
    await desk.send()
    await desk.until(lambda: _is(len(desk.seen) == MAX_DELIVER + 4))
    await desk.until(desk.settled)
    assert [d.deliveries for d in desk.seen] == list(range(1, MAX_DELIVER + 5))
    assert desk.last_resorts == []


@pytest.mark.parametrize("error", [ZeroDivisionError("oops"), BlobUnreadableError("bad block")])
async def test_a_defect_is_tried_a_limited_number_of_times_and_then_dead_lettered(
    desk: Desk, error: Exception
) -> None:
    desk.raises = lambda _: error
    await desk.start()
    await desk.send()
    await desk.until(lambda: _is(bool(desk.last_resorts)))
    await desk.until(desk.settled)
    assert len(desk.seen) == MAX_DELIVER
    _, headers = await desk.dead()
    assert type(error).__name__ in headers["Recorder-Reason"]


async def test_a_command_keeps_its_identity_over_redeliveries(desk: Desk) -> None:
    desk.raises = lambda d: OutOfOrderError("not yet") if d.deliveries < 3 else None
    await desk.start()
    await desk.send()
    await desk.until(lambda: _is(len(desk.seen) == 3))
    assert len({(d.command_id, d.received_ns, d.sequence) for d in desk.seen}) == 1


async def test_a_lost_lease_is_let_go_without_a_word_and_comes_back_by_time(desk: Desk) -> None:
    desk.raises = lambda d: LeaseLostError("another has it") if d.deliveries == 1 else None
    await desk.start()
    await desk.send()
    await desk.until(lambda: _is(len(desk.seen) == 1))
    assert (await desk.bus.backlog("capture")).ack_pending == 1
    await desk.until(lambda: _is(len(desk.seen) == 2))
    await desk.until(desk.settled)


async def test_a_long_handler_keeps_its_message_by_heartbeat(desk: Desk) -> None:
    desk.works_s = 3.0  # three times the time after which an unanswered message comes again
    await desk.start(workers=2)
    await desk.send()
    await desk.until(lambda: _is(bool(desk.seen)))
    await desk.until(desk.settled)
    assert len(desk.seen) == 1


async def test_a_message_out_of_order_is_asked_for_at_once_and_later_in_seconds(
    desk: Desk,
) -> None:
    assert sum(IN_TURN_S[:23]) == pytest.approx(9.87)
    assert IN_TURN_S[-1] >= 5
    desk.raises = lambda d: OutOfOrderError("not yet") if d.deliveries < 8 else None
    await desk.start()
    await desk.send()
    await desk.until(desk.settled)
    await desk.until(lambda: _is(len(desk.seen) == 8))


async def test_a_session_that_waits_cannot_fill_the_merkle_consumer(desk: Desk) -> None:
    await desk.start()
    info = await desk.bus.jetstream().consumer_info("SESSIONS", "merkle")
    assert info.config.max_ack_pending == -1


async def test_only_a_message_that_succeeds_is_progress(desk: Desk) -> None:
    desk.raises = lambda d: StoreError("disk is busy") if d.deliveries < 3 else None
    await desk.start()
    await desk.send()
    await desk.until(desk.settled)
    await desk.until(lambda: _is(len(desk.seen) == 3))
    assert desk.progress == 1


async def test_a_stop_without_a_server_says_so_and_looks_for_it_no_more(desk: Desk) -> None:
    await desk.start()
    desk.server.kill()
    await desk.until(lambda: _is(not desk.bus.connected))
    async with asyncio.timeout(5):
        with pytest.raises(BusUnavailableError):
            await desk.bus.stop()
    assert not [t for t in asyncio.all_tasks() if "_attempt_reconnect" in repr(t.get_coro())]


async def _is(value: bool) -> bool:
    return value
