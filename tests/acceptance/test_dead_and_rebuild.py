"""What an operator does when something went wrong: dead letters, doctor, rebuild."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import nats
import pytest
from nats_process import NatsProcess
from plant import ACK_WAIT_S, LEASE_S, Plant
from worker_process import DEADLINE_S, POLL_S, RECORDER, clean_environment, run_recorder

from recorder_worker.adapters.folder import FolderRecording
from recorder_worker.bus.connection.broker import Login
from recorder_worker.core.subjects import Fact
from recorder_worker.core.verify.verdicts import Verdict
from recorder_worker.core.verify.verifier import verify
from recorder_worker.service.doctor import running_sessions
from recorder_worker.service.doctor.examine import examine
from recorder_worker.service.settings.disk import DiskSettings
from recorder_worker.service.settings.tree import (
    CaptureSettings,
    ChunkSettings,
    CompressSettings,
    MerkleSettings,
    NatsSettings,
    Settings,
)

FILM = {"kind": "pattern", "width": 64, "height": 48, "pace": "fast", "frames": 60}
LIVE = {"kind": "pattern", "width": 64, "height": 48, "pace": "native"}


def environment(plant: Plant) -> dict[str, str]:
    return {
        "RECORDER_NATS__URL": plant.nats.url,
        "RECORDER_DATA_DIR": str(plant.folder / "data"),
        "RECORDER_DISK__FLOOR_BYTES": "0",
        "RECORDER_NATS__MAX_BYTES": "1000000000",
        "RECORDER_CAPTURE__LEASE_S": LEASE_S,
        "RECORDER_CHUNK__ACK_WAIT_S": ACK_WAIT_S,
        "RECORDER_COMPRESS__ACK_WAIT_S": ACK_WAIT_S,
        "RECORDER_MERKLE__ACK_WAIT_S": ACK_WAIT_S,
    }


def run(plant: Plant, *arguments: str) -> subprocess.CompletedProcess[str]:
    return run_recorder(*arguments, folder=plant.folder, env=environment(plant))


def said(ended: subprocess.CompletedProcess[str], code: int = 0) -> Any:  # noqa: ANN401  (JSON)
    assert ended.returncode == code, ended.stdout + ended.stderr
    return json.loads(ended.stdout)


async def until_letters(plant: Plant, count: int) -> list[dict[str, Any]]:
    deadline = time.monotonic() + DEADLINE_S
    while True:
        found = said(await asyncio.to_thread(run, plant, "dead", "ls", "--json"))
        if len(found) >= count:
            return list(found)
        assert time.monotonic() < deadline, found
        await asyncio.sleep(POLL_S)


async def test_a_damaged_segment_is_a_letter_and_a_gap_that_an_operator_looks_into_and_drops(
    tmp_path: Path,
) -> None:
    with Plant(tmp_path) as plant:
        plant.kill("compress")
        session_id = await plant.start_session(FILM)
        other = await plant.start_session(LIVE, fps=10)
        await plant.until(session_id, Fact.CHUNKED, 3)
        segments = sorted((plant.recording(session_id) / "segments").iterdir())
        segments[0].unlink()
        plant.start_again("compress")
        sealed = await plant.sealed(session_id)
        assert plant.verify(session_id).verdict is Verdict.COMPLETE_WITH_GAPS
        (letter,) = await until_letters(plant, 1)
        assert (letter["stage"], letter["session_id"]) == ("compress", session_id)
        name = letter["letter"]
        shown = run(plant, "dead", "show", name[:6])
        assert shown.returncode == 0, shown.stderr
        assert letter["stack"] in shown.stdout
        assert '"type":"chunk"' in shown.stdout
        refused = run(plant, "dead", "retry", name)
        assert (refused.returncode, "gap of reason dead_letter" in refused.stderr) == (65, True)
        told = said(run(plant, "doctor", "--json"), 10)
        assert [f["check"] for f in told["findings"] if f["severity"] == "error"] == [
            "dead_letters"
        ]
        assert run(plant, "dead", "drop", name).returncode == 2, "a reason is asked for"
        dropped = run(plant, "dead", "drop", name, "--why", "a disk went bad", "--by", "kim")
        assert (dropped.returncode, dropped.stdout) == (0, f"{name} dropped\n")
        again = run(plant, "dead", "drop", name, "--why", "once more")
        assert "was dropped before, by kim" in again.stdout
        assert "no dead letters" in run(plant, "dead", "ls").stdout
        assert name in run(plant, "dead", "ls", "--all").stdout
        assert run(plant, "dead", "show", "zz").returncode == 65
        for number in range(3):
            made_up = f"{'0' * 8}-0000-4000-8000-00000000000{number}"
            await _publish_garbage(plant, Fact.CAPTURED.of(made_up))
        alike = await until_letters(plant, 3)
        (stack,) = {letter["stack"] for letter in alike}
        refused = run(plant, "dead", "retry", "--stack", stack)
        assert (refused.returncode, refused.stderr.count("it would fail again")) == (65, 3)
        assert run(plant, "dead", "drop", "--why", "neither letter nor stack").returncode == 2
        dropped = run(plant, "dead", "drop", "--stack", stack, "--why", "garbage", "--json")
        told = [json.loads(line)["settled"]["letter"] for line in dropped.stdout.splitlines()]
        assert told == [letter["letter"] for letter in alike]
        told = run(plant, "doctor")
        assert (told.returncode, "nothing to do" in told.stdout) == (0, True), told.stdout
        # Nobody else was held up.
        async with plant.client() as client:
            await client.stop(other)
        await plant.sealed(other)
        assert plant.verify(other).verdict is Verdict.COMPLETE
        # The same record is made of the same events, with its gap.
        replayed = await plant.replay(session_id)
        assert (replayed.same, replayed.root_hash) == (True, sealed.root_hash)


async def test_all_sessions_are_made_again_from_the_stream_into_an_empty_data_directory(
    tmp_path: Path,
) -> None:
    with Plant(tmp_path) as plant:
        good = [await plant.start_session(FILM) for _ in range(3)]
        damaged = await plant.start_session(FILM)
        for session_id in (*good, damaged):
            await plant.sealed(session_id)
        running = await plant.start_session(LIVE, fps=10)
        await plant.until(running, Fact.CAPTURED, 2)
        forgotten = "00000000-0000-4000-8000-000000000001"
        shutil.copytree(plant.recording(good[0]), plant.recording(forgotten))
        chunk = next((plant.recording(damaged) / "chunks").iterdir())
        chunk.unlink()
        await _all_logged(plant, (*good, damaged))
        await _publish_garbage(plant, Fact.SEALED.of(good[1]))
        await _publish_garbage(plant, Fact.CAPTURED.of(forgotten[:-1] + "2"))
        into = tmp_path / "again"
        told = said(run(plant, "replay", "--all", "--into", str(into), "--json"), 11)
        outcomes = {one["session_id"]: one["outcome"] for one in told["sessions"]}
        assert outcomes == dict.fromkeys(good, "same") | {
            damaged: "incomplete",
            running: "unsealed",
            forgotten: "forgotten",
        }
        (why,) = [one["detail"] for one in told["sessions"] if one["session_id"] == damaged]
        assert chunk.name in why or "segments/" in why
        for session_id in good:
            assert verify(FolderRecording(into / "sessions" / session_id)).verdict is (
                Verdict.COMPLETE
            )
        assert told["log_entries"] >= 2 * len(good)
        log = run(plant, "log", "show", str(into))
        assert (log.returncode, good[0] in log.stdout) == (0, True)
        assert not (into / "sessions" / running).exists()
        looked = said(run(plant, "doctor", "--json"), 10)
        assert looked["not_looked_at"] == []
        checks = {finding["check"] for finding in looked["findings"]}
        assert checks == {"dead_letters"}, "of the garbage; a missing chunk is for verify"
        text = run(plant, "replay", "--all", "--into", str(into))
        assert (text.returncode, "it was there already" in text.stdout) == (11, True)
        assert "3 same" in text.stdout
        refused = run(plant, "replay", "--all", "--into", str(plant.folder / "data"))
        assert (refused.returncode, "--into" in refused.stderr) == (65, True)
        assert run(plant, "replay").returncode == 2
        assert run(plant, "replay", good[0], "--all").returncode == 2


async def _publish_garbage(plant: Plant, subject: str) -> None:
    bus = await nats.connect(plant.nats.url)
    try:
        await bus.jetstream().publish(subject, b"no event", stream="SESSIONS")
    finally:
        await bus.close()


async def _all_logged(plant: Plant, session_ids: tuple[str, ...]) -> None:
    """Both entries of each session stand in the log: its proofs are in its folder."""
    deadline = time.monotonic() + DEADLINE_S
    proofs = [plant.recording(one) / "proofs" / "seal" for one in session_ids]
    while not all(proof.exists() for proof in proofs):
        assert time.monotonic() < deadline
        await asyncio.sleep(POLL_S)


async def test_a_session_whose_events_are_gone_says_so_and_two_processes_share_the_work(
    tmp_path: Path,
) -> None:
    with ExitStack() as stack:
        plant = stack.enter_context(Plant(tmp_path))
        sessions = [await plant.start_session(FILM) for _ in range(4)]
        for session_id in sessions:
            await plant.sealed(session_id)
        await _all_logged(plant, tuple(sessions))
        server = stack.enter_context(NatsProcess(tmp_path / "restored"))
        await _without_an_event(plant, server, sessions[0])
        into = str(tmp_path / "again")
        command = [str(RECORDER), "replay", "--all", "--into", into, "--jobs", "1", "--json"]
        command += ["--nats", server.url]
        processes = [
            subprocess.Popen(
                command,
                cwd=plant.folder,
                env=clean_environment(**environment(plant)),
                stdout=subprocess.PIPE,
                text=True,
            )
            for _ in range(2)
        ]
        for process in processes:
            output, _ = process.communicate(timeout=DEADLINE_S)
            assert process.returncode == 11, output
            told = json.loads(output)
            outcomes = {one["session_id"]: one for one in told["sessions"]}
            assert outcomes[sessions[0]]["outcome"] == "incomplete"
            assert "captured events 2 to 2" in outcomes[sessions[0]]["detail"]
            assert {outcomes[one]["outcome"] for one in sessions[1:]} == {"same"}
        for session_id in sessions[1:]:
            folder = Path(into) / "sessions" / session_id
            assert verify(FolderRecording(folder)).verdict is Verdict.COMPLETE
            assert not (folder / "journal").exists()


async def _without_an_event(plant: Plant, server: NatsProcess, session_id: str) -> None:
    """The stream on another server, but for one captured event: as a restored backup may be."""
    made = run(plant, "streams", "apply", "--nats", server.url)
    assert made.returncode == 0, made.stderr
    old, new = await nats.connect(plant.nats.url), await nats.connect(server.url)
    try:
        source, target = old.jetstream(), new.jetstream()
        last, captured = (await source.stream_info("SESSIONS")).state.last_seq, 0
        for sequence in range(1, last + 1):
            message = await source.get_msg("SESSIONS", seq=sequence)
            captured += message.subject == Fact.CAPTURED.of(session_id)
            if message.subject == Fact.CAPTURED.of(session_id) and captured == 3:
                continue
            kept = {"Nats-Msg-Id": (message.headers or {})["Nats-Msg-Id"]}
            subject, data = message.subject or "", message.data or b""
            await target.publish(subject, data, stream="SESSIONS", headers=kept)
    finally:
        await old.close()
        await new.close()


async def test_the_doctor_finds_a_session_whose_worker_is_gone_and_a_stage_that_nobody_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(running_sessions, "SILENT_S", 1.0)
    with Plant(tmp_path, {"RECORDER_CAPTURE__LEASE_S": "2"}) as plant:
        session_id = await plant.start_session(LIVE, fps=10)
        await plant.until(session_id, Fact.CAPTURED, 2)
        settings = Settings(
            data_dir=str(plant.folder / "data"),
            nats=NatsSettings(url=plant.nats.url, max_bytes=1_000_000_000),
            capture=CaptureSettings(lease_s=2),
            chunk=ChunkSettings(ack_wait_s=2),
            compress=CompressSettings(ack_wait_s=2),
            merkle=MerkleSettings(ack_wait_s=2),
            disk=DiskSettings(floor_bytes=0),
        )
        login = Login(servers=(plant.nats.url,))

        async def checks() -> dict[str, str]:
            examined = await examine(settings, login, repair=True)
            assert examined.not_looked_at == ()
            return {finding.check: finding.where for finding in examined.findings}

        assert await checks() == {}
        plant.kill("compress")
        await plant.until(session_id, Fact.CAPTURED, 40)  # of which chunk makes leaves that wait
        plant.kill("capture")
        deadline = time.monotonic() + DEADLINE_S
        wanted = {
            "session.silent": str(plant.recording(session_id)),
            "consumer.idle": "SESSIONS/compress",
        }
        while not wanted.items() <= (found := await checks()).items():
            assert time.monotonic() < deadline, found
            await asyncio.sleep(POLL_S)
        plant.start_again("compress")
        plant.start_again("capture")
        async with plant.client() as client:
            await client.stop(session_id)
        await plant.sealed(session_id)
        assert plant.verify(session_id).verdict is Verdict.COMPLETE_WITH_GAPS
        deadline = time.monotonic() + DEADLINE_S
        while found := await checks():
            assert time.monotonic() < deadline, found
            await asyncio.sleep(POLL_S)


def test_the_doctor_repairs_what_is_safe_and_says_so(tmp_path: Path) -> None:
    data = tmp_path / "data"
    spares = data / ".tmp"
    spares.mkdir(parents=True)
    left = spares / "7-dead"
    left.write_bytes(b"half")
    os.utime(left, (1, 1))
    env = {"RECORDER_DATA_DIR": str(data), "RECORDER_DISK__FLOOR_BYTES": "0"}
    dry = run_recorder("doctor", "--offline", folder=tmp_path, env=env)
    assert (dry.returncode, "--repair would repair 1" in dry.stdout) == (10, True), dry.stdout
    assert left.exists()
    done = run_recorder("doctor", "--offline", "--repair", folder=tmp_path, env=env)
    assert (done.returncode, "repaired: removed 1 files" in done.stdout) == (0, True)
    assert not left.exists()
