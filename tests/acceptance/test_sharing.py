"""Several workers of every stage share the work, keep order per session, and replace each other."""

from __future__ import annotations

import asyncio
import signal
import time
import urllib.request
from collections.abc import Iterator

import pytest
from plant import STAGES, Plant
from worker_process import DEADLINE_S, WorkerProcess

from recorder_worker.core.subjects import Fact
from recorder_worker.core.verify.verdicts import Verdict

SESSIONS = 6
"""More than one capture worker of the plant takes at once."""
FRAMES = 150
SOURCE = {"kind": "pattern", "width": 320, "height": 200, "frames": FRAMES, "pace": "fast"}

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def plant(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plant]:
    with Plant(tmp_path_factory.mktemp("plant")) as running:
        for stage in STAGES:
            running.add(stage)
        yield running


def handled(worker: WorkerProcess, stage: str) -> int:
    """How many messages a worker has handled, as its metrics say."""
    with urllib.request.urlopen(f"http://127.0.0.1:{worker.sidecar_port}/metrics") as answer:
        lines = answer.read().decode().splitlines()
    wanted = f'recorder_messages_total{{outcome="ok",stage="{stage}"}}'
    return next((int(float(line.split()[-1])) for line in lines if line.startswith(wanted)), 0)


async def test_two_workers_of_each_stage_share_many_sessions_and_each_seals_whole(
    plant: Plant,
) -> None:
    # A worker that stands still for a moment takes nothing of the first sessions.
    deadline = time.monotonic() + DEADLINE_S
    while True:
        sessions = await asyncio.gather(*(plant.start_session(SOURCE) for _ in range(SESSIONS)))
        for session_id in sessions:
            sealed = await plant.sealed(session_id)
            report = plant.verify(session_id)
            assert (report.verdict, report.root_hash) == (Verdict.COMPLETE, sealed.root_hash)
            assert sealed.frame_count == FRAMES
        counts = {
            stage: [handled(worker, stage) for worker in plant.workers[stage]] for stage in STAGES
        }
        if all(map(all, counts.values())):
            return
        assert time.monotonic() < deadline, counts


async def test_the_leaves_of_a_session_are_published_in_order_though_two_workers_make_them(
    plant: Plant,
) -> None:
    session_id = await plant.start_session(SOURCE)
    await plant.sealed(session_id)
    places: dict[Fact, list[int]] = {Fact.CHUNKED: [], Fact.CHECKPOINT: []}
    async with plant.client() as client, client.follow(session_id) as facts:
        async for seen in facts:
            if seen.fact is Fact.CHUNKED:
                places[seen.fact].append(seen.event.index)  # type: ignore[attr-defined]
            if seen.fact is Fact.CHECKPOINT:
                places[seen.fact].append(seen.event.tree_size)  # type: ignore[attr-defined]
            if seen.fact is Fact.SEALED:
                break
    assert places[Fact.CHUNKED] == list(range(len(places[Fact.CHUNKED])))
    assert places[Fact.CHECKPOINT] == list(range(1, len(places[Fact.CHUNKED]) + 1))


async def test_when_one_of_two_workers_dies_the_other_does_its_work(plant: Plant) -> None:
    sessions = await asyncio.gather(*(plant.start_session(SOURCE) for _ in range(SESSIONS)))
    await plant.until(sessions[0], Fact.CHUNKED, 3)
    for stage in STAGES[1:]:
        await asyncio.to_thread(plant.workers[stage][0].kill)
    for session_id in sessions:
        sealed = await plant.sealed(session_id)
        assert plant.verify(session_id).verdict is Verdict.COMPLETE
        again = await plant.replay(session_id)
        assert (again.same, again.root_hash) == (True, sealed.root_hash)


async def test_a_session_whose_worker_is_killed_goes_on_with_the_other_without_a_restart(
    plant: Plant,
) -> None:
    source = SOURCE | {"pace": "native", "frames": 140}
    session_id = await plant.start_session(source, fps=20)
    await plant.until(session_id, Fact.CAPTURED, 3)
    (holder,) = (
        worker
        for worker in plant.workers["capture"]
        if any(line.get("session_id") == session_id for line in worker.lines)
    )
    await asyncio.to_thread(holder.kill)
    sealed = await plant.sealed(session_id)
    await asyncio.to_thread(holder.start)
    report = plant.verify(session_id)
    assert (report.verdict, len(report.gaps)) == (Verdict.COMPLETE_WITH_GAPS, 1)
    assert sealed.frame_count == 140


async def test_a_worker_that_wakes_up_late_is_fenced_off_and_cannot_write_into_the_record(
    plant: Plant,
) -> None:
    source = SOURCE | {"pace": "native", "frames": 160}
    session_id = await plant.start_session(source, fps=20)
    await plant.until(session_id, Fact.CAPTURED, 3)
    holder, other = sorted(
        (worker for worker in plant.workers["capture"]),
        key=lambda worker: not any(line.get("session_id") == session_id for line in worker.lines),
    )
    holder.signal(signal.SIGSTOP)
    await asyncio.to_thread(other.logged, "LeaseTaken", session_id=session_id)
    holder.signal(signal.SIGCONT)
    await asyncio.to_thread(holder.logged, "MessageLeft", stage="capture")
    sealed = await plant.sealed(session_id)
    report = plant.verify(session_id)
    assert (report.verdict, len(report.gaps)) == (Verdict.COMPLETE_WITH_GAPS, 1)
    assert sealed.frame_count == 160
