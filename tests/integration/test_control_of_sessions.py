"""Masks in mid-session, arming, idleness and the frame cap, on a real nats-server."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import aiohttp
import msgspec
import pytest
from running_recorder import (
    DEADLINE_S,
    LIVE,
    POLL_S,
    RunningRecorder,
    assert_pattern,
    begun,
    settings_in,
)
from xserver import XServer

from recorder_worker.core import notes
from recorder_worker.core.events import (
    Event,
    GapCaptured,
    MarkCaptured,
    Opened,
    SegmentCaptured,
)
from recorder_worker.core.model import Mask
from recorder_worker.core.subjects import Fact
from recorder_worker.core.verify.verdicts import Verdict
from recorder_worker.service.settings.load import LoadSettings
from recorder_worker.service.settings.tree import CaptureSettings

pytestmark = pytest.mark.asyncio(loop_scope="module")

LEFT = {"x": 0, "y": 0, "width": 32, "height": 48}
RIGHT = {"x": 32, "y": 0, "width": 32, "height": 48}


async def marked(
    recorder: RunningRecorder,
    session_id: str,
    kind: str,
    wanted: Callable[[notes.RateChanged], bool] | None = None,
) -> MarkCaptured:
    """The first mark of a kind that is wanted, once there is one."""
    async with asyncio.timeout(DEADLINE_S):
        async for seen in recorder.client.events(session_id):
            mark = seen.event
            if not isinstance(mark, MarkCaptured) or mark.kind != kind:
                continue
            if wanted is None or wanted(msgspec.json.decode(mark.body, type=notes.RateChanged)):
                return mark
    raise AssertionError("facts never end")


async def armed_until(recorder: RunningRecorder, session_id: str, t_s: float) -> None:
    """Wait until the frames of an armed session have come so far: only its marks tell."""
    t_ns, number = 0, 0
    while t_ns < t_s * 1e9:
        number += 1
        kind = f"look-{number}"
        await recorder.client.mark(session_id, "how far is it?", type=kind)
        t_ns = (await marked(recorder, session_id, kind)).t_ns
        await asyncio.sleep(POLL_S)


async def masked(recorder: RunningRecorder, session_id: str, *masks: dict[str, int]) -> Event:
    return await recorder.client.effect(
        lambda: recorder.client.mask(session_id, masks, by="kim"),
        session_id,
        lambda seen: getattr(seen.event, "kind", "") == notes.MASKS,
        DEADLINE_S,
    )


# --- masks ---------------------------------------------------------------------------------------


async def test_masks_are_changed_in_mid_session_and_the_record_says_from_when(
    recorder: RunningRecorder,
) -> None:
    session_id = await begun(recorder, masks=[LEFT])
    mark = await masked(recorder, session_id, RIGHT)
    assert isinstance(mark, MarkCaptured)
    assert (mark.by, mark.t_ns) == (notes.RECORDER, mark.cursor.t_ns)
    said = msgspec.json.decode(mark.body, type=notes.MasksChanged)
    assert (said.by, said.masks) == ("kim", (msgspec.convert(RIGHT, Mask),))
    await recorder.captured(session_id, mark.t_ns)
    none = await masked(recorder, session_id)
    assert isinstance(none, MarkCaptured)
    await recorder.captured(session_id, none.t_ns)
    await recorder.client.stop(session_id)
    await recorder.sealed(session_id)
    report = recorder.report(session_id)
    assert (report.verdict, report.totals.mark_count) == (Verdict.COMPLETE, 2)

    events = await recorder.facts(Fact.CAPTURED, session_id)
    for change in (mark, none):
        behind = next(
            event
            for event in events
            if isinstance(event, SegmentCaptured) and event.ordinal > change.ordinal
        )
        assert behind.keyframe
        assert behind.span.t0_ns == change.t_ns
    first, second = mark.cursor.unit, none.cursor.unit
    for unit, picture in enumerate(recorder.pictures(session_id)):
        assert picture[:, :32].any() == (unit >= first)
        assert picture[:, 32:].any() == (unit < first or unit >= second)


async def test_what_is_no_list_of_rectangles_is_refused(recorder: RunningRecorder) -> None:
    session_id = await begun(recorder)
    bodies = [
        {"session_id": session_id},
        {"session_id": session_id, "masks": [{"x": -1, "y": 0, "width": 1, "height": 1}]},
        {"session_id": session_id, "masks": [LEFT] * 65},
    ]
    found = await recorder.rejections(
        "session.mask", *map(msgspec.json.encode, bodies), session_id=session_id
    )
    assert [rejected.field for rejected in found] == ["masks", "masks[0].x", "masks"]
    await recorder.client.stop(session_id)
    await recorder.sealed(session_id)
    assert recorder.report(session_id).totals.mark_count == 0


# --- armed, idle, the cap ------------------------------------------------------------------------


async def test_an_armed_session_records_its_last_seconds_once_it_is_triggered(
    recorder: RunningRecorder,
) -> None:
    started = await recorder.client.start(LIVE, fps=20, pre_record_s=0.5)
    session_id = started.session_id
    armed = await marked(recorder, session_id, notes.ARMED)
    assert armed.armed
    await recorder.client.mark(session_id, "somebody rang", type="bell")
    await marked(recorder, session_id, "bell")
    with_pause = await recorder.rejections(
        "session.pause", msgspec.json.encode({"session_id": session_id}), session_id=session_id
    )
    assert [(one.expected, one.got) for one in with_pause] == [
        ("a session that can pause", "one that is armed")
    ]
    await armed_until(recorder, session_id, 1.5)  # longer than what is kept
    assert not list((recorder.folder(session_id) / "segments").glob("*")), "nothing is written"
    await recorder.client.mark(session_id, "the door opened", type="trigger", by="kim")
    trigger = await marked(recorder, session_id, "trigger")
    assert not trigger.armed
    await recorder.captured(session_id, trigger.t_ns)
    await recorder.client.stop(session_id)
    sealed = await recorder.sealed(session_id)

    report = recorder.report(session_id)
    assert report.verdict is Verdict.COMPLETE_WITH_GAPS
    [gap] = report.gaps
    assert (gap.reason, gap.t0_ns) == ("armed", 0)
    assert gap.lost_units > 0
    assert 0.5 <= (trigger.t_ns - gap.t1_ns) / 1e9 <= 1.2
    assert (sealed.frame_count, sealed.lost_units) == (
        len(recorder.pictures(session_id)),
        gap.lost_units,
    )
    kinds = [type(event) for event in await recorder.facts(Fact.CAPTURED, session_id)]
    assert kinds[0] is Opened
    first_gap = kinds.index(GapCaptured)
    assert SegmentCaptured not in kinds[:first_gap]


async def test_an_armed_session_that_is_stopped_is_sealed_empty(recorder: RunningRecorder) -> None:
    started = await recorder.client.start(LIVE, fps=20, pre_record_s=60)
    session_id = started.session_id
    await marked(recorder, session_id, notes.ARMED)
    await armed_until(recorder, session_id, 0.3)  # some frames: they are held
    await recorder.client.stop(session_id)
    sealed = await recorder.sealed(session_id)
    report = recorder.report(session_id)
    assert (report.verdict, sealed.frame_count) == (Verdict.COMPLETE_WITH_GAPS, 0)
    assert [gap.reason for gap in report.gaps] == ["armed"]


async def test_a_session_whose_picture_stands_still_ends_as_idle(recorder: RunningRecorder) -> None:
    everything = {"x": 0, "y": 0, "width": 64, "height": 48}
    source = LIVE | {"pace": "fast"}
    _, report = await recorder.record(source, fps=20, masks=[everything], idle_stop_s=2)
    assert (report.verdict, report.end_reason) == (Verdict.COMPLETE, "idle")
    assert report.totals.frame_count == 41


async def test_a_start_that_asks_for_too_many_frames_is_refused(recorder: RunningRecorder) -> None:
    error = await recorder.refusal(LIVE, fps=61)
    assert (error.refusal.field, error.refusal.expected) == ("fps", "at most 60 frames a second")


# --- overloaded, behind --------------------------------------------------------------------------


async def test_a_session_that_cannot_be_read_in_time_is_slowed_down_and_sped_up_aloud(
    tmp_path: Path,
) -> None:
    load = LoadSettings(window_s=0.5, late_high=0.2, late_low=0.1, calm_windows=1, lowest_fps=4)
    with XServer(64, 48) as server:
        async with RunningRecorder(settings_in(tmp_path, load=load)) as recorder:
            source = {"kind": "x11", "uri": server.display}
            started = await recorder.client.start(source, fps=8, priority=2)
            session_id = started.session_id
            rated = asyncio.create_task(marked(recorder, session_id, notes.RATE))
            while not rated.done():  # a display that does not answer for most of each frame's time
                server.stop()
                await asyncio.sleep(0.35)
                server.go_on()
                await asyncio.sleep(0.05)
            slower = msgspec.json.decode((await rated).body, type=notes.RateChanged)
            assert (slower.from_fps, slower.to_fps, slower.reason) == (8, 4, "overload")
            assert "of reads came late" in slower.detail
            faster = await marked(recorder, session_id, notes.RATE, lambda rate: rate.to_fps == 8)
            assert faster.by == notes.RECORDER
            await recorder.client.stop(session_id)
            await recorder.sealed(session_id)
            # Where a machine stands still, the display is away for longer than is slow: a gap.
            assert {gap.reason for gap in recorder.report(session_id).gaps} <= {"back_pressure"}


async def test_material_waits_while_later_stages_are_behind_and_none_of_it_is_lost(
    tmp_path: Path,
) -> None:
    load = LoadSettings(behind_high_bytes=1, behind_low_bytes=1, window_s=0.1)
    async with RunningRecorder(settings_in(tmp_path, load=load)) as recorder:
        source = LIVE | {"frames": 60}
        session_id, report = await recorder.record(source, fps=20, when_behind="slow")
        assert report.verdict is Verdict.COMPLETE_WITH_GAPS
        assert {(gap.reason, gap.lost_units) for gap in report.gaps} == {("back_pressure", 0)}
        assert assert_pattern(recorder, session_id, width=64, height=48) == 60


async def test_a_recorder_that_cannot_write_says_so_in_seconds_and_loses_nothing_by_a_moment(
    tmp_path: Path,
) -> None:
    settings = settings_in(tmp_path, capture=CaptureSettings(segment_s=0.25, retry_s=60))
    async with RunningRecorder(settings) as recorder:
        session_id = (await recorder.client.start(LIVE, fps=20)).session_id
        await recorder.captured(session_id)
        segments, aside = recorder.folder(session_id) / "segments", tmp_path / "aside"
        segments.rename(aside)
        segments.write_bytes(b"in the way")
        async with asyncio.timeout(30):  # of the 60 s in which it tries again
            while (found := await ready(recorder)) == "":
                await asyncio.sleep(POLL_S)
        assert "1 sessions cannot write" in found
        assert "Not a directory" in found
        segments.unlink()
        aside.rename(segments)
        async with asyncio.timeout(DEADLINE_S):
            while await ready(recorder) != "":
                await asyncio.sleep(POLL_S)
        await recorder.client.stop(session_id)
        sealed = await recorder.sealed(session_id)
        assert recorder.report(session_id).verdict is Verdict.COMPLETE
        assert assert_pattern(recorder, session_id, width=64, height=48) == sealed.frame_count


async def ready(recorder: RunningRecorder) -> str:
    """What /readyz says of segments that are not written; empty: they are."""
    url = f"http://127.0.0.1:{recorder.sidecar_port}/readyz"
    async with aiohttp.ClientSession() as http, http.get(url) as answer:
        checks = (await answer.json())["checks"]
    [found] = [check for check in checks if check["name"] == "capture.writes"]
    return "" if found["ok"] else str(found["detail"])
