"""The recorder works under the system call filter of its systemd unit, and is held by it."""

from __future__ import annotations

import platform
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import systemd_sandbox
import worker_process
from videos import write_video
from worker_process import RECORDER, WorkerProcess, run_recorder
from xserver import XServer

ROOT = Path(__file__).parents[2]
UNIT = ROOT / "deploy" / "systemd" / "session-recorder.service"
SANDBOX = Path(systemd_sandbox.__file__)

pytestmark = [
    pytest.mark.skipif(
        shutil.which("systemd-analyze") is None, reason="no systemd-analyze, which knows the groups"
    ),
    pytest.mark.skipif(
        platform.machine() != "x86_64" or not systemd_sandbox.NUMBERS.exists(),
        reason="no numbers of system calls here",
    ),
]


def confined(*command: str) -> list[str]:
    return [sys.executable, str(SANDBOX), str(UNIT), *command]


def confined_worker(folder: Path) -> WorkerProcess:
    """A worker as the unit runs it."""
    script = folder / "recorder"
    script.write_text(f'#!/bin/sh\nexec {" ".join(confined(str(RECORDER)))} "$@"\n')
    script.chmod(0o755)
    worker = WorkerProcess(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(worker_process, "RECORDER", script)
        worker.start()
    return worker


def test_what_the_filter_refuses_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    own = "import os; os.chown('file', os.getuid(), os.getgid())"
    free = subprocess.run([sys.executable, "-c", own], cwd=tmp_path, check=False)
    assert free.returncode == 0
    held = subprocess.run(
        confined(sys.executable, "-c", own), cwd=tmp_path, check=False, capture_output=True
    )
    assert b"PermissionError" in held.stderr
    writable_code = (
        "import mmap; mmap.mmap(-1, 4096, prot=mmap.PROT_WRITE | mmap.PROT_EXEC); print('made')"
    )
    free = subprocess.run([sys.executable, "-c", writable_code], check=False, capture_output=True)
    held = subprocess.run(
        confined(sys.executable, "-c", writable_code), check=False, capture_output=True
    )
    assert free.stdout == b"made\n"
    assert b"made" not in held.stdout


def test_the_recorder_records_files_and_displays_under_the_filter_of_its_unit(
    tmp_path: Path,
) -> None:
    worker = confined_worker(tmp_path)
    try:
        url = {"RECORDER_NATS__URL": worker.nats_url}
        sessions = []
        video = write_video(tmp_path / "talk.mkv", "MJPG", frames=20)
        for source in ("pattern", str(video)):
            extra = ["--frames", "30"] if source == "pattern" else []
            started = run_recorder(
                "start", source, "--pace", "fast", *extra, folder=tmp_path, env=url
            )
            assert started.returncode == 0, started.stderr
            sessions.append(started.stdout.strip())
        if shutil.which("Xvfb") is not None:
            with XServer(320, 240) as server:
                started = run_recorder("start", server.display, folder=tmp_path, env=url)
                assert started.returncode == 0, started.stderr
                sessions.append(started.stdout.strip())
                stopped = run_recorder("stop", sessions[-1], folder=tmp_path, env=url)
                assert stopped.returncode == 0, stopped.stderr
        for session in sessions:
            worker.logged("SessionSealed", session_id=session)
            folder = worker.data_dir / "sessions" / session
            verified = run_recorder("verify", str(folder), folder=tmp_path)
            assert verified.returncode == 0, verified.stdout
        assert worker.terminate() == 0
        assert [line for line in worker.lines if line.get("level") == "error"] == []
    finally:
        worker.__exit__()
