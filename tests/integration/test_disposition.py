"""What happens to a message by what its handler raised, on a real nats-server."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import nats.errors
import pytest
import pytest_asyncio
from blake3 import blake3
from nats.aio.msg import Msg
from nats.js import JetStreamContext
from nats_process import NatsProcess

from recorder_worker import __version__
from recorder_worker.bus.bus import Bus, BusSettings
from recorder_worker.bus.connection.broker import Login
from recorder_worker.bus.dead_letters.stack import stack_digest
from recorder_worker.bus.disposition import IN_TURN_S, RetryLimits
from recorder_worker.bus.streams.consumers import ConsumerLimits
from recorder_worker.bus.streams.topology import StreamLimits
from recorder_worker.bus.subscriptions import decode_command
from recorder_worker.core.errors import (
    BlobUnreadableError,
    BusUnavailableError,
    LeaseLostError,
    LeaseReleasedError,
    OutOfOrderError,
    PermanentError,
    StoreError,
)
from recorder_worker.ports import Delivery
from recorder_worker.service.observing.metrics import Metrics

DEADLINE_S = 60.0
MAX_DELIVER = 3
LEASE_S = 60.0
"""Nobody stands still for so long: no message comes again but by what its handler raised."""
SHORT_LEASE_S = 4.0


class Desk:
    """A bus with one stage whose handler the test chooses."""

    server: NatsProcess

    def __init__(self, url: str, lease_s: float) -> None:
        self.metrics = Metrics(version=__version__, node="test")
        self.bus = Bus(
            BusSettings(
                login=Login(servers=(url,)),
                node="test",
                streams=StreamLimits(
                    replicas=1, max_age_s=3600, max_bytes=10_000_000, duplicate_window_s=60
                ),
                consumers=ConsumerLimits(
                    lease_s=lease_s,
                    chunk_ack_wait_s=lease_s,
                    compress_ack_wait_s=lease_s,
                    merkle_ack_wait_s=lease_s,
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
        async def last_resort(_message: Msg, reason: str) -> None:
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


@asynccontextmanager
async def opened(folder: Path, lease_s: float) -> AsyncIterator[Desk]:
    with NatsProcess(folder) as server:
        made = Desk(server.url, lease_s)
        made.server = server
        yield made
        with suppress(BusUnavailableError):
            await made.bus.stop()


@pytest_asyncio.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    async with opened(tmp_path, LEASE_S) as made:
        yield made


@pytest_asyncio.fixture
async def short_desk(tmp_path: Path) -> AsyncIterator[Desk]:
    """One to which a message that is not answered comes again soon."""
    async with opened(tmp_path, SHORT_LEASE_S) as made:
        yield made


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
    assert headers["Recorder-Error"] == "PermanentError"
    assert (headers["Recorder-Stream"], headers["Recorder-Sequence"]) == ("COMMANDS", "1")
    assert headers["Recorder-Command"] == desk.seen[0].command_id
    assert int(headers["Recorder-Stored-Ns"]) == desk.seen[0].received_ns
    assert headers["Recorder-Deliveries"] == "1"
    assert len(desk.seen) == 1
    assert desk.last_resorts == ["PermanentError: the segment is gone"]


async def test_what_failed_alike_has_one_digest_without_lines_texts_and_folders(desk: Desk) -> None:
    def fail(delivery: Delivery) -> Exception:
        if delivery.body == b"other":
            return ValueError("another kind")
        return PermanentError(f"text {delivery.sequence}")

    desk.raises = fail
    await desk.start()
    for body in (b"one", b"two", b"other"):
        await desk.send(body)
    await desk.until(lambda: _is(len(desk.last_resorts) == 3))
    await desk.until(desk.settled)
    letters = [seen.letter for seen in await desk.bus.dead_letters.all()]
    by_size = {letter.blake3: letter for letter in letters}
    assert len(by_size) == 3
    same = {one.stack for one in letters if one.error == "PermanentError"}
    (digest,) = same
    assert len(digest) == 16
    assert {one.stack for one in letters if one.error == "ValueError"}.isdisjoint(same)


async def test_a_digest_of_a_stack_knows_its_causes_and_nothing_secret() -> None:
    def inner(text: str) -> None:
        raise OSError(text)

    def outer(text: str) -> Exception:
        try:
            try:
                inner(text)
            except OSError as error:
                raise PermanentError(f"of {text}") from error
        except PermanentError as error:
            return error
        raise AssertionError

    assert stack_digest(outer("/home/kim/secret")) == stack_digest(outer("another"))
    alone = PermanentError("of nothing")
    assert stack_digest(alone) != stack_digest(outer("x"))
    assert stack_digest(alone) == stack_digest(PermanentError("else"))


async def test_a_letter_keeps_the_headers_of_its_message_but_no_token(desk: Desk) -> None:
    desk.raises = lambda _: PermanentError("no")
    await desk.start()
    sent = {"Nats-Msg-Id": "mine", "authorization": "Bearer a.b.c", "X-Note": "bell \u266a"}
    await desk.bus.jetstream().publish("session.start", b"{}", headers=sent)
    await desk.until(lambda: _is(bool(desk.last_resorts)))
    await desk.until(desk.settled)
    (seen,) = await desk.bus.dead_letters.all()
    assert seen.letter.headers == {"Nats-Msg-Id": "mine", "X-Note": "bell \u266a"}
    assert seen.letter.command_id == "mine"
    data, headers = await desk.dead()
    assert "a.b.c" not in f"{data!r} {headers}"
    assert seen.settled is None


async def test_a_message_that_is_too_large_for_a_letter_does_not_come_for_ever(desk: Desk) -> None:
    desk.raises = lambda _: PermanentError("no")
    await desk.start()
    size = desk.bus.client.max_payload - 100
    await desk.send(b"x" * size)
    await desk.send(b"{}")
    await desk.until(lambda: _is(len(desk.last_resorts) == 2))
    await desk.until(desk.settled)
    large, small = [seen.letter for seen in await desk.bus.dead_letters.all()]
    assert (large.size, large.kept, small.kept) == (size, False, True)
    assert large.blake3 == blake3(b"x" * size).hexdigest()
    assert await desk.bus.dead_letters.body(large) == b""
    assert await desk.bus.dead_letters.body(small) == b"{}"


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


async def test_a_message_that_was_handed_over_often_has_not_failed_once(desk: Desk) -> None:
    handed_over, oops = MAX_DELIVER + 4, ZeroDivisionError("oops")
    desk.raises = lambda d: (
        LeaseReleasedError("shutting down")
        if d.deliveries <= handed_over
        else oops
        if d.deliveries < handed_over + MAX_DELIVER
        else None
    )
    await desk.start()
    await desk.send()
    await desk.until(lambda: _is(len(desk.seen) == handed_over + MAX_DELIVER))
    await desk.until(desk.settled)
    assert desk.last_resorts == []
    desk.raises = lambda _: oops
    await desk.send()
    await desk.until(lambda: _is(bool(desk.last_resorts)))
    assert len([d for d in desk.seen if d.sequence == 2]) == MAX_DELIVER


async def test_a_command_keeps_its_identity_over_redeliveries(desk: Desk) -> None:
    desk.raises = lambda d: OutOfOrderError("not yet") if d.deliveries < 3 else None
    await desk.start()
    await desk.send()
    await desk.until(lambda: _is(len(desk.seen) == 3))
    assert len({(d.command_id, d.received_ns, d.sequence) for d in desk.seen}) == 1


async def test_a_lost_lease_is_let_go_without_a_word_and_comes_back_by_time(
    short_desk: Desk,
) -> None:
    desk = short_desk
    desk.raises = lambda d: LeaseLostError("another has it") if d.deliveries == 1 else None
    await desk.start()
    await desk.send()
    await desk.until(lambda: _is(len(desk.seen) == 1))
    assert (await desk.bus.backlog("capture")).ack_pending == 1
    await desk.until(lambda: _is(len(desk.seen) == 2))
    await desk.until(desk.settled)


async def test_a_long_handler_keeps_its_message_by_heartbeat(short_desk: Desk) -> None:
    desk = short_desk
    desk.works_s = 1.5 * SHORT_LEASE_S  # longer than until an unanswered message comes again
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
    async with asyncio.timeout(DEADLINE_S):
        with pytest.raises(BusUnavailableError):
            await desk.bus.stop()
    assert not [t for t in asyncio.all_tasks() if "_attempt_reconnect" in repr(t.get_coro())]


async def test_a_server_that_goes_away_while_a_worker_starts_is_no_defect_of_ours(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It had taken the connection and made the streams; then it answered no more."""

    async def silence(*_: object, **__: object) -> None:
        raise nats.errors.TimeoutError

    monkeypatch.setattr(JetStreamContext, "pull_subscribe", silence)
    with pytest.raises(BusUnavailableError, match="went away while this worker started"):
        await desk.start()


async def _is(value: bool) -> bool:
    return value
