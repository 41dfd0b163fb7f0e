"""Bad sources: one clear message, the other sessions go on, and nothing is left behind."""

from __future__ import annotations

import asyncio
import os
import uuid
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from running_recorder import (
    RunningRecorder,
    assert_pattern,
    only,
)
from videos import cut, file_source, readable_frames, write_video
from xserver import XServer

from recorder_worker.core.events import Captured, SessionFailed
from recorder_worker.core.subjects import Fact
from recorder_worker.core.verify.verdicts import Verdict

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.usefixtures("others_go_on"),
]

SMALL = {"kind": "pattern", "width": 16, "height": 16, "pace": "fast", "frames": 3}
LIVE = {"kind": "pattern", "width": 16, "height": 16}


# --- sources that cannot be opened ---------------------------------------------------------------


async def refused_source(recorder: RunningRecorder, source: dict[str, Any]) -> str:
    """The hint of the refusal, once the event of it says the same."""
    session_id = str(uuid.uuid4())
    error = await recorder.refusal(source, session_id=session_id)
    refusal = error.refusal
    assert (refusal.field, refusal.got) == ("source.uri", source["uri"])
    assert refusal.expected == "a source that can be opened"
    event = only(await recorder.facts(Fact.REJECTED, session_id))
    assert (event.hint, event.command) == (refusal.hint, "session.start")
    assert await recorder.facts(Fact.STARTED, session_id) == []
    assert not recorder.folder(session_id).exists(), "a refused session leaves nothing"
    return refusal.hint


async def test_a_missing_file_is_refused(recorder: RunningRecorder, tmp_path: Path) -> None:
    hint = await refused_source(recorder, file_source(tmp_path / "none.mkv"))
    assert "expected a video file, found nothing; the path is that of the worker's" in hint


async def test_a_relative_path_is_refused(recorder: RunningRecorder) -> None:
    hint = await refused_source(recorder, file_source("video.mkv"))
    assert "write the whole path" in hint


async def test_a_folder_is_refused(recorder: RunningRecorder, tmp_path: Path) -> None:
    hint = await refused_source(recorder, file_source(tmp_path))
    assert "expected a regular file, found a directory; name one video file" in hint


async def test_a_file_that_is_no_video_is_refused(
    recorder: RunningRecorder, tmp_path: Path
) -> None:
    path = tmp_path / "notes.mkv"
    path.write_text("These are notes and no video.\n" * 100)
    hint = await refused_source(recorder, file_source(path))
    assert "expected a video that FFmpeg can open, found none in its 3000 bytes" in hint


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads every file, whatever its mode")
async def test_a_file_that_may_not_be_read_is_refused(
    recorder: RunningRecorder, tmp_path: Path
) -> None:
    path = write_video(tmp_path / "mine.avi", "MJPG", 3)
    path.chmod(0)
    hint = await refused_source(recorder, file_source(path))
    assert f"let user id {os.geteuid()} read the file" in hint


async def test_a_video_of_0_bytes_is_refused(recorder: RunningRecorder, tmp_path: Path) -> None:
    path = tmp_path / "empty.mkv"
    path.touch()
    hint = await refused_source(recorder, file_source(path))
    assert "expected a video, found 0 bytes; was it copied whole?" in hint


@pytest.mark.parametrize(("name", "codec"), [("no.avi", "MJPG"), ("no.mkv", "FFV1")])
async def test_a_video_without_a_frame_is_refused(
    recorder: RunningRecorder, tmp_path: Path, name: str, codec: str
) -> None:
    path = write_video(tmp_path / name, codec, frames=0)
    assert path.stat().st_size > 0, "it has a header"
    hint = await refused_source(recorder, file_source(path))
    assert "expected at least one frame" in hint or "expected a video that FFmpeg can open" in hint


async def test_a_display_that_is_not_there_is_refused(recorder: RunningRecorder) -> None:
    hint = await refused_source(recorder, {"kind": "x11", "uri": ":64999"})
    assert "display :64999: expected" in hint


async def test_a_display_that_is_no_display_is_refused(recorder: RunningRecorder) -> None:
    error = await recorder.refusal({"kind": "x11", "uri": "screen"})
    assert error.refusal.field == "source.uri"
    assert "a display such as :10" in error.refusal.expected


# --- videos that are damaged ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "codec"), [("cut.avi", "MJPG"), ("cut.mkv", "MJPG"), ("cut.mkv", "FFV1")]
)
async def test_a_truncated_video_is_sealed_with_a_gap_for_what_it_had_declared(
    recorder: RunningRecorder, tmp_path: Path, name: str, codec: str
) -> None:
    path = cut(write_video(tmp_path / name, codec))
    read = readable_frames(path)
    assert 40 < read < 60
    session_id, report = await recorder.record(file_source(path))
    assert (report.verdict, report.end_reason) == (Verdict.COMPLETE_WITH_GAPS, "source_lost")
    gap = only(list(report.gaps))
    assert (gap.reason, gap.first_unit, gap.lost_units) == ("source_lost", read, 100 - read)
    assert "declares 100 frames but only" in gap.detail
    assert report.totals.frame_count == read
    assert len(recorder.pictures(session_id)) == read
    failed = only(await recorder.facts(Fact.FAILED, session_id))
    assert isinstance(failed, SessionFailed)
    assert "truncated or damaged" in failed.detail


