"""What workers remember of a session, and when they look again."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from nats_process import NatsProcess
from running_recorder import DEADLINE_S, LIVE, RunningRecorder, settings_in, until

from recorder_worker.bus.sessions.session_bucket import SessionBucket
from recorder_worker.bus.streams.topology import SESSIONS_STREAM
from recorder_worker.core.pipeline import CHUNK, COMPRESS, MERKLE, TABLE
from recorder_worker.core.subjects import Fact
from recorder_worker.core.verify.verdicts import Verdict
from recorder_worker.service.settings.tree import CaptureSettings, ChunkSettings, NatsSettings
from recorder_worker.stages.chunk import ChunkStage
from recorder_worker.stages.merkle.stage import MerkleStage
from recorder_worker.stages.session_log.log_writer import LogWriter

LOOKS = ((ChunkStage, "_catch_up"), (MerkleStage, "_look"), (SessionBucket, "get"))


async def checkpoints(recorder: RunningRecorder, session_id: str, more: int) -> None:
    """Wait until so many more were told."""
    wanted = len(await recorder.facts(Fact.CHECKPOINT, session_id)) + more
    async with asyncio.timeout(DEADLINE_S):
        while len(await recorder.facts(Fact.CHECKPOINT, session_id)) < wanted:
            await asyncio.sleep(0.05)


async def quiet(recorder: RunningRecorder) -> None:
    """Wait until the stages behind capture, and the table, have handled all they were given."""
    for stage in (CHUNK, COMPRESS, MERKLE, TABLE):
        async with asyncio.timeout(DEADLINE_S):
            while True:
                info = await recorder.jetstream.consumer_info(SESSIONS_STREAM, stage.name)
                if not info.num_pending and not info.num_ack_pending:
                    break
                await asyncio.sleep(0.05)


async def test_behind_a_server_that_was_away_every_stage_looks_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may have lost its newest messages: what was remembered of them is worth nothing."""
    looked: Counter[str] = Counter()

    def counting(owner: Any, name: str) -> None:  # noqa: ANN401  (any class)
        original = getattr(owner, name)

        async def counted(*args: Any, **options: Any) -> Any:  # noqa: ANN401  (as it comes)
            looked[owner.__name__] += 1
            return await original(*args, **options)

        monkeypatch.setattr(owner, name, counted)

    for owner, name in (*LOOKS, (LogWriter, "settle")):
        counting(owner, name)
    names = {owner.__name__ for owner, _ in LOOKS}
    with NatsProcess(tmp_path / "nats") as server:
        settings = settings_in(
            tmp_path / "data",
            nats=NatsSettings(url=server.url),
            capture=CaptureSettings(segment_s=0.25, checkpoint_s=60),
            chunk=ChunkSettings(duration_s=1, workers=1),
        )
        async with RunningRecorder(settings) as recorder:
            started = await recorder.client.start(LIVE, fps=10)
            await checkpoints(recorder, started.session_id, 2)
            # Nothing is on its way, or comes again: either would be reason enough to look.
            await recorder.client.pause(started.session_id)
            await quiet(recorder)
            await asyncio.to_thread(server.end)
            await asyncio.to_thread(server.start)
            looked.clear()
            await recorder.client.resume(started.session_id)
            async with asyncio.timeout(DEADLINE_S):
                while not names <= set(looked):
                    await asyncio.sleep(0.05)
            await recorder.client.stop(started.session_id)
            await recorder.sealed(started.session_id)
            # Before its entry, for the server was away, and behind it, as ever.
            await until(lambda: looked["LogWriter"] >= 2)
            assert recorder.report(started.session_id).verdict is Verdict.COMPLETE_WITH_GAPS
