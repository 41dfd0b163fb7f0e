"""A disk, a NATS or settings that are not right: said at once, and nobody else is harmed."""

from __future__ import annotations

import asyncio
import shutil
import socket
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from running_recorder import (
    DEADLINE_S,
    POLL_S,
    RunningRecorder,
    only,
    settings_in,
    until,
)
from small_disks import small_disk
from videos import file_source, write_video
from worker_process import run_recorder

from recorder_worker.adapters.nats_server import NatsServer, NatsServerOptions
from recorder_worker.core.subjects import Fact
from recorder_worker.core.verify.verdicts import Verdict
from recorder_worker.service.settings.disk import DiskSettings
from recorder_worker.service.settings.tree import (
    ChunkSettings,
    NatsSettings,
    RetrySettings,
)

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.usefixtures("others_go_on"),
]

SMALL = {"kind": "pattern", "width": 16, "height": 16, "pace": "fast", "frames": 3}
LIVE = {"kind": "pattern", "width": 16, "height": 16}


DISK_BYTES = 16_000_000


# --- no room -------------------------------------------------------------------------------------


async def test_a_start_waits_for_room_before_it_is_refused(tmp_path: Path) -> None:
    """It is left for other workers, or for the room that is made meanwhile; nothing is lost."""
    with small_disk(tmp_path / "disk", DISK_BYTES) as disk:
        room = DiskSettings(floor_bytes=DISK_BYTES // 4, start_wait_s=3600)
        async with RunningRecorder(settings_in(disk, disk=room)) as full:
            ballast = disk / "ballast"
            ballast.write_bytes(bytes(DISK_BYTES * 3 // 4))
            await until(lambda: full.metric("recorder_disk_state") >= 2)
            starting = asyncio.create_task(full.client.start(SMALL, timeout_s=DEADLINE_S))
            labels = {"stage": "capture"}
            await until(lambda: full.metric("recorder_redeliveries_total", **labels) > 3)
            assert not starting.done()
            ballast.unlink()
            session_id = (await starting).session_id
            await full.sealed(session_id)
            assert full.report(session_id).verdict is Verdict.COMPLETE
            await full.nothing_is_left()


async def test_a_start_is_refused_where_there_is_no_room_and_taken_when_there_is(
    tmp_path: Path,
) -> None:
    floor = 8_000_000
    with small_disk(tmp_path / "disk", 2 * floor) as disk:
        room = DiskSettings(floor_bytes=floor, start_wait_s=0.2)
        settings = settings_in(disk, disk=room)
        async with RunningRecorder(settings) as full:
            ballast = disk / "ballast"
            ballast.write_bytes(bytes(floor))
            await until(lambda: full.metric("recorder_disk_state") >= 2)
            error = await full.refusal(SMALL)
            assert error.refusal.field == "data_dir"
            assert error.refusal.expected == "room for a new session"
            assert f"bytes free on {disk}" in error.refusal.got
            assert "make room, or lower the marks of disk.*" in error.refusal.hint
            await full.nothing_is_left()
            ballast.unlink()
            await until(lambda: full.metric("recorder_disk_state") < 2)
            _, report = await full.record(SMALL)
            assert report.verdict is Verdict.COMPLETE


async def test_a_start_is_refused_below_the_floor(tmp_path: Path) -> None:
    floor = shutil.disk_usage(tmp_path).free * 2
    room = DiskSettings(floor_bytes=floor, start_wait_s=0)
    settings = settings_in(tmp_path, disk=room)
    async with RunningRecorder(settings) as full:
        error = await full.refusal(SMALL)
        assert error.refusal.field == "data_dir"
        assert f"all sessions end (below {floor}" in error.refusal.got
        await full.nothing_is_left()


@asynccontextmanager
async def filling_disk(tmp_path: Path, floor: int) -> AsyncIterator[tuple[RunningRecorder, str]]:
    """A recorder and its session, which is larger than the recorder's disk."""
    video = write_video(tmp_path / "noise.avi", "MJPG", frames=200, size=(320, 240))
    server = NatsServer(NatsServerOptions(folder=tmp_path / "nats"))
    await server.start()
    try:
        with small_disk(tmp_path / "disk", DISK_BYTES) as disk:
            settings = settings_in(
                disk,
                disk=DiskSettings(floor_bytes=floor, pause_bytes=floor),
                nats=NatsSettings(url=server.url),
                chunk=ChunkSettings(max_stored_bytes=1_000_000),
                retry=RetrySettings(backoff_s=(0.2, 0.5)),
            )
            async with RunningRecorder(settings) as full:
                yield full, (await full.client.start(file_source(video))).session_id
    finally:
        await server.stop()


async def check_ended_for_want_of_room(full: RunningRecorder, session_id: str) -> None:
    """What there was room for is sealed, whole, and the rest is a gap."""
    sealed = await full.sealed(session_id)
    assert sealed.reason.value == "disk_full"
    assert sealed.frame_count > 0
    report = full.report(session_id)
    assert report.verdict is Verdict.COMPLETE_WITH_GAPS
    assert [gap.reason for gap in report.gaps] == ["disk"]
    assert report.gaps[0].lost_units > 0
    assert len(full.pictures(session_id)) == sealed.frame_count
    failed = only(await full.facts(Fact.FAILED, session_id))
    assert failed.reason.value == "disk_full"
    assert "make room" in failed.detail
    await full.nothing_is_left()


async def test_a_disk_that_fills_up_to_its_floor_ends_the_session_with_a_gap_and_a_seal(
    tmp_path: Path,
) -> None:
    async with filling_disk(tmp_path, floor=DISK_BYTES // 3) as (full, session_id):
        await check_ended_for_want_of_room(full, session_id)


async def test_a_disk_that_fills_up_to_the_last_byte_is_sealed_once_there_is_room(
    tmp_path: Path,
) -> None:
    async with filling_disk(tmp_path, floor=0) as (full, session_id):
        async with asyncio.timeout(DEADLINE_S):
            while await full.client.last(Fact.FAILED, session_id) is None:
                await asyncio.sleep(POLL_S)
        more = f"remount,size={4 * DISK_BYTES}"
        disk = str(full.settings.data_path)
        await asyncio.to_thread(subprocess.run, ["mount", "-o", more, disk], check=True)
        await check_ended_for_want_of_room(full, session_id)
        _, report = await full.record(SMALL)
        assert report.verdict is Verdict.COMPLETE


# --- a worker that cannot begin ------------------------------------------------------------------


@pytest.mark.parametrize(
    "login",
    [{}, {"RECORDER_NATS__USER": "me", "RECORDER_NATS__PASSWORD": "wrong"}],
    ids=["none", "wrong"],
)
@pytest.mark.parametrize("arguments", [("run",), ("ls",), ("start", "pattern")], ids=" ".join)
async def test_a_nats_that_refuses_the_login_is_said_at_once(
    tmp_path: Path, arguments: tuple[str, ...], login: dict[str, str]
) -> None:
    options = NatsServerOptions(folder=tmp_path / "nats", user="me", password="right")
    server = NatsServer(options)
    await server.start()
    try:
        env = {"RECORDER_NATS__URL": server.url, "RECORDER_SIDECAR__PORT": "0", **login}
        ended = await asyncio.to_thread(run_recorder, *arguments, folder=tmp_path, env=env)
    finally:
        await server.stop()
    assert ended.returncode == 69, ended.stderr
    assert ended.stdout == ""
    last = ended.stderr.strip().splitlines()[-1]
    assert f"recorder: NATS at {server.url} refuses us" in last
    assert "Authorization Violation" in last
    assert "wrong" not in ended.stderr, "no secret in a message"
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize("arguments", [("run",), ("ls",)], ids=" ".join)
async def test_a_nats_that_is_not_there_is_said(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    with socket.socket() as taken:  # bound, so that nobody else gets it, and not listening
        taken.bind(("127.0.0.1", 0))
        url = f"nats://127.0.0.1:{taken.getsockname()[1]}"
        env = {
            "RECORDER_NATS__URL": url,
            "RECORDER_NATS__CONNECT_TIMEOUT_S": "1",
            "RECORDER_SIDECAR__PORT": "0",
        }
        ended = await asyncio.to_thread(run_recorder, *arguments, folder=tmp_path, env=env)
    assert ended.returncode == 69, ended.stderr
    assert f"recorder: no NATS server answers at {url}" in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize("arguments", [("run",), ("ls",)], ids=" ".join)
async def test_a_typo_in_the_settings_is_named_with_a_guess(
    tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    def ends(env: dict[str, str]) -> str:
        ended = run_recorder(*arguments, folder=tmp_path, env=env)
        assert ended.returncode == 78, ended.stderr
        assert ended.stdout == ""
        assert len(ended.stderr.splitlines()) == 1, "one clear message"
        return ended.stderr

    said = await asyncio.to_thread(ends, {"RECORDER_NATS__PROT": "4333"})
    assert "nats.prot: there is no such setting, found in RECORDER_NATS__PROT" in said
    assert "did you mean RECORDER_NATS__PORT" in said
    said = await asyncio.to_thread(ends, {"RECORDER_SIDECAR__PORT": "eighty"})
    assert "sidecar.port: expected" in said
    assert "found 'eighty' in RECORDER_SIDECAR__PORT" in said
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "settings.yaml").write_text("capture:\n  segmnet_s: 2\n")
    said = await asyncio.to_thread(ends, {})
    assert "capture.segmnet_s: there is no such setting" in said
    assert "did you mean capture.segment_s" in said
    assert "settings.yaml" in said