async def test_a_truncated_video_that_declares_no_length_just_ends(
    recorder: RunningRecorder, tmp_path: Path
) -> None:
    # A row of JPEGs has no header: nothing says that there were more.
    path = tmp_path / "row.mjpeg"
    random = np.random.default_rng(1)
    pictures = [random.integers(0, 256, (48, 64, 3), dtype=np.uint8) for _ in range(100)]
    path.write_bytes(b"".join(cv2.imencode(".jpg", picture)[1].tobytes() for picture in pictures))
    read = readable_frames(cut(path))
    assert 40 < read < 60
    _, report = await recorder.record(file_source(path))
    assert (report.verdict, report.end_reason) == (Verdict.COMPLETE, "source_ended")
    assert report.totals.frame_count == read


async def test_a_truncated_video_whose_index_stood_at_its_end_is_refused(
    recorder: RunningRecorder, tmp_path: Path
) -> None:
    path = cut(write_video(tmp_path / "cut.mp4", "mp4v"))
    hint = await refused_source(recorder, file_source(path))
    assert "or cut short before its index was written" in hint


# --- odd and changing sizes ----------------------------------------------------------------------


@pytest.mark.parametrize(("width", "height"), [(1, 1), (37, 41), (7680, 4320)])
async def test_odd_sizes_are_recorded_bit_for_bit(
    recorder: RunningRecorder, width: int, height: int
) -> None:
    size = {"width": width, "height": height}
    session_id, report = await recorder.record(
        {"kind": "pattern", "pace": "fast", "frames": 2, **size}
    )
    assert report.verdict is Verdict.COMPLETE
    assert assert_pattern(recorder, session_id, **size) == 2


async def test_a_size_that_changes_in_mid_session_is_recorded_bit_for_bit(
    recorder: RunningRecorder,
) -> None:
    source = {"width": 200, "height": 120, "resize_every": 4}
    session_id, report = await recorder.record(
        {"kind": "pattern", "pace": "fast", "frames": 20, **source}
    )
    assert report.verdict is Verdict.COMPLETE
    assert assert_pattern(recorder, session_id, **source) == 20
    shapes = [picture.shape[:2] for picture in recorder.pictures(session_id)]
    assert shapes == ([(120, 200)] * 4 + [(90, 150)] * 4) * 2 + [(120, 200)] * 4


async def test_a_display_that_is_resized_in_mid_session_is_recorded_at_both_sizes(
    recorder: RunningRecorder,
) -> None:
    with XServer(320, 200) as server:
        server.paint(np.full((200, 320, 4), 77, np.uint8))
        source = {"kind": "x11", "uri": server.display}
        started = await recorder.client.start(source, fps=20)
        await recorder.captured(started.session_id)
        await asyncio.to_thread(server.resize, 250, 130)
        changed = await recorder.client.last(Fact.CAPTURED, started.session_id)
        assert isinstance(changed, Captured)  # a segment, or a gap where nothing was read for long
        # Two on: the one that was being filled may have begun before the resize.
        beyond = await recorder.captured(started.session_id, changed.cursor.t_ns)
        await recorder.captured(started.session_id, beyond.cursor.t_ns)
        await recorder.client.stop(started.session_id)
        sealed = await recorder.sealed(started.session_id)
    assert sealed.reason.value == "stopped"
    report = recorder.report(started.session_id)
    # A machine that stops for a second loses frames of a live display: then that is recorded.
    assert {gap.reason for gap in report.gaps} <= {"back_pressure"}
    pictures = recorder.pictures(started.session_id)
    shapes = [picture.shape for picture in pictures]
    first_small = shapes.index((130, 250, 3))
    assert first_small > 0
    assert shapes == [(200, 320, 3)] * first_small + [(130, 250, 3)] * (len(shapes) - first_small)
    assert all((picture == 77).all() for picture in pictures[:first_small])


async def test_a_display_that_dies_in_mid_session_seals_what_there_is(
    recorder: RunningRecorder,
) -> None:
    with XServer(64, 48) as server:
        source = {"kind": "x11", "uri": server.display}
        started = await recorder.client.start(source, fps=20)
        await recorder.captured(started.session_id)
        server.kill()
        sealed = await recorder.sealed(started.session_id)
    assert sealed.reason.value == "source_lost"
    report = recorder.report(started.session_id)
    assert report.verdict is Verdict.COMPLETE_WITH_GAPS
    gap = report.gaps[-1]
    assert (gap.reason, gap.t1_ns) == ("source_lost", report.t_end_ns)
    retry_s = recorder.settings.capture.retry_s
    assert (gap.t1_ns - gap.t0_ns) / 1e9 >= retry_s, "it was tried again for so long"
    assert gap.lost_units >= retry_s * 20 - 1
    failed = only(await recorder.facts(Fact.FAILED, started.session_id))
    assert f"display {server.display}" in failed.detail
