"""Few of many subscribers ask for messages, and those that wait for their turn get theirs."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec
import pytest
from nats.js import JetStreamContext
from running_recorder import DEADLINE_S, LIVE, RunningRecorder, settings_in

from recorder_worker.bus.connection.turns import ASKING_IDLE
from recorder_worker.core.verify.verdicts import Verdict
from recorder_worker.service.settings.tree import CaptureSettings

pytestmark = pytest.mark.asyncio(loop_scope="module")

CAPACITY = 12
IDLE_S = 3.0


async def test_of_a_worker_with_much_room_few_ask_and_all_of_it_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: Counter[str] = Counter()
    fetch_one = JetStreamContext.PullSubscription._fetch_one

    async def counted(subscription: Any, *args: Any, **options: Any) -> Any:  # noqa: ANN401  (as nats-py has it)
        asked[subscription._consumer] += 1
        return await fetch_one(subscription, *args, **options)

    async def few_ask() -> bool:
        """Whether somebody asks, and each of a few once a second: so long a request waits."""
        before, began_s = asked["capture"], time.monotonic()
        await asyncio.sleep(IDLE_S)
        most = ASKING_IDLE * (time.monotonic() - began_s + 2)
        return 0 < asked["capture"] - before <= most

    async def until_few_ask() -> None:
        """Who had work asks once more, and gets nothing; however long a machine takes for that."""
        async with asyncio.timeout(DEADLINE_S):
            while not await few_ask():
                pass

    monkeypatch.setattr(JetStreamContext.PullSubscription, "_fetch_one", counted)
    capture = CaptureSettings(capacity=CAPACITY, segment_s=0.25)
    async with RunningRecorder(settings_in(tmp_path, capture=capture)) as recorder:
        await until_few_ask()
        client = recorder.client
        started = [await client.start(LIVE, fps=4) for _ in range(CAPACITY)]
        assert len({one.session_id for one in started}) == CAPACITY
        for one in started:
            await client.stop(one.session_id)
        for one in started:
            await recorder.sealed(one.session_id)
            assert recorder.report(one.session_id).verdict is Verdict.COMPLETE
        # Room that was used is asked for again.
        again = await client.start(LIVE, fps=4, timeout_s=DEADLINE_S)
        await client.stop(again.session_id)
        await recorder.sealed(again.session_id)
        await until_few_ask()


async def test_whoever_waits_for_a_seal_reads_nothing_else(
    recorder: RunningRecorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    frames = 40
    started = await recorder.client.start(LIVE | {"frames": frames}, fps=20)
    read: list[bytes] = []
    get_msg = JetStreamContext.get_msg

    async def noted(jetstream: Any, *args: Any, **options: Any) -> Any:  # noqa: ANN401  (as nats-py has it)
        message = await get_msg(jetstream, *args, **options)
        if jetstream is recorder.client._jetstream:
            assert message.data is not None
            read.append(message.data)
        return message

    monkeypatch.setattr(JetStreamContext, "get_msg", noted)
    sealed = await recorder.client.wait_sealed(started.session_id, DEADLINE_S)
    assert sealed.frame_count == frames
    assert [msgspec.json.decode(data)["session_id"] for data in read] == [started.session_id]
