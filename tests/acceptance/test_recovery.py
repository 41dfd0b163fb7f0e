"""kill -9 at any moment, start again: the session seals, and what was lost is a gap or nothing."""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from plant import LEASE_S, Plant, gaps_of
from reference import check
from worker_process import WorkerProcess
from xserver import XServer

from recorder_worker.adapters.folder import FolderRecording
from recorder_worker.bus.streams.topology import INTEGRATION_STREAM
from recorder_worker.client import RecorderClient
from recorder_worker.core.events import IntegrityFailed
from recorder_worker.core.subjects import Fact
from recorder_worker.core.verify.report import GapFound
from recorder_worker.core.verify.verdicts import Verdict
from recorder_worker.core.verify.verifier import verify

CLIP = Path(__file__).parents[2] / "demo" / "screen.mkv"
FAST_CLIP = {"kind": "file", "uri": str(CLIP), "pace": "fast"}
LIVE_PATTERN = {"kind": "pattern", "width": 640, "height": 360, "frames": 140, "pace": "native"}

pytestmark = pytest.mark.timeout(300)

MOMENTS = [
    ("chunk", Fact.CAPTURED, 3),
    ("chunk", Fact.CHUNKED, 3),
    ("compress", Fact.CHUNKED, 2),
    ("compress", Fact.COMPRESSED, 3),
    ("merkle", Fact.HEAD, 2),
    ("merkle", Fact.CHECKPOINT, 3),
    ("nats", Fact.CAPTURED, 3),
    ("nats", Fact.CHECKPOINT, 3),
]


@pytest.fixture(scope="module")
def plant(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plant]:
    with Plant(tmp_path_factory.mktemp("plant")) as running:
        yield running


@pytest.mark.parametrize(("target", "fact", "count"), MOMENTS)
async def test_killing_anything_but_capture_loses_nothing_and_changes_nothing(
    plant: Plant, target: str, fact: Fact, count: int
) -> None:
    session_id = await plant.start_session(FAST_CLIP)
    await plant.until(session_id, fact, count)
    await asyncio.to_thread(plant.kill, target)
    await asyncio.to_thread(plant.start_again, target)
    sealed = await plant.sealed(session_id)
    report = plant.verify(session_id)
    assert (report.verdict, report.root_hash) == (Verdict.COMPLETE, sealed.root_hash)
    assert sealed.frame_count == 250
    assert sealed.gap_count == 0
    again = await plant.replay(session_id)
    assert again.same, again.difference
    assert again.root_hash == sealed.root_hash


@pytest.mark.parametrize("count", [2, 6])
async def test_killing_capture_leaves_one_gap_with_true_times_and_loses_no_frame_of_a_pattern(
    plant: Plant, count: int
) -> None:
    session_id = await plant.start_session(LIVE_PATTERN, fps=20)
    await plant.until(session_id, Fact.CAPTURED, count)
    gap, killed_ns, started_ns = await _kill_capture(plant, session_id)
    assert gap.wall0_ns <= killed_ns <= started_ns <= gap.wall1_ns
    assert gap.lost_units == 0, "material waits for its reader: every frame is there"
    assert plant.verify(session_id).totals.frame_count == 140


@pytest.mark.skipif(shutil.which("Xvfb") is None, reason="needs Xvfb: scripts/setup-system.sh")
async def test_killing_capture_of_a_display_declares_the_frames_of_the_gap_as_lost(
    plant: Plant,
) -> None:
    with XServer(320, 240) as server:
        source = {"kind": "x11", "uri": server.display}
        session_id = await plant.start_session(source, fps=10)
        await plant.until(session_id, Fact.CAPTURED, 4)
        gap, killed_ns, started_ns = await _kill_capture(plant, session_id, stop=True)
    assert gap.wall0_ns <= killed_ns <= started_ns <= gap.wall1_ns
    lasted_s = (gap.t1_ns - gap.t0_ns) / 1e9
    assert lasted_s == pytest.approx((gap.wall1_ns - gap.wall0_ns) / 1e9, abs=0.2)
    assert gap.lost_units == pytest.approx(lasted_s * 10, abs=1)


async def test_the_second_implementation_agrees_on_a_recording_that_was_disturbed(
    plant: Plant,
) -> None:
    session_id = await plant.start_session(LIVE_PATTERN, fps=20)
    await plant.until(session_id, Fact.CAPTURED, 3)
    await asyncio.to_thread(plant.kill, "capture")
    await asyncio.to_thread(plant.start_again, "capture")
    sealed = await plant.sealed(session_id)
    found = check(plant.recording(session_id))
    assert found["verdict"] == "COMPLETE_WITH_GAPS"
    assert found["root_hash"] == sealed.root_hash
    assert len(found["frames"]) == sealed.frame_count


