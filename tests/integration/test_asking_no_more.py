"""A subscription that shall ask no more: its last request ends, and no message is lost with it.

Acknowledgements are overdue after an hour here, so that a message lost on its way never comes.
"""

from __future__ import annotations

import asyncio
import random
from contextlib import suppress

import nats.errors
import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js import JetStreamContext
from nats.js.api import AckPolicy, ConsumerConfig, StorageType
from nats.js.errors import ServiceUnavailableError
from nats_process import NatsProcess

from recorder_worker.bus.connection import mended

STREAM, SUBJECT, DURABLE = "NUMBERS", "numbers", "reader"
NEVER_S = 3600.0
DEADLINE_S = 60.0
READERS, TURNS = 6, 20

PullSubscription = JetStreamContext.PullSubscription


async def declared(client: Client) -> None:
    """The stream, new, and its consumer."""
    mended.mend_libraries()
    jetstream = client.jetstream()
    with suppress(nats.errors.Error):
        await jetstream.delete_stream(STREAM)
    await jetstream.add_stream(name=STREAM, subjects=[SUBJECT], storage=StorageType.MEMORY)
    config = ConsumerConfig(
        durable_name=DURABLE,
        ack_policy=AckPolicy.EXPLICIT,
        ack_wait=NEVER_S,
        max_ack_pending=10_000,
    )
    await jetstream.add_consumer(STREAM, config)


async def reading(client: Client) -> PullSubscription:
    return await client.jetstream().pull_subscribe(SUBJECT, durable=DURABLE, stream=STREAM)


async def asked(client: Client) -> int:
    """How many requests the server has."""
    info = await client.jetstream().consumer_info(STREAM, DURABLE)
    return info.num_waiting or 0


async def one(subscription: PullSubscription) -> Msg | None:
    """The next message, as FastStream's loop asks for it; None where the request ended without."""
    with suppress(asyncio.TimeoutError, ServiceUnavailableError):
        (message,) = await subscription.fetch(1, timeout=NEVER_S)
        await message.ack()
        return message
    return None


async def test_a_request_that_would_stand_for_an_hour_is_taken_back(
    nats_process: NatsProcess,
) -> None:
    client = await nats.connect(nats_process.url)
    await declared(client)
    subscription = await reading(client)
    waiting = asyncio.create_task(one(subscription))
    async with asyncio.timeout(DEADLINE_S):
        while not await asked(client):
            await asyncio.sleep(mended.LOOK_S)
        await mended.ask_no_more(subscription)
        assert await waiting is None
        assert await one(subscription) is None, "it asks for nothing any more"
        # What comes now is for whoever still asks.
        await client.jetstream().publish(SUBJECT, b"1")
        other = await one(await reading(client))
    assert other is not None
    assert other.metadata.num_delivered == 1
    await client.close()


async def test_no_message_that_is_on_its_way_is_lost_with_the_request(
    nats_process: NatsProcess,
) -> None:
    """They come all the time, while some readers end their requests at any moment."""
    client = await nats.connect(nats_process.url)
    await declared(client)
    found: list[int] = []
    sent = 0
    ended = asyncio.Event()

    async def send() -> None:
        nonlocal sent
        while not ended.is_set():
            await client.jetstream().publish(SUBJECT, str(sent).encode())
            sent += 1

    async def read(chance: random.Random) -> None:
        own = await nats.connect(nats_process.url)
        for _ in range(TURNS):
            subscription = await reading(own)
            stopping = asyncio.Event()
            taking = asyncio.create_task(take(subscription, stopping))
            await asyncio.sleep(chance.random() * 0.02)
            stopping.set()
            await mended.ask_no_more(subscription)
            await taking
            await subscription.unsubscribe()
        await own.close()

    async def take(subscription: PullSubscription, stopping: asyncio.Event) -> None:
        while not stopping.is_set():
            if (message := await one(subscription)) is not None:
                found.append(int(message.data))

    async with asyncio.timeout(DEADLINE_S):
        sending = asyncio.create_task(send())
        await asyncio.gather(*(read(random.Random(seed)) for seed in range(READERS)))
        ended.set()
        await sending
        last = await reading(client)
        while len(found) < sent:
            message = await one(last)
            assert message is not None
            found.append(int(message.data))
    assert sorted(found) == list(range(sent))
    await client.close()


async def test_on_a_cluster_the_last_request_stands_until_it_is_answered(
    nats_process: NatsProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another server of it may have sent the message already, and ours would drop it."""
    client = await nats.connect(nats_process.url)
    await declared(client)
    subscription = await reading(client)
    waiting = asyncio.create_task(one(subscription))
    async with asyncio.timeout(DEADLINE_S):
        while not await asked(client):
            await asyncio.sleep(mended.LOOK_S)
        monkeypatch.setitem(client._server_info, "cluster", "of three")
        ending = asyncio.create_task(mended.ask_no_more(subscription))
        await asyncio.sleep(0)
        await client.jetstream().publish(SUBJECT, b"1")
        message = await waiting
        await ending
    assert message is not None
    assert message.data == b"1"
    await client.close()
