"""Control of sessions over real processes that die, stand still, or do not run at all."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager

import msgspec
import numpy as np
import pytest
from plant import Plant, gaps_of, is_stall
from xserver import XServer

from recorder_worker.adapters.folder import FolderRecording
from recorder_worker.client import FactSeen, RecorderClient
from recorder_worker.core import notes
from recorder_worker.core.events import EndCaptured, Event, GapCaptured, MarkCaptured, SessionFailed
from recorder_worker.core.model import EndReason, GapReason
from recorder_worker.core.reading.frames import recording_frames
from recorder_worker.core.subjects import Fact
from recorder_worker.core.verify.verdicts import Verdict

DEADLINE_S = 90.0
PATTERN = {"kind": "pattern", "width": 64, "height": 48}
LEFT = {"x": 0, "y": 0, "width": 32, "height": 48}
MARKS = 40
ENVIRONMENT = {
    "RECORDER_LOAD__BEHIND_HIGH_MESSAGES": str(MARKS),
    "RECORDER_LOAD__BEHIND_LOW_MESSAGES": "10",
    "RECORDER_LOAD__BEHIND_STEP_S": "1",
    "RECORDER_CAPTURE__SEGMENT_S": "0.25",
}

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def plant(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plant]:
    with Plant(tmp_path_factory.mktemp("plant"), ENVIRONMENT) as running:
        yield running


@asynccontextmanager
async def followed(plant: Plant, session_id: str) -> AsyncIterator[tuple[RecorderClient, Waiter]]:
    async with plant.client() as client, client.follow(session_id) as facts:
        yield client, Waiter(facts)


class Waiter:
    """Facts of a session, one after the other, until one is what is waited for."""

    def __init__(self, facts: AsyncIterator[FactSeen]) -> None:
        self._facts = facts

    async def until(self, wanted: Callable[[Event], bool]) -> Event:
        async with asyncio.timeout(DEADLINE_S):
            async for seen in self._facts:
                if wanted(seen.event):
                    return seen.event
        raise AssertionError("facts never end")

    async def mark(self, kind: str) -> MarkCaptured:
        found = await self.until(lambda e: isinstance(e, MarkCaptured) and e.kind == kind)
        assert isinstance(found, MarkCaptured)
        return found


async def killed_and_started(plant: Plant) -> None:
    await asyncio.to_thread(plant.kill, "capture")
    await asyncio.to_thread(plant.start_again, "capture")


async def handed_over(plant: Plant) -> None:
    (worker,) = plant.workers["capture"]
    assert await asyncio.to_thread(worker.terminate) == 0
    await asyncio.to_thread(worker.start)


def masked_units(plant: Plant, session_id: str) -> list[bool]:
    """Of each frame, whether its left half is black."""
    frames = recording_frames(FolderRecording(plant.recording(session_id)))
    return [not np.any(frame.picture[:, :32]) for frame in frames]


# --- masks ---------------------------------------------------------------------------------------


async def test_masks_stay_in_force_when_capture_is_handed_over_and_when_it_is_killed(
    plant: Plant,
) -> None:
    session_id = await plant.start_session(PATTERN, fps=20)
    await plant.until(session_id, Fact.CAPTURED, 3)
    async with followed(plant, session_id) as (client, facts):
        await client.mask(session_id, [LEFT], by="kim")
        mark = await facts.mark(notes.MASKS)
        for disturb, reason in ((handed_over, GapReason.HANDOVER), (killed_and_started, None)):
            await disturb(plant)
            wanted = reason or GapReason.CRASH
            await facts.until(
                lambda e, wanted=wanted: isinstance(e, GapCaptured) and e.reason is wanted  # type: ignore[misc]
            )
            await facts.until(lambda e: type(e).__name__ == "SegmentCaptured")
        await client.stop(session_id)
    await plant.sealed(session_id)
    assert plant.verify(session_id).verdict is Verdict.COMPLETE_WITH_GAPS
    masked = masked_units(plant, session_id)
    assert masked == [unit >= mark.cursor.unit for unit in range(len(masked))]
    assert True in masked


async def test_masks_that_are_sent_while_capture_is_down_hold_when_it_is_back(plant: Plant) -> None:
    session_id = await plant.start_session(PATTERN, fps=20)
    await plant.until(session_id, Fact.CAPTURED, 3)
    async with followed(plant, session_id) as (client, facts):
        await asyncio.to_thread(plant.kill, "capture")
        await client.mask(session_id, [LEFT])
        await asyncio.to_thread(plant.start_again, "capture")
        mark = await facts.mark(notes.MASKS)
        await facts.until(lambda e: type(e).__name__ == "SegmentCaptured")
        await client.stop(session_id)
    await plant.sealed(session_id)
    masked = masked_units(plant, session_id)
    assert masked == [unit >= mark.cursor.unit for unit in range(len(masked))]


# --- armed ---------------------------------------------------------------------------------------


async def test_an_armed_session_that_is_handed_over_is_armed_and_has_lost_what_it_held(
    plant: Plant,
) -> None:
    session_id = await plant.start_session(PATTERN, fps=20, pre_record_s=60)
    async with followed(plant, session_id) as (client, facts):
        await facts.mark(notes.ARMED)
        for disturb in (handed_over, killed_and_started):
            await disturb(plant)
            assert (await facts.mark(notes.ARMED)).armed
        await client.mark(session_id, "now", type="trigger")
        trigger = await facts.mark("trigger")
        await facts.until(lambda e: type(e).__name__ == "SegmentCaptured")
        await client.stop(session_id)
    sealed = await plant.sealed(session_id)
    report = plant.verify(session_id)
    assert report.verdict in (Verdict.COMPLETE, Verdict.COMPLETE_WITH_GAPS)
    assert {gap.reason for gap in report.gaps} <= {"armed"}
    assert sealed.frame_count == len(masked_units(plant, session_id)) > 0
    assert not trigger.armed


async def test_a_worker_that_is_killed_while_a_trigger_takes_effect_leaves_one_trigger_and_a_record(
    plant: Plant,
) -> None:
    session_id = await plant.start_session(PATTERN, fps=20, pre_record_s=60)
    async with followed(plant, session_id) as (client, facts):
        await facts.mark(notes.ARMED)
        await asyncio.sleep(1.5)  # some segments to be written at once
        await client.mark(session_id, "now", type="trigger")
        await facts.until(lambda e: type(e).__name__ == "SegmentCaptured")
        await killed_and_started(plant)
        await facts.until(lambda e: isinstance(e, GapCaptured) and e.reason is GapReason.CRASH)
        await facts.until(lambda e: type(e).__name__ == "SegmentCaptured")
        await client.stop(session_id)
    sealed = await plant.sealed(session_id)
    report = plant.verify(session_id)
    assert report.verdict is Verdict.COMPLETE_WITH_GAPS
    assert {gap.reason for gap in report.gaps} <= {"armed", "crash"}
    assert sealed.frame_count == len(masked_units(plant, session_id)) > 0
    async with followed(plant, session_id) as (_, facts):
        kinds: list[str] = []

        def ends(event: Event) -> bool:
            if isinstance(event, MarkCaptured):
                kinds.append(event.kind)
            return isinstance(event, EndCaptured)

        await facts.until(ends)
    assert kinds == [notes.ARMED, "trigger"]


# --- behind --------------------------------------------------------------------------------------


@pytest.mark.skipif(shutil.which("Xvfb") is None, reason="needs Xvfb: scripts/setup-system.sh")
async def test_sessions_do_what_they_said_while_compress_does_not_run_and_go_on_when_it_does(
    plant: Plant,
) -> None:
    with XServer(64, 48) as server:
        source = {"kind": "x11", "uri": server.display}
        slow, gap, stop = [
            await plant.start_session(source, fps=10, when_behind=policy)
            for policy in ("slow", "gap", "stop")
        ]
        await asyncio.to_thread(plant.kill, "compress")
        async with followed(plant, slow) as (client, facts):
            for number in range(MARKS):
                await client.mark(slow, f"mark {number}")
            slower = await facts.mark(notes.RATE)
            await _stopped_by_policy(plant, stop)
            await asyncio.to_thread(plant.start_again, "compress")
            faster = await facts.until(
                lambda e: isinstance(e, MarkCaptured) and e.kind == notes.RATE and _to_fps(e) == 10
            )
        async with followed(plant, gap) as (client, facts):
            begin = await facts.until(_is_gap)
            held = await facts.until(_is_gap)
            await facts.until(lambda e: type(e).__name__ == "SegmentCaptured")
            for session_id in (slow, gap):
                await client.stop(session_id)
        for session_id in (slow, gap, stop):
            await plant.sealed(session_id)

    said = msgspec.json.decode(slower.body, type=notes.RateChanged)
    assert (said.from_fps, said.to_fps, said.reason) == (10, 5, "behind")
    assert "messages wait for later stages" in said.detail
    assert isinstance(faster, MarkCaptured)
    assert gaps_of(plant.verify(slow)) == [], "a lower rate is no loss"

    assert isinstance(begin, GapCaptured)
    assert (begin.reason, begin.span.unit_count) == (GapReason.BACK_PRESSURE, 0), "told at once"
    assert isinstance(held, GapCaptured)
    assert (held.reason, held.span.unit_count > 0) == (GapReason.BACK_PRESSURE, True)
    assert held.span.t0_ns == begin.span.t1_ns
    assert plant.verify(gap).verdict is Verdict.COMPLETE_WITH_GAPS

    report = plant.verify(stop)
    assert (gaps_of(report), report.end_reason) == ([], "policy")
    (worker,) = plant.workers["capture"]
    assert "messages wait" in worker.logged("CaptureBehind")["detail"]
    assert worker.logged("CaptureCaughtUp")
    assert worker.logged("FrameRateChanged", session_id=slow)["to_fps"] == 5
    assert worker.logged("SessionHeld", session_id=gap)


def _is_gap(event: Event) -> bool:
    return isinstance(event, GapCaptured) and not is_stall(event.detail)


def _to_fps(mark: MarkCaptured) -> float:
    return msgspec.json.decode(mark.body, type=notes.RateChanged).to_fps


async def _stopped_by_policy(plant: Plant, session_id: str) -> None:
    async with followed(plant, session_id) as (_, facts):
        ended = await facts.until(lambda e: isinstance(e, EndCaptured))
        failed = await facts.until(lambda e: isinstance(e, SessionFailed))
    assert isinstance(ended, EndCaptured)
    assert ended.reason is EndReason.POLICY
    assert "when_behind is stop" in ended.detail
    assert isinstance(failed, SessionFailed)
    assert failed.reason is EndReason.POLICY
