"""`recorder demo` as a user runs it: it holds what it promises, or says which promise it broke."""

from __future__ import annotations

import json
import os
import pty
import shutil
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from recorder_worker.adapters.folder import FolderRecording
from recorder_worker.core.evidence.proof_check import check_proof
from recorder_worker.core.evidence.proof_file import decode_proof
from recorder_worker.core.verify.report import Report
from recorder_worker.core.verify.verdicts import Verdict
from recorder_worker.core.verify.verifier import verify

pytestmark = pytest.mark.timeout(300)

# A shell that runs the tests in the background has them, and so us, ignore Ctrl-C.
RECORDER = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)
from recorder_worker.cli.main import main
main()
"""
TOKEN = "DEMO_TEST_TOKEN"
DEADLINE_S = 60.0
POLL_S = 0.05


class Demo:
    """Runs the demo in a folder, and knows its processes.

    By a token in their environment; nats-server has none, and by the folder that it was told.
    """

    def __init__(self, folder: Path, program: str = RECORDER) -> None:
        self.folder = folder
        self.token = uuid.uuid4().hex
        self.command = [sys.executable, "-c", program, "demo"]
        kept = {k: v for k, v in os.environ.items() if k not in {"FORCE_COLOR", "TTY_COMPATIBLE"}}
        self.env = kept | {TOKEN: self.token, "TERM": "xterm"}

    def run(self, *options: str) -> subprocess.CompletedProcess[str]:
        ended = subprocess.run(
            [*self.command, *options],
            cwd=self.folder,
            env=self.env,
            check=False,
            capture_output=True,
            text=True,
        )
        assert "Traceback" not in ended.stderr, ended.stderr
        return ended

    @contextmanager
    def started(
        self,
        *options: str,
        **streams: Any,  # noqa: ANN401  (Popen's own)
    ) -> Iterator[subprocess.Popen[str]]:
        process = subprocess.Popen(
            [*self.command, *options],
            cwd=self.folder,
            env=self.env,
            text=True,
            start_new_session=True,
            **streams,
        )
        try:
            yield process
        finally:
            process.kill()
            process.wait()

    def processes(self) -> list[str]:
        """The command lines of what runs on behalf of this demo."""
        found = []
        for folder in Path("/proc").iterdir():
            if not folder.name.isdecimal():
                continue
            try:
                line = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                if (
                    self.token.encode() in (folder / "environ").read_bytes()
                    or str(self.folder) in line
                ):
                    found.append(line)
            except OSError:
                continue  # it has ended, or is another user's
        return found


@pytest.fixture
def demo(tmp_path: Path) -> Iterator[Demo]:
    made = Demo(tmp_path)
    yield made
    assert_nothing_is_left(made)


def assert_nothing_is_left(demo: Demo) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while (left := demo.processes()) and time.monotonic() < deadline:
        time.sleep(POLL_S)
    assert left == []


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small lossless video, for what does not need the real one."""
    path = tmp_path_factory.mktemp("clip") / "small.avi"
    fourcc = cv2.VideoWriter.fourcc(*"FFV1")
    writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, fourcc, 10.0, (160, 120))
    assert writer.isOpened()
    dice = np.random.default_rng(1)
    for _ in range(45):
        writer.write(dice.integers(0, 256, (120, 160, 3), np.uint8))
    writer.release()
    return path


def verified(folder: Path) -> list[Report]:
    found = [verify(FolderRecording(session)) for session in sorted(folder.iterdir())]
    return sorted(found, key=lambda report: report.verdict)


def test_the_demo_holds_what_it_promises_and_leaves_recordings_that_verify(demo: Demo) -> None:
    ended = demo.run()
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "\x1b" not in ended.stdout
    assert "\r" not in ended.stdout
    assert ended.stderr == ""
    folder = demo.folder / "demo-recording"

    expected = [Verdict.COMPLETE]
    if shutil.which("Xvfb"):
        expected.append(Verdict.COMPLETE_WITH_GAPS)
    reports = verified(folder / "sessions")
    assert [report.verdict for report in reports] == expected
    assert reports[0].totals.frame_count == 250
    assert reports[0].totals.chunk_count > 5
    for report in reports:
        assert f"root {report.root_hash}" in ended.stdout
        assert f"recorder verify demo-recording/sessions/{report.session_id}" in ended.stdout
    for live in reports[1:]:
        assert [gap.reason for gap in live.gaps if gap.reason != "back_pressure"] == ["pause"]
        asked = [mark.says for mark in live.marks if not mark.kind.startswith("recorder.")]
        assert asked == ["a pause comes now"]

    (flipped,) = verified(folder / "one-byte-flipped")
    assert flipped.verdict is Verdict.TAMPERED
    assert len(flipped.damaged) == 1
    assert f"TAMPERED, exit code 13, damaged: {flipped.damaged[0]}\n" in ended.stdout
    assert "250 frames, all equal" in ended.stdout

    clip = verify(FolderRecording(folder / "clip"))
    assert (clip.verdict, clip.session_id) == (Verdict.CLIP, reports[0].session_id)
    assert clip.root_hash == reports[0].root_hash
    assert f"a session that was deleted is missed: exit code 13, missing: {clip.session_id}" in (
        ended.stdout
    )
    proof = check_proof(decode_proof((folder / "chunk.proof").read_bytes()))
    assert proof.root_hash == reports[0].root_hash


