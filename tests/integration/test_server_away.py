"""A nats-server that is away for a while: what a worker does not do meanwhile."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from nats.aio.msg import Msg
from nats.js import JetStreamContext
from nats_process import NatsProcess
from running_recorder import DEADLINE_S, LIVE, RunningRecorder, settings_in

from recorder_worker.bus.connection import turns
from recorder_worker.core.verify.verdicts import Verdict
from recorder_worker.service.settings.tree import CaptureSettings, NatsSettings

AWAY_S = 3.0
"""So long that every pull loop would have asked again."""


async def test_of_a_server_that_is_away_no_messages_are_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is asked is kept until it is back, and then nobody waits for it any more; and when no
    more can be kept, the loops that ask spin."""
    asked: list[bool] = []
    fetch_one = JetStreamContext.PullSubscription._fetch_one

    async def noted(subscription: Any, *args: Any, **options: Any) -> Msg:  # noqa: ANN401  (as nats-py has it)
        asked.append(subscription._nc.is_connected)
        return await fetch_one(subscription, *args, **options)

    monkeypatch.setattr(JetStreamContext.PullSubscription, "_fetch_one", noted)
    # Those that wait for their turn look whether it has come, and whose turn it was may be gone.
    monkeypatch.setattr(turns, "LATE_S", (0.2,))
    monkeypatch.setattr(turns, "STALE_S", 0.5)
    with NatsProcess(tmp_path / "nats") as server:
        settings = settings_in(
            tmp_path / "data",
            nats=NatsSettings(url=server.url),
            # However long the server takes to be back: no lease runs out meanwhile.
            capture=CaptureSettings(segment_s=0.25, lease_s=60),
        )
        async with RunningRecorder(settings) as recorder:
            started = await recorder.client.start(LIVE, fps=10)
            await recorder.captured(started.session_id)
            await asyncio.to_thread(server.kill)
            await asyncio.sleep(AWAY_S)
            before = len(asked)
            await asyncio.to_thread(server.start)
            async with asyncio.timeout(DEADLINE_S):
                while len(asked) == before:
                    await asyncio.sleep(0.05)
            await recorder.client.stop(started.session_id)
            await recorder.sealed(started.session_id)
            assert recorder.report(started.session_id).verdict is Verdict.COMPLETE
    assert before
    assert all(asked)
