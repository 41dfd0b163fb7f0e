"""A session that is slowed down or held says so to whoever asks, and stays slow at a takeover."""

from __future__ import annotations

import asyncio
import json
import shutil
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import msgspec
import pytest
from plant import Plant, gaps_of
from worker_process import run_recorder
from xserver import XServer

from recorder_worker.core import notes
from recorder_worker.core.events import GapCaptured, MarkCaptured, SegmentCaptured
from recorder_worker.core.model import GapReason, Slowed
from recorder_worker.core.subjects import Fact
from recorder_worker.core.verify.verdicts import Verdict

DEADLINE_S = 90.0
MARKS = 40
ENVIRONMENT = {
    "RECORDER_LOAD__BEHIND_HIGH_MESSAGES": str(MARKS),
    "RECORDER_LOAD__BEHIND_LOW_MESSAGES": "10",
    "RECORDER_LOAD__BEHIND_STEP_S": "600",  # one step down, and no more
    "RECORDER_LOAD__LATE_LOW": "0.99",
    "RECORDER_LOAD__WINDOW_S": "3",  # so long that a read in time is in it, whatever stood still
    "RECORDER_LOAD__CALM_WINDOWS": "2",
    "RECORDER_CAPTURE__SEGMENT_S": "0.25",
}
LONGEST_OPEN_S = 60
SLOWED = Slowed(fps=5, reason="behind")

pytestmark = pytest.mark.timeout(300)


@pytest.fixture
def plant(tmp_path: Path) -> Iterator[Plant]:
    with Plant(tmp_path, ENVIRONMENT) as running:
        yield running


class Told:
    """What `recorder` says of sessions."""

    def __init__(self, plant: Plant) -> None:
        self._folder = plant.folder
        self._env = {"RECORDER_NATS__URL": plant.nats.url}

    def text(self, *arguments: str) -> str:
        ended = run_recorder(*arguments, folder=self._folder, env=self._env)
        assert ended.returncode == 0, ended.stderr
        return ended.stdout

    def show(self, session_id: str) -> dict[str, Any]:
        shown: dict[str, Any] = json.loads(self.text("show", session_id, "--json"))
        return shown


@pytest.mark.skipif(shutil.which("Xvfb") is None, reason="needs Xvfb: scripts/setup-system.sh")
async def test_load_is_told_and_a_lower_rate_outlives_the_worker_that_lowered_it(
    plant: Plant,
) -> None:
    told = Told(plant)
    with XServer(64, 48) as server:
        source = {"kind": "x11", "uri": server.display}
        slow, held = [
            await plant.start_session(source, fps=10, when_behind=policy)
            for policy in ("slow", "gap")
        ]
        own = await asyncio.to_thread(told.show, slow)
        assert (own["state"], own["slowed"], own["held"], own["load"]) == (
            *("recording", None, False),
            "",
        )
        await asyncio.to_thread(plant.kill, "compress")
        async with plant.client() as client, client.follow(slow) as facts:
            for number in range(MARKS):
                await client.mark(slow, f"mark {number}")
            await _rate(facts, to_fps=5)
            await plant.until(held, Fact.CAPTURED, 2)
            await _until_held(told, held)
            shown, listed = await asyncio.gather(
                asyncio.to_thread(told.show, slow), asyncio.to_thread(told.text, "ls")
            )
            assert shown["slowed"] == {"fps": 5, "reason": "behind"}
            assert shown["load"] == "slowed to 5 frames a second, for later stages are behind"
            assert "recording (slowed to 5 fps)" in listed
            assert "recording (held)" in listed

            await asyncio.to_thread(plant.kill, "capture")
            await asyncio.to_thread(plant.start_again, "capture")
            carried = await _behind_crash(facts)
            assert msgspec.json.decode(carried.body, type=notes.RateChanged) == notes.RateChanged(
                from_fps=10,
                to_fps=5,
                reason="behind",
                detail="so it was at the worker that had this session before",
            )
            assert carried.slowed == SLOWED
            await _segment(facts, slowed=SLOWED)
            await asyncio.to_thread(plant.start_again, "compress")
            back = await _rate(facts, to_fps=10)
            assert back.slowed is None, "it says so itself"
            await _segment(facts, slowed=None)
            for session_id in (slow, held):
                await client.stop(session_id)
        for session_id in (slow, held):
            await plant.sealed(session_id)
            shown = await asyncio.to_thread(told.show, session_id)
            assert (shown["state"], shown["load"]) == ("sealed", "")
    report = plant.verify(slow)
    assert report.verdict is Verdict.COMPLETE_WITH_GAPS
    assert {gap.reason for gap in gaps_of(report)} == {"crash"}
    rates = [mark.says for mark in report.marks if mark.kind == notes.RATE]
    assert [words.split(":")[0] for words in rates] == [
        "lowered from 10 to 5 frames a second, for later stages are behind",
        "lowered from 10 to 5 frames a second, for later stages are behind",
        "raised from 5 to 10 frames a second",
    ]


