"""An idle session is signed all the same, and its keys change while it runs."""

from __future__ import annotations

import asyncio
from pathlib import Path

from running_recorder import DEADLINE_S, RunningRecorder, settings_in

from recorder_worker.core.events import Checkpoint
from recorder_worker.core.records.codec import decode_record
from recorder_worker.core.records.file import unframed
from recorder_worker.core.records.leaves import BeatRecord, EpochRecord, GapRecord
from recorder_worker.core.verify.verdicts import Verdict
from recorder_worker.service.settings.tree import CaptureSettings

SMALL = {"kind": "pattern", "width": 16, "height": 16}


async def checkpoints(recorder: RunningRecorder, session_id: str, count: int) -> list[Checkpoint]:
    """The next signed checkpoints of a session."""
    found: list[Checkpoint] = []
    async with (
        asyncio.timeout(DEADLINE_S),
        recorder.client.follow(session_id, history=False) as facts,
    ):
        async for seen in facts:
            if isinstance(seen.event, Checkpoint):
                found.append(seen.event)
            if len(found) == count:
                return found
    raise AssertionError("facts never end")


async def test_a_paused_session_is_signed_again_and_again_by_keys_that_change(
    tmp_path: Path,
) -> None:
    often = CaptureSettings(segment_s=0.25, checkpoint_s=1.0, epoch_s=2.0)
    async with RunningRecorder(settings_in(tmp_path, capture=often)) as recorder:
        session_id = (await recorder.client.start(SMALL, fps=20)).session_id
        await recorder.captured(session_id)
        await recorder.client.pause(session_id)
        # The first of them may be those of what came before the pause: its begin, its chunk.
        signed = await checkpoints(recorder, session_id, 8)
        assert [one.tree_size for one in signed] == list(
            range(signed[0].tree_size, signed[0].tree_size + 8)
        )
        await recorder.client.resume(session_id)
        await recorder.client.stop(session_id)
        await recorder.sealed(session_id)
        report = recorder.report(session_id)
    assert report.verdict is Verdict.COMPLETE_WITH_GAPS
    data = (recorder.folder(session_id) / "records").read_bytes()
    records = [decode_record(record) for record in unframed([data])]
    (gap,) = [record for record in records if isinstance(record, GapRecord)]
    idle = [record for record in records if isinstance(record, BeatRecord | EpochRecord)]
    assert len([record for record in idle if record.index < gap.index]) >= 5
    epochs = [record for record in records if isinstance(record, EpochRecord)]
    assert [epoch.number for epoch in epochs] == list(range(1, len(epochs) + 1))
    assert epochs
    assert len({key.data for epoch in epochs for key in epoch.keys}) == len(epochs)
    assert list((tmp_path / "keys" / "epochs").iterdir()) == []
