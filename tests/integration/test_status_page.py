"""`/status` of a real recorder, looked at with a real Chromium, as a phone and as a desktop."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import msgspec
import pytest
from chromium import Scheme, needs_chromium, open_page
from nats_process import NatsProcess
from running_recorder import DEADLINE_S, POLL_S, RunningRecorder, settings_in

from recorder_worker.bus.sessions.roster import SessionState
from recorder_worker.core.load.words import load_words
from recorder_worker.core.model import ClockState, Slowed
from recorder_worker.service.observing.health import Check, Health
from recorder_worker.service.observing.metrics import Metrics
from recorder_worker.service.settings.tree import NatsSettings, SidecarSettings
from recorder_worker.service.sidecar.server import About, Sidecar
from recorder_worker.service.sidecar.status import (
    SHOWN_SESSIONS,
    SessionRow,
    StageRow,
    Status,
    StreamRow,
)

PHONE = (390, 844)
DESKTOP = (1280, 900)
HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(2)>\"'&{{7*7}}"


def row(**fields: object) -> SessionRow:
    one = SessionRow(
        session_id="0192aaaa-0000-7000-8000-000000000001",
        number=1,
        state=SessionState.RECORDING,
        load="",
        here=True,
        kind="pattern",
        uri="pattern:desktop",
        node="n1",
        captured_units=120,
        frames=100,
        gaps=0,
        lost_units=0,
        stored_bytes=5_000_000,
        checkpoint_age_s=3.0,
        late=False,
        reason="",
        incident="",
    )
    return msgspec.structs.replace(one, **fields)


def status(**fields: object) -> Status:
    shown = Status(
        about=About("1.2.3", "n1", ("capture", "merkle")),
        wall_ns=1_795_641_808_000_000_000,
        ok=True,
        checks=(Check("bus", ok=True, detail="connected"),),
        sessions=(row(),),
        sessions_known=1,
        leases=1,
        stages=(
            StageRow(
                stage="merkle",
                here=True,
                waiting=3,
                working=1,
                lag_s=90.0,
                handled=12,
                redelivered=2,
                dead_letters=1,
                dead_waiting=None,
            ),
        ),
        streams=(
            StreamRow(stream="SESSIONS", messages=1000, stored_bytes=10**9, percent=93.1),
            StreamRow(stream="REGISTER", messages=10, stored_bytes=1000, percent=None),
        ),
        log_entries=7,
        log_root="ab" * 32,
        log_age_s=200.0,
        free_bytes=10**9,
        floor_bytes=5 * 10**8,
        spool_segments=4,
        spool_bytes=2**21,
        clock=ClockState.SYNCHRONISED,
        sample_age_s=1.0,
        missing=(),
    )
    return msgspec.structs.replace(shown, **fields)


@asynccontextmanager
async def shown(what: Status) -> AsyncIterator[str]:
    """The address of a sidecar that shows a status."""

    async def look() -> Status:
        return what

    sidecar = Sidecar(
        SidecarSettings(port=0),
        about=what.about,
        health=Health(),
        metrics=Metrics(version="1", node="n"),
        sessions_active=lambda: 0,
        status=look,
    )
    await sidecar.start()
    try:
        yield f"http://127.0.0.1:{sidecar.port}/status"
    finally:
        await sidecar.stop()


async def fetched(url: str) -> tuple[str, dict[str, str]]:
    async with aiohttp.ClientSession() as session, session.get(url) as answer:
        assert answer.status == 200
        return await answer.text(), dict(answer.headers)


# --- what is safe to show -------------------------------------------------------------------------


async def test_hostile_text_is_shown_as_text_and_nothing_may_run_or_be_loaded() -> None:
    hostile = status(
        about=About(HOSTILE, HOSTILE, (HOSTILE,)),
        checks=(Check(HOSTILE, ok=False, detail=HOSTILE),),
        sessions=(
            row(
                session_id=HOSTILE,
                kind=HOSTILE,
                uri=HOSTILE,
                node=HOSTILE,
                load=HOSTILE,
                reason=HOSTILE,
                incident=HOSTILE,
                state=SessionState.INCIDENT,
            ),
        ),
        streams=(StreamRow(stream=HOSTILE, messages=1, stored_bytes=1, percent=1.0),),
        missing=(HOSTILE,),
        log_root=HOSTILE,
    )
    async with shown(hostile) as url:
        text, headers = await fetched(url)
    assert "<script" not in text
    assert "<img" not in text
    assert text.count("&lt;script&gt;") > 8
    policy = headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Cache-Control"] == "no-store"


@needs_chromium
async def test_a_browser_runs_nothing_of_hostile_text() -> None:
    hostile = status(sessions=(row(uri=HOSTILE, incident=HOSTILE),))
    async with shown(hostile) as url, open_page(url, width=390, height=844) as (page, said):
        assert HOSTILE in await page.inner_text("body")
        assert await page.locator("script, img").count() == 0
        assert said == []


async def test_no_page_where_it_is_switched_off(tmp_path: Path) -> None:
    off = settings_in(tmp_path, sidecar=SidecarSettings(port=0, status=False))
    async with RunningRecorder(off) as recorder:
        base = f"http://127.0.0.1:{recorder._worker.sidecar.port}"
        async with aiohttp.ClientSession(base) as session:
            for path in ("/status", "/status.json"):
                async with session.get(path) as answer:
                    assert answer.status == 404
            async with session.get("/health") as answer:
                assert answer.status == 200


# --- what a person sees ---------------------------------------------------------------------------


@needs_chromium
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [PHONE, DESKTOP], ids=["phone", "desktop"])
async def test_it_fits_its_screen_and_says_nothing_on_the_console(
    size: tuple[int, int], scheme: Scheme
) -> None:
    rows = tuple(
        row(
            number=n,
            uri="/srv/videos/" + "a-very-long-name" * 9,
            node="recorder-capture-7d9f8b6c5-x2x9z.example.internal",
            state=state,
            load=load_words(Slowed(fps=2.5, reason="overload"), held=False),
            captured_units=1_234_567_890,
            frames=1_234_567_000,
            gaps=98_765,
            lost_units=4_321_987,
            stored_bytes=1_099_511_627_776,
        )
        for n, state in enumerate(SessionState)
    )
    full = status(sessions=rows, missing=("NATS",))
    async with shown(full) as url:
        async with open_page(url, width=size[0], height=size[1], scheme=scheme) as (page, said):
            assert await page.evaluate("document.documentElement.scrollWidth") <= size[0]
            text = await page.inner_text("body")
            paper = await page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert said == []
    for words in ("NATS is away", "recording", "incident", "merkle", "93.1 %", "no limit", "7 "):
        assert words in text
    light = int(re.findall(r"\d+", paper)[0])
    assert (light > 200) is (scheme == "light")


async def test_what_needs_a_look_stands_out() -> None:
    bad = status(
        checks=(Check("disk", ok=False, detail="full"),),
        free_bytes=1,
        sessions=(row(late=True, checkpoint_age_s=500.0),),
        clock=ClockState.UNSYNCHRONISED,
    )
    async with shown(bad) as url:
        text, _ = await fetched(url)
    for word, kind in (
        ("not ready: disk", "bad"),
        ("1 B", "bad"),
        ("8 min ago", "bad"),
        ("unsynchronised", "warn"),
        ("93.1 %", "warn"),
        ("90 s", "warn"),
        ("recording", "good"),
    ):
        assert f'<span class="word {kind}">{word}</span>' in text, word


async def test_what_is_not_needed_stands_out_less() -> None:
    checks = (Check("storage", ok=False, detail="away", needed=False),)
    async with shown(status(checks=checks)) as url:
        text, _ = await fetched(url)
    assert '<span class="word warn">ready, but for: storage</span>' in text
    assert '<span class="word warn">not well</span>' in text


# --- of a recorder that runs ----------------------------------------------------------------------


async def status_of(base: str) -> Status:
    async with aiohttp.ClientSession() as session, session.get(f"{base}/status.json") as answer:
        assert answer.status == 200
        return msgspec.json.decode(await answer.read(), type=Status)


async def until_shown(base: str, wanted: dict[str, SessionState], entries: int = 0) -> Status:
    """The status with these sessions, each with a checkpoint, and so many entries in the log."""
    async with asyncio.timeout(DEADLINE_S):
        while True:
            found = await status_of(base)
            signed = all(one.checkpoint_age_s is not None for one in found.sessions)
            there = signed and found.log_entries >= entries
            if there and {one.session_id: one.state for one in found.sessions} == wanted:
                return found
            await asyncio.sleep(POLL_S * 10)


@needs_chromium
async def test_a_recorder_shows_its_sessions_and_that_nats_is_away(tmp_path: Path) -> None:
    with NatsProcess(tmp_path / "nats") as server:
        settings = settings_in(tmp_path, nats=NatsSettings(url=server.url, max_bytes=2**30))
        async with RunningRecorder(settings) as recorder:
            base = f"http://127.0.0.1:{recorder._worker.sidecar.port}"
            sealed_id, _ = await recorder.record(
                {"kind": "pattern", "width": 64, "height": 48, "frames": 20, "pace": "fast"}
            )
            started = await recorder.client.start({"kind": "pattern", "width": 64, "height": 48})
            running_id = started.session_id
            await recorder.captured(running_id)
            both = {running_id: SessionState.RECORDING, sealed_id: SessionState.SEALED}
            found = await until_shown(base, both, entries=3)  # two begins and a seal
            running, sealed = found.sessions
            assert (sealed.frames, sealed.reason, sealed.here) == (20, "source_ended", False)
            assert (running.kind, running.uri, running.here) == ("pattern", "pattern:desktop", True)
            assert (running.number, sealed.number) == (2, 1)
            assert {stage.stage for stage in found.stages} >= {"capture", "chunk", "merkle", "log"}
            assert sum(stage.handled or 0 for stage in found.stages) > 5
            await recorder.client.pause(running_id)
            await until_shown(base, both | {running_id: SessionState.PAUSED})
            await recorder.client.resume(running_id)
            await until_shown(base, both)
            server.kill()
            async with asyncio.timeout(DEADLINE_S):
                while "NATS" not in (await status_of(base)).missing:
                    await asyncio.sleep(POLL_S * 10)
            async with open_page(f"{base}/status", width=390, height=844) as (page, said):
                text = await page.inner_text("body")
                assert await page.evaluate("document.documentElement.scrollWidth") <= 390
            assert said == []
            for words in ("NATS is away", "not ready: bus", running_id, sealed_id):
                assert words in text
            server.start()
            async with asyncio.timeout(DEADLINE_S):
                while (found := await status_of(base)).missing or not found.ok:
                    await asyncio.sleep(POLL_S * 10)
            await recorder.client.stop(running_id)
            await recorder.sealed(running_id)
            await until_shown(base, dict.fromkeys(both, SessionState.SEALED))


async def test_what_is_shown_is_bounded() -> None:
    many = tuple(row(number=n, session_id=f"s{n}") for n in range(SHOWN_SESSIONS))
    async with shown(status(sessions=many, sessions_known=700)) as url:
        text, _ = await fetched(url)
    assert text.count("<code>s") == SHOWN_SESSIONS
    assert "650 more are not shown" in text