async def _rate(facts: Any, to_fps: float) -> MarkCaptured:  # noqa: ANN401  (an iterator of facts)
    async with asyncio.timeout(DEADLINE_S):
        async for seen in facts:
            event = seen.event
            if isinstance(event, MarkCaptured) and event.kind == notes.RATE:
                body = msgspec.json.decode(event.body, type=notes.RateChanged)
                if body.to_fps == to_fps:
                    return event
    raise AssertionError("facts never end")


async def _segment(facts: Any, slowed: Slowed | None) -> None:  # noqa: ANN401  (as above)
    async with asyncio.timeout(DEADLINE_S):
        async for seen in facts:
            if isinstance(seen.event, SegmentCaptured):
                assert seen.event.slowed == slowed
                return


async def _behind_crash(facts: Any) -> MarkCaptured:  # noqa: ANN401  (as above)
    """The note behind the gap of a crash; no frame comes between."""
    behind = False
    async with asyncio.timeout(DEADLINE_S):
        async for seen in facts:
            event = seen.event
            behind = behind or (isinstance(event, GapCaptured) and event.reason is GapReason.CRASH)
            if behind and isinstance(event, MarkCaptured):
                assert event.kind == notes.RATE
                return event
            assert not (behind and isinstance(event, SegmentCaptured))
    raise AssertionError("facts never end")


async def _until_held(told: Told, session_id: str) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while not (await asyncio.to_thread(told.show, session_id))["held"]:
            await asyncio.sleep(0.1)
    shown = await asyncio.to_thread(told.text, "show", session_id)
    assert "held, not read, for later stages are behind" in shown


# --- a worker that stops while it opens a source --------------------------------------------------


class SilentServer:
    """Takes connections, and says nothing."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._taken: list[socket.socket] = []
        self._news = threading.Condition()
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._take, daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for each in (self._listener, *self._taken):
            each.close()

    def wait_for(self, count: int) -> None:
        with self._news:
            assert self._news.wait_for(lambda: len(self._taken) >= count, DEADLINE_S)

    def _take(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with self._news:
                self._taken.append(connection)
                self._news.notify_all()


async def test_a_worker_that_stops_while_a_source_is_opened_gives_the_start_back_at_once(
    plant: Plant,
) -> None:
    with SilentServer() as server:
        uri = f"rtsp://localhost:{server.port}/camera"
        source = {"kind": "rtsp", "uri": uri, "open_s": LONGEST_OPEN_S}
        async with plant.client() as client:
            starting = asyncio.ensure_future(
                client.start(source, profile="copy", timeout_s=2 * LONGEST_OPEN_S)
            )
            await asyncio.to_thread(server.wait_for, 1)
            (worker,) = plant.workers["capture"]
            began_s = asyncio.get_running_loop().time()
            assert await asyncio.to_thread(worker.terminate) == 0
            ended_s = asyncio.get_running_loop().time()
            assert ended_s - began_s < LONGEST_OPEN_S / 2, "the try was not waited for"
            await asyncio.to_thread(worker.start)
            await asyncio.to_thread(server.wait_for, 2)
            assert not starting.done(), "neither started nor refused: it is tried again"
            starting.cancel()
