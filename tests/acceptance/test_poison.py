"""A message that kills its worker each time: it is found, given up, and nobody else pays for it.

Real workers really die. What kills them is planted into their processes from outside: a
`sitecustomize` in front of their path, which no other process has.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from plant import Plant
from videos import write_video
from worker_process import POLL_S, WorkerProcess

from recorder_worker.bus.connection.broker import Login
from recorder_worker.bus.dead_letters.letter_client import DeadLetterClient
from recorder_worker.core.dead_letters import DeadLetter
from recorder_worker.core.errors import RefusedError
from recorder_worker.core.events import SessionFailed
from recorder_worker.core.model import EndReason, GapReason
from recorder_worker.core.subjects import Fact
from recorder_worker.core.verify.verdicts import Verdict

LIVE = {"kind": "pattern", "width": 32, "height": 32}
MAX_CRASHES = 4
SETTINGS = {"RECORDER_RETRY__MAX_CRASHES": str(MAX_CRASHES)}
# Each death costs a lease. One that runs out because the machine stands still is one more gap.
DEATHS = SETTINGS | {"RECORDER_CAPTURE__LEASE_S": "2"}
DEADLINE_S = 240.0
"""Each death costs a lease and the start of a process."""

pytestmark = pytest.mark.timeout(600)

DECODER = """
import os, signal
from recorder_worker.adapters.sources.file import VideoFile
decode = VideoFile._decode

def deadly(self):
    if self._path.name == "poison.avi" and self._unit == {unit}:
        os.kill(os.getpid(), signal.SIGSEGV)
    return decode(self)

VideoFile._decode = deadly
"""
COMPRESSOR = """
import os, pathlib, signal
from recorder_worker.stages import compress
store_payload = compress.store_payload

def deadly(store, plan, cipher):
    if plan.index == 2 and plan.session_id == pathlib.Path({name!r}).read_text():
        os.kill(os.getpid(), signal.SIGKILL)
    return store_payload(store, plan, cipher)