def test_an_earlier_demo_is_kept_and_the_outcome_is_one_json_document(
    demo: Demo, clip: Path
) -> None:
    earlier = demo.folder / "shown"
    earlier.mkdir()
    (earlier / "demo.log").write_text("earlier", encoding="utf-8")
    ended = demo.run("--into", "shown", "--clip", str(clip), "--no-desktop", "--json")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    told = json.loads(ended.stdout)
    assert (told["ok"], told["folder"]) == (True, "shown-2")
    assert all(check["ok"] for check in told["checks"])
    (report,) = verified(demo.folder / "shown-2" / "sessions")
    assert [session["root_hash"] for session in told["sessions"]] == [report.root_hash]
    assert [path.name for path in earlier.iterdir()] == ["demo.log"]


@pytest.mark.parametrize(
    ("broken", "check"),
    [
        # The verifier finds nothing in the copy, for nothing was changed in it.
        ("proof._flip = lambda file: 0", "one flipped byte is caught"),
        # What OpenCV reads is not what was recorded.
        ("proof.digests_by_opencv = lambda clip: iter(['00'])", "bit for bit"),
        # The verifier does not answer.
        ("proof.VERIFY = 'raise SystemExit(3)'", "the verifier looks at the copy"),
        # No session is missing in the copy, for none was left out.
        (
            "evidence.others = lambda recordings: recordings",
            "a session that was deleted is missed",
        ),
        # A command does not answer.
        ("evidence.PROGRAM = 'raise SystemExit(3)'", "recorder log answers"),
    ],
)
def test_a_promise_that_is_not_kept_is_named_and_gives_1(
    tmp_path: Path, clip: Path, broken: str, check: str
) -> None:
    program = f"from recorder_worker.cli.demo import evidence, proof\n{broken}\n{RECORDER}"
    demo = Demo(tmp_path, program)
    ended = demo.run("--clip", str(clip), "--no-desktop")
    assert ended.returncode == 1, ended.stdout + ended.stderr
    assert f"FAILED  {check}" in ended.stdout or f"FAILED  clip: {check}" in ended.stdout
    last = ended.stdout.rstrip().splitlines()[-1]
    assert last.startswith("demo FAILED: ")
    assert check in last
    assert_nothing_is_left(demo)


def test_a_clip_that_is_no_video_ends_the_demo_with_the_refusal(demo: Demo) -> None:
    (demo.folder / "bad.mkv").write_bytes(b"\x1a\x45\xdf\xa3" + b"garbage" * 1000)
    ended = demo.run("--clip", "bad.mkv", "--no-desktop")
    assert ended.returncode == 1
    assert "expected a source that can be opened" in ended.stdout
    assert "bad.mkv" in ended.stdout
    assert ended.stdout.rstrip().splitlines()[-1].startswith("demo FAILED: ")


def test_a_clip_that_is_not_there_is_said_before_anything_is_made(demo: Demo) -> None:
    ended = demo.run("--clip", "none.mkv")
    assert ended.returncode == 1
    assert "--clip: expected a video file, found none at none.mkv" in ended.stderr
    assert list(demo.folder.iterdir()) == []


def test_the_demo_does_not_write_among_other_things(demo: Demo, clip: Path) -> None:
    precious = demo.folder / "mine" / "precious"
    precious.parent.mkdir()
    precious.touch()
    ended = demo.run("--into", "mine", "--clip", str(clip))
    assert ended.returncode == 65
    assert "--into: expected mine to be new, empty or an earlier demo's" in ended.stderr
    assert list(precious.parent.iterdir()) == [precious]


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
def test_a_signal_in_the_middle_leaves_no_process_behind(
    demo: Demo, number: signal.Signals, code: int
) -> None:
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    with demo.started(**streams) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("session.captured"):
                break
        assert any("nats-server" in line for line in demo.processes())
        # As a terminal does it: to the whole group.
        os.killpg(process.pid, number)
        rest = process.stdout.read()
        assert process.wait(DEADLINE_S) == code, rest
        assert "Traceback" not in rest
        assert "demo-recording" in rest
    assert (demo.folder / "demo-recording" / "demo.log").is_file()


def test_a_kill_that_nothing_can_catch_leaves_no_process_behind(demo: Demo) -> None:
    with demo.started(stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("session.captured"):
                break
        process.kill()


def test_a_terminal_shows_the_numbers_as_they_grow_and_gets_its_cursor_back(
    demo: Demo, clip: Path
) -> None:
    ours, theirs = pty.openpty()
    demo.env |= {"COLUMNS": "120", "LINES": "40"}
    options = ("--clip", str(clip), "--no-desktop")
    with demo.started(*options, stdin=theirs, stdout=theirs, stderr=theirs) as process:
        os.close(theirs)
        shown = b""
        try:
            while piece := os.read(ours, 65536):
                shown += piece
        except OSError:
            pass  # how Linux says that the other end is closed
        os.close(ours)
        assert process.wait(DEADLINE_S) == 0, shown.decode()
    text = shown.decode()
    assert text.count("\x1b[?25l") == text.count("\x1b[?25h") > 0
    assert text.count("checkpoint\x1b[0m") > 2, "the table is drawn again and again"
    assert "45/45" in text
    assert "━" in text