async def test_a_segment_that_is_damaged_before_it_is_compressed_becomes_a_gap_and_a_dead_letter(
    plant: Plant,
) -> None:
    await asyncio.to_thread(plant.kill, "compress")
    session_id = await plant.start_session(LIVE_PATTERN | {"pace": "fast"}, fps=20)
    await plant.until(session_id, Fact.CHUNKED, 7)
    segments = sorted((plant.recording(session_id) / "segments").iterdir())
    segments[4].chmod(0o600)
    segments[4].write_bytes(segments[4].read_bytes()[:-1] + b"?")
    await asyncio.to_thread(plant.start_again, "compress")
    sealed = await plant.sealed(session_id)
    report = plant.verify(session_id)
    assert report.verdict is Verdict.COMPLETE_WITH_GAPS
    (gap,) = report.gaps
    assert (gap.reason, gap.lost_units) == ("dead_letter", 140 - sealed.frame_count)
    assert segments[4].name in gap.detail
    (worker,) = plant.workers["compress"]
    dead = worker.logged("MessageDeadLettered", stage="compress")
    assert "BlobDamagedError" in dead["reason"]
    told = await plant.last(INTEGRATION_STREAM, Fact.INTEGRITY_FAILED)
    assert isinstance(told, IntegrityFailed)
    assert (told.session_id, told.stage, told.problem) == (session_id, "compress", "damaged")
    assert segments[4].name in told.detail


async def test_a_stop_for_a_session_whose_worker_is_down_is_honoured_when_it_comes_back(
    plant: Plant,
) -> None:
    session_id = await plant.start_session(LIVE_PATTERN | {"frames": None}, fps=20)
    await plant.until(session_id, Fact.CAPTURED, 3)
    await asyncio.to_thread(plant.kill, "capture")
    async with plant.client() as client:
        await client.stop(session_id)
    await asyncio.to_thread(plant.start_again, "capture")
    sealed = await plant.sealed(session_id)
    assert sealed.reason == "stopped"


async def test_sigterm_hands_the_session_over_and_says_so(plant: Plant) -> None:
    session_id = await plant.start_session(LIVE_PATTERN, fps=20)
    await plant.until(session_id, Fact.CAPTURED, 3)
    (worker,) = plant.workers["capture"]
    assert await asyncio.to_thread(worker.terminate) == 0
    await asyncio.to_thread(worker.start)
    sealed = await plant.sealed(session_id)
    (gap,) = plant.verify(session_id).gaps
    assert (gap.reason, gap.lost_units) == ("handover", 0)
    assert sealed.frame_count == 140


async def _kill_capture(
    plant: Plant, session_id: str, *, stop: bool = False
) -> tuple[GapFound, int, int]:
    """Kill capture and start it again; the gap, when it was killed and when it was started.

    With `stop` the session does not end by itself.
    """
    await asyncio.to_thread(plant.kill, "capture")
    killed_ns = time.time_ns()
    started_ns = time.time_ns()
    await asyncio.to_thread(plant.start_again, "capture")
    taken = plant.workers["capture"][0].logged("LeaseTaken", session_id=session_id)
    if stop:
        async with plant.client() as client:
            await client.stop(session_id)
    sealed = await plant.sealed(session_id)
    report = plant.verify(session_id)
    assert (report.verdict, report.root_hash) == (Verdict.COMPLETE_WITH_GAPS, sealed.root_hash)
    (gap,) = gaps_of(report)
    assert gap.reason == "crash"
    assert taken["takeover"] is True
    return gap, killed_ns, started_ns


async def test_a_whole_recorder_with_its_embedded_server_killed_at_once_goes_on(
    tmp_path: Path,
) -> None:
    short_lease = {"RECORDER_CAPTURE__LEASE_S": LEASE_S, "RECORDER_DISK__FLOOR_BYTES": "0"}
    with WorkerProcess(tmp_path, env=short_lease) as worker:
        async with RecorderClient.connect(worker.nats_url) as client:
            started = await client.start(LIVE_PATTERN, fps=20)
            async with client.follow(started.session_id) as facts:
                async for seen in facts:
                    if seen.fact is Fact.CHECKPOINT:
                        break
        worker.kill()
        await asyncio.to_thread(worker.restart)
        async with RecorderClient.connect(worker.nats_url) as client:
            sealed = await client.wait_sealed(started.session_id, 60)
        report = verify(FolderRecording(Path(sealed.location)))
    assert (report.verdict, len(report.gaps)) == (Verdict.COMPLETE_WITH_GAPS, 1)
    assert sealed.frame_count == 140