compress.store_payload = deadly
"""


class Deadly:
    """A worker of one stage that dies of what is planted, and is started again each time."""

    def __init__(self, plant: Plant, stage: str, planted: str) -> None:
        folder = plant.folder / "deadly"
        hook = folder / "hook"
        hook.mkdir(parents=True)
        (hook / "sitecustomize.py").write_text(planted)
        for worker in plant.workers[stage]:
            worker.terminate()
        self._worker = WorkerProcess(folder, stage, env=plant.env | {"PYTHONPATH": str(hook)})
        self.deaths: list[int] = []
        self.lines: list[dict[str, Any]] = []

    @asynccontextmanager
    async def alive(self) -> AsyncIterator[None]:
        with self._worker as worker:
            keeping = asyncio.create_task(self._keep(worker))
            try:
                yield
            finally:
                keeping.cancel()
                with suppress(asyncio.CancelledError):
                    await keeping
                self.lines += worker.lines
                print(self.deaths, *self.lines, sep="\n")

    async def _keep(self, worker: WorkerProcess) -> None:
        while True:
            await asyncio.sleep(POLL_S)
            if not worker.running:
                self.deaths.append(await asyncio.to_thread(worker.wait))
                self.lines += worker.lines
                worker.spawn()


async def letters(plant: Plant) -> list[DeadLetter]:
    async with DeadLetterClient.connect(Login(servers=(plant.nats.url,))) as client:
        return [seen.letter for seen in await client.all()]


async def only_letter(plant: Plant) -> DeadLetter:
    async with asyncio.timeout(DEADLINE_S):
        while not (found := await letters(plant)):
            await asyncio.sleep(0.2)
    (letter,) = found
    return letter


async def stop(plant: Plant, *sessions: str) -> None:
    """Each goes on, ends by its stop, and has gaps only where its worker was dead."""
    for session_id in sessions:
        async with plant.client() as client:
            await client.stop(session_id)
        sealed = await plant.sealed(session_id)
        report = plant.verify(session_id)
        assert sealed.reason is EndReason.STOPPED
        assert report.verdict is Verdict.COMPLETE_WITH_GAPS
        assert {gap.reason for gap in report.gaps} <= {GapReason.CRASH, GapReason.HANDOVER}
        assert report.totals.frame_count > 0


def film(folder: Path, name: str) -> dict[str, str]:
    path = folder / name
    write_video(path, "MJPG", frames=40)
    return {"kind": "file", "uri": str(path), "pace": "native"}


async def test_a_file_that_kills_the_decoder_is_given_up_and_its_session_sealed_with_what_it_has(
    tmp_path: Path,
) -> None:
    with Plant(tmp_path, DEATHS) as plant:
        deadly = Deadly(plant, "capture", DECODER.format(unit=20))
        async with deadly.alive():
            innocent = await plant.start_session(LIVE, fps=10)
            poison = await plant.start_session(film(tmp_path, "poison.avi"))
            letter = await only_letter(plant)
            assert (letter.stage, letter.session_id) == ("capture", poison)
            assert f"its worker died {MAX_CRASHES} times with this message" in letter.reason
            sealed = await plant.sealed(poison)
            assert sealed.reason is EndReason.WORKER_LOST
            report = plant.verify(poison)
            assert report.verdict is Verdict.COMPLETE_WITH_GAPS
            assert 0 < report.totals.frame_count < 21
            async with plant.client() as client:
                failed = await client.last(Fact.FAILED, poison)
            assert isinstance(failed, SessionFailed)
            assert "its worker died" in failed.detail
            await stop(plant, innocent)
        assert {-signal.SIGSEGV} == set(deadly.deaths)
        assert len(deadly.deaths) >= MAX_CRASHES
        assert len(await letters(plant)) == 1
        left = tmp_path / "data" / "attempts"
        assert [path.name for path in left.iterdir()] == []


async def test_one_that_kills_at_once_takes_no_innocent_suspect_along(tmp_path: Path) -> None:
    """All begin together behind each death, and none has got on by then: all are suspects."""
    with Plant(tmp_path, DEATHS) as plant:
        deadly = Deadly(plant, "capture", DECODER.format(unit=0))
        async with deadly.alive():
            innocents = [await plant.start_session(LIVE, fps=10) for _ in range(3)]
            async with plant.client() as client:
                with pytest.raises(RefusedError, match="its worker died") as refused:
                    await client.start(film(tmp_path, "poison.avi"), timeout_s=DEADLINE_S)
            assert "recorder dead retry" in refused.value.refusal.hint
            letter = await only_letter(plant)
            assert letter.stage == "capture"
            assert letter.session_id not in innocents
            await stop(plant, *innocents)
        assert len(await letters(plant)) == 1
        suspected = [line for line in deadly.lines if line.get("event") == "MessageSuspected"]
        assert suspected, "the lane was not in use"


async def test_a_chunk_that_kills_is_a_gap_and_its_session_and_others_go_on(
    tmp_path: Path,
) -> None:
    named = tmp_path / "poisoned"
    named.write_text("nobody yet")
    with Plant(tmp_path, SETTINGS) as plant:
        deadly = Deadly(plant, "compress", COMPRESSOR.format(name=str(named)))
        async with deadly.alive():
            innocent = await plant.start_session(LIVE, fps=10)
            poison = await plant.start_session(LIVE | {"seed": 5}, fps=10)
            named.write_text(poison)
            letter = await only_letter(plant)
            assert (letter.stage, letter.session_id) == ("compress", poison)
            for session_id in (innocent, poison):
                async with plant.client() as client:
                    await client.stop(session_id)
                sealed = await plant.sealed(session_id)
                assert sealed.reason is EndReason.STOPPED
            assert plant.verify(innocent).verdict is Verdict.COMPLETE
            report = plant.verify(poison)
            assert report.verdict is Verdict.COMPLETE_WITH_GAPS
            (gap,) = report.gaps
            assert gap.reason == GapReason.DEAD_LETTER
        assert {-signal.SIGKILL} == set(deadly.deaths)
        assert len(await letters(plant)) == 1
