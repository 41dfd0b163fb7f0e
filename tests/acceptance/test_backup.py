"""docs/backup.md, done as it says: copied, lost, restored, gone on with, verified."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from worker_process import (
    DEADLINE_S,
    RECORDER,
    WorkerProcess,
    clean_environment,
    run_recorder,
)

from recorder_worker.adapters.folder import FolderRecording
from recorder_worker.client import RecorderClient
from recorder_worker.core.verify.verdicts import Verdict
from recorder_worker.core.verify.verifier import verify

pytestmark = pytest.mark.timeout(300)

DOCUMENT = (Path(__file__).parents[2] / "docs" / "backup.md").read_text(encoding="utf-8")


def blocks(heading: str) -> list[str]:
    """The shell blocks below a heading of the document."""
    section = DOCUMENT.split(f"## {heading}\n", 1)[1].split("\n## ", 1)[0]
    return re.findall(r"^```sh\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)


def shell(folder: Path, block: str, **names: str) -> subprocess.CompletedProcess[str]:
    for name, value in names.items():
        block = block.replace(name, value)
    path = f"{RECORDER.parent}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run(
        ["bash", "-eu", "-c", block],
        cwd=folder,
        env=clean_environment(PATH=path),
        check=False,
        capture_output=True,
        text=True,
    )


SMALL = {"kind": "pattern", "width": 64, "height": 48}


async def started(url: str, source: dict[str, Any]) -> str:
    async with RecorderClient.connect(url) as client:
        return (await client.start(source, timeout_s=DEADLINE_S)).session_id


def recorded(worker: WorkerProcess) -> str:
    """A session that is sealed, and in the log with its seal."""
    session = asyncio.run(started(worker.nats_url, SMALL | {"frames": 20, "pace": "fast"}))
    worker.logged("SessionLogged", session_id=session, kind="seal")
    return session


@contextmanager
def running(worker: WorkerProcess) -> Iterator[str]:
    """A session that is in the log, runs inside of the block, and is sealed behind it."""
    session = asyncio.run(started(worker.nats_url, SMALL))
    worker.logged("SessionLogged", session_id=session, kind="open")
    yield session
    asyncio.run(stop(worker.nats_url, session))
    worker.logged("SessionLogged", session_id=session, kind="seal")


async def stop(url: str, session: str) -> None:
    async with RecorderClient.connect(url) as client:
        await client.stop(session)


def log_report(folder: Path) -> dict[str, Any]:
    ended = run_recorder("log", "verify", "recorder-data", "--json", folder=folder)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    found: dict[str, Any] = json.loads(ended.stdout)
    return found


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """A working directory with two recordings, backed up in both ways, and stopped."""
    folder = tmp_path_factory.mktemp("recorder")
    with WorkerProcess(folder, env={"RECORDER_AUDIT__DIGEST_S": "0.2"}) as worker:
        sessions = [recorded(worker), recorded(worker)]
        worker.logged("AuditLogged")
        with running(worker) as third:
            copy, check = blocks("Back up the evidence, while it runs")
            copied = shell(folder, copy)
            assert copied.returncode == 0, copied.stderr
        checked = shell(folder, check, SESSION=sessions[0])
        assert checked.returncode == 0, checked.stdout + checked.stderr
        assert "COMPLETE" in checked.stdout
        cut_off = run_recorder("verify", f"evidence/sessions/{third}", folder=folder)
        assert cut_off.returncode == 10, cut_off.stdout
        sessions.append(third)
        assert worker.terminate() == 0
    (block,) = blocks("Back up the recorder")
    copied = shell(folder, block)
    assert copied.returncode == 0, copied.stderr
    return folder, sessions


def test_a_copy_holds_the_keys_and_no_epoch_key(stopped: tuple[Path, list[str]]) -> None:
    keys = stopped[0] / "whole" / "keys"
    assert (keys / "device.pem").exists()
    assert not (keys / "epochs").exists()
    assert not (keys / "ciphers").exists()


@pytest.mark.parametrize("way", ["with the journal", "without it"])
def test_a_recorder_goes_on_from_its_copy(
    stopped: tuple[Path, list[str]], tmp_path: Path, way: str
) -> None:
    folder, sessions = stopped
    shutil.copytree(folder / "whole", tmp_path / "whole", symlinks=True)
    restore = blocks("Restore")[way == "without it"]
    restored = shell(tmp_path, restore)
    assert restored.returncode == 0, restored.stdout + restored.stderr
    assert (tmp_path / "recorder-data" / "nats").exists() == (way == "with the journal")
    before = log_report(tmp_path)
    with WorkerProcess(tmp_path) as worker:
        newest = recorded(worker)
        worker.logged("SessionLogged", session_id=newest, counter=len(sessions) + 1)
        assert worker.terminate() == 0
    after = log_report(tmp_path)
    for count in ("opened", "sealed"):  # entries of the audit trail come beside them
        assert after[count] == before[count] + 1
    for session in (sessions[0], newest):
        report = verify(FolderRecording(tmp_path / "recorder-data" / "sessions" / session))
        assert report.verdict is Verdict.COMPLETE


def test_a_log_that_went_on_from_an_older_copy_is_proved_to_be_two(
    stopped: tuple[Path, list[str]], tmp_path: Path
) -> None:
    """What the document warns of: both logs are signed, and either checkpoint shows it."""
    checkpoints = []
    for name in ("one", "other"):
        folder = tmp_path / name
        shutil.copytree(stopped[0] / "whole", folder / "recorder-data", symlinks=True)
        with WorkerProcess(folder) as worker:
            recorded(worker)
            assert worker.terminate() == 0
        checkpoints.append(folder / "recorder-data" / "log" / "checkpoint")
    seen = run_recorder(
        *("log", "verify", "recorder-data", "--seen", str(checkpoints[1])),
        folder=tmp_path / "one",
    )
    assert seen.returncode == 14, seen.stdout + seen.stderr
