"""Which of many subscribers asks for a message, and when."""

from __future__ import annotations

import asyncio
import gc
from contextlib import suppress
from types import SimpleNamespace
from typing import Any

import pytest

from recorder_worker.bus.connection import turns
from recorder_worker.bus.connection.turns import ASKING_IDLE, LATE_S, turn

SOON_S = 0.05


class Desk:
    """Subscribers on one consumer, and a server that answers what it is told to."""

    def __init__(self) -> None:
        self._client = _Client()
        self.asking: dict[Any, asyncio.Future[str]] = {}

    def subscriber(self) -> Any:  # noqa: ANN401  (stands for a PullSubscription)
        return _Subscription(self._client)

    async def fetch(self, one: Any) -> str:  # noqa: ANN401  (as above)
        async with turn(one):
            queue = one._sub._pending_queue
            while not queue.empty():
                message = queue.get_nowait()
                if message.reply:
                    return str(message.data)
            self.asking[one] = asyncio.get_running_loop().create_future()
            try:
                return await self.asking[one]
            finally:
                del self.asking[one]

    def work(self, one: Any, got: list[str]) -> asyncio.Task[None]:  # noqa: ANN401  (as above)
        """Ask for ever."""

        async def loop() -> None:
            while True:
                with suppress(TimeoutError):
                    got.append(await self.fetch(one))

        return asyncio.create_task(loop())


class _Client:
    """Is not equal to another one, and may be forgotten."""


class _Subscription:
    def __init__(self, client: _Client) -> None:
        self._nc = client
        self._nms = "$JS.API.CONSUMER.MSG.NEXT.S.c"
        self._sub = SimpleNamespace(_pending_queue=asyncio.Queue[Any](), _closed=False)


async def settled() -> None:
    """Everybody has had his turn, also where the machine stood still for all of that time."""
    await asyncio.sleep(SOON_S)
    for _ in range(20):
        await asyncio.sleep(0)


async def test_of_the_idle_a_few_ask_and_of_the_busy_all() -> None:
    desk, got = Desk(), list[str]()
    many = [desk.subscriber() for _ in range(6)]
    tasks = [desk.work(one, got) for one in many]
    await settled()
    assert len(desk.asking) == ASKING_IDLE
    for count in range(len(many)):
        fresh = next(one for one in desk.asking if not getattr(one, "had", False))
        fresh.had = True
        desk.asking[fresh].set_result(f"message {count}")
        await settled()
    assert len(got) == len(many)
    assert len(desk.asking) == len(many), "whoever had work asks again at once"
    for waiting in list(desk.asking.values()):
        waiting.set_exception(TimeoutError())
    await settled()
    assert len(desk.asking) == ASKING_IDLE, "those who got nothing wait for their turn"
    for task in tasks:
        task.cancel()


async def test_an_idle_one_keeps_its_place_until_it_gets_something() -> None:
    """Else its late message would wait for its next turn."""
    desk, got = Desk(), list[str]()
    tasks = [desk.work(desk.subscriber(), got) for _ in range(5)]
    await settled()
    before = set(desk.asking)
    for waiting in list(desk.asking.values()):
        waiting.set_exception(TimeoutError())
    await settled()
    assert set(desk.asking) == before
    for task in tasks:
        task.cancel()


async def test_a_message_that_comes_behind_the_end_of_its_request_needs_no_place() -> None:
    desk, got = Desk(), list[str]()
    tasks = [desk.work(desk.subscriber(), got) for _ in range(ASKING_IDLE)]
    await settled()
    late = desk.subscriber()
    tasks.append(desk.work(late, got))
    await settled()
    assert late not in desk.asking
    lying = late._sub._pending_queue
    await lying.put(SimpleNamespace(reply="", data="408, the request has run out"))
    await asyncio.sleep(LATE_S[0] or 0.0)
    await settled()
    assert late not in desk.asking
    await lying.put(SimpleNamespace(reply="$JS.ACK.S.c.1", data="late"))
    await asyncio.sleep(LATE_S[1] or 0.0)
    await settled()
    assert got == ["late"]
    for task in tasks:
        task.cancel()


async def test_one_that_fails_or_is_cancelled_leaves_its_place_to_others() -> None:
    desk, got = Desk(), list[str]()
    failing = [asyncio.create_task(desk.fetch(desk.subscriber())) for _ in range(ASKING_IDLE)]
    await settled()
    waiting = [desk.work(desk.subscriber(), got) for _ in range(ASKING_IDLE)]
    await settled()
    first, second = desk.asking.values()
    first.set_exception(OSError("the connection is gone"))
    failing[1].cancel()
    ended = await asyncio.gather(*failing, return_exceptions=True)
    assert [type(error) for error in ended] == [OSError, asyncio.CancelledError]
    await settled()
    assert second not in desk.asking.values()
    assert len(desk.asking) == ASKING_IDLE
    for task in waiting:
        task.cancel()


@pytest.mark.parametrize("ended", ["forgotten", "closed", "silent"])
async def test_one_that_asks_no_more_holds_no_place(
    ended: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever ended it: a stage whose places were all lost would stand still, and not say so."""
    desk, got = Desk(), list[str]()
    gone = [desk.subscriber() for _ in range(ASKING_IDLE)]
    asking = [asyncio.create_task(desk.fetch(one)) for one in gone]
    await settled()
    for request in list(desk.asking.values()):
        request.set_exception(TimeoutError())
    await asyncio.gather(*asking, return_exceptions=True)
    match ended:
        case "forgotten":
            gone.clear()
            asking.clear()
            del request
            gc.collect()
        case "closed":
            for one in gone:
                one._sub._closed = True
        case _:
            monkeypatch.setattr(turns, "STALE_S", 0.01)
    tasks = [desk.work(desk.subscriber(), got) for _ in range(ASKING_IDLE)]
    await settled()
    assert len(desk.asking) == ASKING_IDLE
    for task in tasks:
        task.cancel()


async def test_those_that_wait_for_ever_gather_nothing() -> None:
    """An idle worker whose subscribers wait is what a worker is at night."""
    places = turns.Places()
    for _ in range(20):
        await asyncio.gather(*(places.left(0.001) for _ in range(5)))
    assert not places._waiting
