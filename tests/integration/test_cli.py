"""The `recorder` command as people and programs run it, against a worker in another process."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
import uuid
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from blake3 import blake3
from typer.testing import CliRunner
from worker_process import DEADLINE_S, POLL_S, RECORDER, WorkerProcess, run_recorder

from recorder_worker.cli.main import app

ROOT = Path(__file__).parents[2]
COMMANDS = (
    *("run", "start", "stop", "pause", "resume", "mark", "mask", "ls", "show", "watch", "verify"),
    *("frames", "replay", "demo", "config", "schemas"),
)
ESCAPE = "\x1b"


class Cli:
    """Runs commands against one worker, from its folder."""

    def __init__(self, worker: WorkerProcess) -> None:
        self.worker = worker

    def run(
        self, *arguments: str, code: int = 0, env: dict[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        ended = run_recorder(
            *arguments,
            folder=self.worker.folder,
            env={"RECORDER_NATS__URL": self.worker.nats_url} | (env or {}),
        )
        assert ended.returncode == code, f"{ended.returncode}: {ended.stdout}{ended.stderr}"
        assert ESCAPE not in ended.stdout + ended.stderr, "colours are for terminals"
        assert "Traceback" not in ended.stderr
        return ended

    def text(self, *arguments: str) -> str:
        return self.run(*arguments).stdout

    def json(self, *arguments: str) -> Any:  # noqa: ANN401  (whatever the command prints)
        return json.loads(self.run(*arguments, "--json").stdout)

    def folder(self, session_id: str) -> Path:
        return self.worker.data_dir / "sessions" / session_id

    def record(self, *arguments: str) -> str:
        """Record a source that ends by itself; its id, once it is sealed."""
        session_id: str = self.json("start", *arguments)["session_id"]
        self.text("watch", session_id, "--until-sealed")
        return session_id


@pytest.fixture(scope="module")
def cli(worker: WorkerProcess) -> Cli:
    return Cli(worker)


@pytest.fixture(scope="module")
def recorded(cli: Cli) -> str:
    """A short session, sealed. Tests that damage it work on a copy."""
    return cli.record("pattern", "--pace", "fast", "--frames", "30", "--fps", "10")


# --- help and wrong usage ------------------------------------------------------------------------


def test_the_help_lists_every_command(cli: Cli) -> None:
    shown = cli.text("--help")
    assert all(f" {command} " in shown for command in COMMANDS)
    assert "Exit codes" in shown


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself_and_refuses_what_it_does_not_know(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    monkeypatch.chdir(tmp_path)
    shown = CliRunner().invoke(app, [command, "--help"])
    assert shown.exit_code == 0, shown.output
    words = shown.stdout.split("Options")[0].split("Usage:")[1].split()
    assert len(words) > 8, "a sentence says what it does"
    wrong = CliRunner().invoke(app, [command, "--no-such-option"])
    assert wrong.exit_code == 2
    assert wrong.stdout == ""
    assert "--no-such-option" in wrong.stderr
    assert list(tmp_path.iterdir()) == [], "nothing was done"


@pytest.mark.parametrize(
    "arguments",
    [
        ("no-such-command",),
        ("start",),
        ("stop",),
        ("mark", "only-a-session"),
        ("run", "no-such-stage"),
        ("start", "pattern", "--fps", "fast"),
        ("start", "pattern", "--pace", "slow"),
        ("verify", "no-such-folder"),
        ("verify", ".", "--trust", "no-such-file"),
        ("frames", "no-such-folder"),
    ],
    ids=" ".join,
)
def test_wrong_usage_exits_with_2(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    wrong = run_recorder(*arguments, folder=tmp_path)
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert "Usage: recorder" in wrong.stderr


def test_the_version_is_printed(cli: Cli) -> None:
    assert cli.text("--version").startswith("recorder ")


# --- a session from its start to its end ---------------------------------------------------------


def test_a_session_is_led_from_its_start_to_its_seal_in_json(cli: Cli) -> None:
    started = cli.json("start", "pattern", "--owner", "kim", "--label", "ward=3")
    session_id = started["session_id"]
    assert (started["type"], started["source"]["kind"]) == ("started", "pattern")
    assert cli.json("show", session_id)["state"] == "recording"
    assert cli.json("mark", session_id, "an alarm", "--type", "alarm")["kind"] == "alarm"
    masked = cli.json("mask", session_id, "--mask", "1,2,3,4", "--mask", "5,6,7,8", "--by", "kim")
    assert (masked["kind"], masked["by"]) == ("recorder.masks", "recorder")
    assert [mask["x"] for mask in json.loads(masked["body"])["masks"]] == [1, 5]
    assert json.loads(cli.json("mask", session_id, "--none")["body"])["masks"] == []
    paused = cli.json("pause", session_id, "--by", "kim")
    assert (paused["type"], paused["by"]) == ("paused", "kim")
    assert cli.json("show", session_id)["state"] == "paused"
    assert cli.json("show", session_id)["paused"].endswith(" s by kim")
    assert cli.json("resume", session_id)["type"] == "resumed"
    sealed = cli.json("stop", session_id)
    assert (sealed["type"], sealed["reason"]) == ("sealed", "stopped")
    assert (sealed["gap_count"], sealed["mark_count"]) == (1, 3)
    shown = cli.json("show", session_id)
    assert (shown["state"], shown["root_hash"]) == ("sealed", sealed["root_hash"])
    assert shown["location"] == str(cli.folder(session_id))
    assert session_id in [row["session_id"] for row in cli.json("ls")]
    assert cli.json("stop", session_id) == sealed, "a seal is final: to ask again is no error"
    report = cli.json("verify", str(cli.folder(session_id)))
    assert (report["verdict"], report["root_hash"]) == ("COMPLETE_WITH_GAPS", sealed["root_hash"])
    manifest = json.loads((cli.folder(session_id) / "session.json").read_bytes())
    assert manifest["command"]["labels"] == {"ward": "3"}


def test_a_session_is_led_from_its_start_to_its_seal_in_words(cli: Cli) -> None:
    session_id = str(uuid.uuid4())
    started = cli.text("start", "pattern", "--session", session_id, "--mask", "0,0,64,64")
    assert started == f"{session_id}\n", "the id alone, for a shell to take"
    for command, done in (("pause", "paused"), ("resume", "resumed"), ("stop", "sealed")):
        assert cli.text(command, session_id) == f"{done} {session_id}\n"
    shown = cli.text("show", session_id)
    assert "sealed" in shown
    assert str(cli.folder(session_id)) in shown
    assert session_id in cli.text("ls")


def test_an_armed_session_says_so_and_is_triggered_from_the_shell(cli: Cli) -> None:
    session_id = cli.text("start", "pattern", "--pre-record", "5", "--priority", "7").strip()
    cli.json("mark", session_id, "somebody rang", "--type", "bell")
    assert cli.json("show", session_id)["state"] == "armed"
    assert "armed: it keeps its last seconds in memory" in cli.text("show", session_id)
    assert cli.json("mark", session_id, "now", "--type", "trigger")["kind"] == "trigger"
    assert cli.json("show", session_id)["state"] == "recording"
    sealed = cli.json("stop", session_id)
    assert (sealed["mark_count"], sealed["frame_count"] > 0) == (3, True)
    command = json.loads((cli.folder(session_id) / "session.json").read_bytes())["command"]
    assert (command["pre_record_s"], command["priority"]) == (5.0, 7)


def test_what_happens_to_a_session_is_told_in_words(cli: Cli) -> None:
    session_id = cli.text("start", "pattern", "--fps", "5").strip()
    cli.text("mask", session_id, "--mask", "1,2,30,40", "--by", "kim")
    cli.text("mark", session_id, "valve 7 opened", "--type", "alarm", "--by", "kim")
    cli.text("pause", session_id, "--by", "kim")
    cli.text("resume", session_id)
    cli.text("stop", session_id)
    masked = "recorder.masks: blacked out: 30x40 at 1,2, asked by kim"
    marked = "alarm by kim: valve 7 opened"
    watched = cli.text("watch", session_id, "--history", "--until-sealed")
    for said in (masked, marked, "gap: pause, ", " frames lost; paused by kim", "paused at "):
        assert said in watched
    verified = cli.text("verify", str(cli.folder(session_id)))
    for said in (
        "mark recorder.masks: ",
        "blacked out: 30x40 at 1,2, asked by kim",
        "alarm by kim",
    ):
        assert said in verified
    shown = cli.text("show", session_id)
    assert "reason     stopped" in shown
    assert "1 (0 frames lost)" in shown


def test_a_refused_command_says_what_to_do_and_exits_with_65(cli: Cli, recorded: str) -> None:
    missing = cli.worker.folder / "none.mkv"
    for arguments, said in (
        (("start", str(missing)), "source.uri: expected a source that can be opened"),
        (("start", ":64999"), "display :64999: expected"),
        (("start", "pattern", "--fps", "1000"), "fps: expected a number <= 120"),
        (("start", "pattern", "--session", "7"), "session_id: expected a UUID in lower case"),
        (("start", "pattern", "--mask", "1,2,3"), "--mask: expected X,Y,WIDTH,HEIGHT, got 1,2,3"),
        (("mask", recorded), "--mask: expected at least one rectangle, or --none, got neither"),
        (("start", ":1", "--region", "all"), "--region: expected X,Y,WIDTH,HEIGHT, got all"),
        (("start", "pattern", "--monitor", "A"), "--monitor: expected nothing, for pattern is"),
        (("start", "http://camera/x"), "SOURCE: expected a URL that begins with rtsp://"),
        (("start", "pattern", "--label", "x"), "--label: expected KEY=VALUE, got x"),
        (("pause", recorded), "expected a session that is being recorded, got one that has ended"),
        (("stop", "a b"), "session_id: expected a UUID in lower case with hyphens, got a b"),
        (("show", "*"), "session_id: expected a UUID in lower case with hyphens, got *"),
        (("watch", "7"), "session_id: expected a UUID in lower case with hyphens, got 7"),
        (("show", str(uuid.UUID(int=5))), "SESSION: expected a session that the stream remembers"),
    ):
        ended = cli.run(*arguments, code=65)
        assert ended.stdout == ""
        assert said in ended.stderr.replace("\n", " ")
        assert ended.stderr.startswith("recorder: ")


@pytest.mark.parametrize("action", ["retry", "drop"])
def test_a_stack_that_no_letter_has_is_refused(cli: Cli, action: str) -> None:
    ended = cli.run("dead", action, "--stack", "0123456789abcdef", "--why", "mended", code=65)
    assert "--stack: expected the whole digest" in ended.stderr


def test_a_start_of_an_id_in_use_for_something_else_is_refused(cli: Cli, recorded: str) -> None:
    ended = cli.run("start", "pattern", "--session", recorded, "--owner", "kim", code=65)
    assert "session_id: expected a session id that is not in use" in ended.stderr


def test_a_start_that_is_good_at_last_is_not_refused_for_the_earlier_one(cli: Cli) -> None:
    session_id = str(uuid.uuid4())
    path = cli.worker.folder / "later.avi"
    command = ("start", str(path), "--pace", "fast", "--session", session_id)
    cli.run(*command, code=65)
    write_video(path, frames=3)
    assert session_id in cli.text(*command)


def test_a_start_of_a_file_reads_it_from_where_the_command_was_given(cli: Cli) -> None:
    path = write_video(cli.worker.folder / "film.avi", frames=12)
    session_id = cli.record(path.name, "--pace", "fast")
    assert cli.json("show", session_id)["totals"]["frame_count"] == 12


def write_video(path: Path, frames: int) -> Path:
    random = np.random.default_rng(2)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"FFV1"), 10, (48, 32))
    for _ in range(frames):
        writer.write(random.integers(0, 256, (32, 48, 3), dtype=np.uint8))
    writer.release()
    return path


# --- watch ---------------------------------------------------------------------------------------


def test_watch_until_sealed_prints_each_fact_on_a_line_and_ends(cli: Cli, recorded: str) -> None:
    lines = cli.run("watch", recorded, "--until-sealed", "--json").stdout.splitlines()
    facts = [json.loads(line) for line in lines]
    assert facts[0]["subject"] == f"session.started.{recorded}"
    assert facts[-1]["subject"] == f"session.sealed.{recorded}"
    assert facts[-1]["event"]["frame_count"] == 30
    assert {fact["subject"].rsplit(".", 1)[1] for fact in facts} == {recorded}
    text = cli.text("watch", recorded, "--until-sealed").splitlines()
    assert len(text) == len(facts)
    assert text[-1].startswith("session.sealed")


# --- verify --------------------------------------------------------------------------------------


def test_verify_says_complete(cli: Cli, recorded: str) -> None:
    report = cli.json("verify", str(cli.folder(recorded)))
    assert (report["verdict"], report["exit_code"], report["failed_step"]) == ("COMPLETE", 0, None)
    assert report["chunks"] == len(report["chunk_map"]) > 0
    assert report["gaps"] == []
    assert report["tree_size"] == report["signed_size"]
    text = cli.text("verify", str(cli.folder(recorded)))
    assert text.rstrip().endswith("COMPLETE")
    assert "nobody vouches for this key" in text


def flip_a_byte(folder: Path) -> None:
    path = min((folder / "chunks").iterdir())
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def test_verify_names_a_damaged_chunk_and_exits_with_13(
    cli: Cli, recorded: str, tmp_path: Path
) -> None:
    folder = shutil.copytree(cli.folder(recorded), tmp_path / "copy")
    flip_a_byte(folder)
    report = json.loads(cli.run("verify", str(folder), "--json", code=13).stdout)
    assert report["verdict"] == "TAMPERED"
    assert report["chunk_map"][0] == "X"
    assert report["failed_step"] is not None
    [name] = report["damaged"]
    assert name.startswith("chunks/0000000001")
    text = cli.run("verify", str(folder), code=13).stdout
    assert f"damaged: {name}" in text
    assert text.rstrip().endswith("TAMPERED")


def test_verify_says_truncated_of_an_unsealed_copy_and_exits_with_10(
    cli: Cli, tmp_path: Path
) -> None:
    session_id = cli.json("start", "pattern", "--fps", "20")["session_id"]
    deadline = time.monotonic() + DEADLINE_S
    while cli.json("show", session_id)["totals"]["chunk_count"] == 0:
        assert time.monotonic() < deadline
        time.sleep(POLL_S)
    # Checkpoints first: a copy that is made in another order may lack a leaf of a signature.
    copy = tmp_path / "copy"
    copy.mkdir()
    shutil.copy(cli.folder(session_id) / "session.json", copy)
    for name in ("journal/checkpoints", "journal/leaves", "chunks"):
        shutil.copytree(cli.folder(session_id) / name, copy / name)
    cli.text("stop", session_id)
    report = json.loads(cli.run("verify", str(copy), "--json", code=10).stdout)
    assert report["verdict"] == "TRUNCATED"
    assert report["signed_size"] > 0
    assert cli.json("verify", str(cli.folder(session_id)))["verdict"] == "COMPLETE"


def test_verify_judges_a_key_by_the_policy_that_is_given(
    cli: Cli, recorded: str, tmp_path: Path
) -> None:
    folder = str(cli.folder(recorded))
    key = cli.json("verify", folder)["trust"]["public_key"]
    trusted, other, broken = (tmp_path / f"{name}.yaml" for name in ("trusted", "other", "broken"))
    trusted.write_text(f'keys: [{{name: lab 7, public_key: "{key}"}}]\n')
    other.write_text(f'keys: [{{name: lab 8, public_key: "{"ab" * 32}"}}]\n')
    broken.write_text("keys: [{name: lab 9}]\n")

    report = cli.json("verify", folder, "--trust", str(trusted))
    assert (report["trust"]["status"], report["trust"]["name"]) == ("trusted", "lab 7")
    assert "trusted as lab 7" in cli.text("verify", folder, "--trust", str(trusted))

    ended = cli.run("verify", folder, "--trust", str(other), "--json", code=20)
    report = json.loads(ended.stdout)
    assert (report["verdict"], report["trust"]["status"]) == ("COMPLETE", "untrusted")
    ended = cli.run("verify", folder, "--trust", str(other), code=20)
    assert "NOT TRUSTED by the policy given" in ended.stdout

    ended = cli.run("verify", folder, "--trust", str(broken), code=78)
    assert "expected in keys: name, public_key" in ended.stderr


def test_a_folder_that_is_no_recording_is_wrong_usage(tmp_path: Path) -> None:
    for command in ("verify", "frames"):
        ended = run_recorder(command, str(tmp_path), "--json", folder=tmp_path)
        assert (ended.returncode, ended.stdout) == (2, "")
        assert "recording" in ended.stderr


# --- frames, replay, config, schemas -------------------------------------------------------------


def test_frames_have_the_digests_that_others_decode(cli: Cli) -> None:
    path = write_video(cli.worker.folder / "noise.avi", frames=15)
    capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
    pictures = [picture for there, picture in iter(capture.read, (False, None)) if there]
    wanted = [blake3(np.ascontiguousarray(picture).tobytes()).hexdigest() for picture in pictures]
    assert len(set(wanted)) == 15

    folder = str(cli.folder(cli.record(str(path), "--pace", "fast")))
    rows = [json.loads(line) for line in cli.text("frames", folder, "--json").splitlines()]
    assert [row["blake3"] for row in rows] == wanted
    assert [row["index"] for row in rows] == list(range(15))
    assert {(row["width"], row["height"]) for row in rows} == {(48, 32)}
    assert [row["t_ns"] for row in rows] == [n * 100_000_000 for n in range(15)]
    text = [line.split() for line in cli.text("frames", folder).splitlines()]
    assert text == [
        [str(row[name]) for name in ("index", "t_ns", "width", "height", "blake3")] for row in rows
    ]


def test_replay_makes_the_same_recording_again(cli: Cli, recorded: str, tmp_path: Path) -> None:
    again = tmp_path / "again"
    command = ("replay", recorded, "--into", str(again))
    result = json.loads(cli.run(*command, "--json").stdout)
    assert result["same"] is True
    assert result["root_hash"] == cli.json("show", recorded)["root_hash"]
    assert cli.json("verify", result["location"])["verdict"] == "COMPLETE"
    ended = cli.run(*command, code=65)
    assert "--into: expected a new or empty folder" in ended.stderr
    third = cli.run("replay", recorded, "--into", str(tmp_path / "third"))
    assert third.stdout.rstrip().endswith("the same")


def test_replay_under_other_settings_makes_the_same_recording(
    cli: Cli, recorded: str, tmp_path: Path
) -> None:
    settings = tmp_path / "settings.yaml"
    settings.write_text("chunk: {duration_s: 77.0}\ncompress: {level: 9, window_log: 20}\n")
    into = str(tmp_path / "other")
    ended = cli.run("replay", recorded, "--into", into, "--config", str(settings), "--json")
    result = json.loads(ended.stdout)
    assert result["same"] is True, result["difference"]


def test_config_shows_each_setting_and_where_it_came_from(tmp_path: Path) -> None:
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "settings.yaml").write_text("capture:\n  segment_s: 2\n")
    env = {
        "RECORDER_NATS__PORT": "4333",
        "RECORDER_NATS__USER": "kim",
        "RECORDER_NATS__PASSWORD": "hush",
    }
    ended = run_recorder("config", "--json", folder=tmp_path, env=env)
    assert ended.returncode == 0, ended.stderr
    found = json.loads(ended.stdout)
    assert found["nats.port"] == {"value": "4333", "origin": "RECORDER_NATS__PORT"}
    assert float(found["capture.segment_s"]["value"]) == 2
    assert found["capture.segment_s"]["origin"].endswith("config/settings.yaml")
    assert found["sidecar.port"] == {"value": "8090", "origin": "default"}
    text = run_recorder("config", folder=tmp_path, env=env)
    assert text.returncode == 0
    line = next(line for line in text.stdout.splitlines() if line.startswith("nats.port"))
    assert line.split() == ["nats.port", "RECORDER_NATS__PORT", "4333"]
    assert "hush" not in ended.stdout + text.stdout


def test_schemas_writes_what_is_committed(tmp_path: Path) -> None:
    ended = run_recorder("schemas", "made", "--json", folder=tmp_path)
    assert ended.returncode == 0, ended.stderr
    committed = {path.name: path.read_bytes() for path in (ROOT / "schemas").iterdir()}
    made_now = {path.name: path.read_bytes() for path in (tmp_path / "made").iterdir()}
    assert made_now == committed
    assert json.loads(ended.stdout) == sorted(f"made/{name}" for name in committed)


def test_a_reader_that_leaves_early_is_no_error(cli: Cli, recorded: str) -> None:
    command = f"'{RECORDER}' frames '{cli.folder(recorded)}' | head -n 1"
    ended = subprocess.run(
        ["bash", "-o", "pipefail", "-c", command], check=False, capture_output=True, text=True
    )
    assert "Traceback" not in ended.stderr
    assert ended.stdout.startswith("0 0 1280 720 ")
