"""What the documents tell a new user to type works, on a real worker, as it stands there."""

from __future__ import annotations

import asyncio
import json
import re
import shlex
import shutil
import subprocess
import sys
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from typing import NamedTuple

import nats
import pytest
from nats.aio.client import Client
from worker_process import WorkerProcess, clean_environment, run_recorder
from xserver import XServer

from recorder_worker.bus.fact_stream import first_of
from recorder_worker.client import FactSeen, RecorderClient
from recorder_worker.core.events import MarkCaptured, SessionRejected, SessionStarted
from recorder_worker.core.subjects import Fact

ROOT = Path(__file__).parents[2]
CLIP = ROOT / "demo" / "screen.mkv"
README = ROOT / "README.md"
DOCS = [README, ROOT / "docs" / "clients.md"]
URL = "nats://127.0.0.1:4222"
DEADLINE_S = 60.0
ENDLESS = {"recorder run", "recorder watch"}
"""What goes on until Ctrl-C: the first is the worker of this test."""

EFFECTS = {
    "session.mark": Fact.CAPTURED,
    "session.mask": Fact.CAPTURED,
    "session.pause": Fact.PAUSED,
    "session.resume": Fact.RESUMED,
    "session.stop": Fact.SEALED,
    "session.hold": Fact.RETENTION,
    "session.release": Fact.RETENTION,
    "session.delete": Fact.RETENTION,
}


class NatsLine(NamedTuple):
    """A command as the `nats` program sends it."""

    verb: str
    subject: str
    body: str


def blocks(path: Path, language: str) -> list[str]:
    text = path.read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def shell_text(path: Path) -> list[str]:
    return [line for block in blocks(path, "sh") for line in block.splitlines()]


def shell_lines(path: Path) -> list[list[str]]:
    return [words for line in shell_text(path) if (words := shlex.split(line, comments=True))]


def nats_lines() -> list[NatsLine]:
    lines = [words for path in DOCS for words in shell_lines(path)]
    sends = [NatsLine(*words[1:]) for words in lines if words[:1] == ["nats"] and words[1] != "sub"]
    return list(dict.fromkeys(sends))


PYTHON = [(path.name, block) for path in DOCS for block in blocks(path, "python")]
STARTS = [line for line in nats_lines() if line.subject == "session.start"]
CONTROLS = [line for line in nats_lines() if line.subject != "session.start"]


@pytest.fixture(scope="module")
def worker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WorkerProcess]:
    env = {"RECORDER_CAPTURE__SEGMENT_S": "0.25", "RECORDER_DISK__FLOOR_BYTES": "1"}
    with WorkerProcess(tmp_path_factory.mktemp("worker"), env=env) as running:
        yield running


@asynccontextmanager
async def connected(worker: WorkerProcess) -> AsyncIterator[tuple[Client, RecorderClient]]:
    bus = await nats.connect(worker.nats_url)
    try:
        async with RecorderClient.connect(worker.nats_url) as client, asyncio.timeout(DEADLINE_S):
            yield bus, client
    finally:
        await bus.close()


async def send(bus: Client, line: NatsLine, body: str) -> None:
    """As `nats pub` and `nats req` do: a plain message, the second with a place for an answer."""
    if line.verb == "pub":
        await bus.publish(line.subject, body.encode())
        await bus.flush()
        return
    answer = await bus.request(line.subject, body.encode(), timeout=DEADLINE_S)
    assert json.loads(answer.data)["stream"] == "COMMANDS"


def test_the_documents_have_examples_of_everything() -> None:
    assert len(PYTHON) == 3
    assert {line.subject for line in nats_lines()} == {"session.start", *EFFECTS}
    assert {line.verb for line in nats_lines()} == {"pub", "req"}


@pytest.mark.parametrize(("name", "example"), PYTHON, ids=lambda value: value[:12])
def test_a_python_example_runs_as_it_stands_there(
    worker: WorkerProcess, tmp_path: Path, name: str, example: str
) -> None:
    assert URL in example, f"{name}: an example says where the worker is"
    script = tmp_path / "example.py"
    script.write_text(example.replace(URL, worker.nats_url), encoding="utf-8")
    ended = subprocess.run(
        [sys.executable, str(script)],
        cwd=tmp_path,
        env=clean_environment(),
        capture_output=True,
        text=True,
        check=False,
        timeout=DEADLINE_S,
    )
    assert ended.returncode == 0, ended.stderr
    assert ended.stderr == ""
    assert ended.stdout


@pytest.mark.parametrize("line", STARTS, ids=lambda line: line.body)
async def test_a_start_from_the_shell_starts_a_session(
    worker: WorkerProcess, line: NatsLine
) -> None:
    with ExitStack() as stack:
        body = line.body.replace("SESSION", str(uuid.uuid4())).replace("/path/talk.mp4", str(CLIP))
        if '"x11"' in body:
            if shutil.which("Xvfb") is None:
                pytest.skip("needs Xvfb: scripts/setup-system.sh")
            body = body.replace(":10", stack.enter_context(XServer(320, 240)).display)
        async with connected(worker) as (bus, client):
            async with client.follow(history=False) as facts:
                await send(bus, line, body)
                started = await anext(answers(facts))
            assert isinstance(started, SessionStarted), started
            await client.stop(started.session_id)
            await client.wait_sealed(started.session_id)


async def answers(
    facts: AsyncIterator[FactSeen],
) -> AsyncIterator[SessionStarted | SessionRejected]:
    async for seen in facts:
        if isinstance(seen.event, SessionStarted | SessionRejected):
            yield seen.event


@pytest.mark.parametrize("line", CONTROLS, ids=lambda line: line.subject + line.body)
async def test_a_command_from_the_shell_takes_effect(worker: WorkerProcess, line: NatsLine) -> None:
    async with connected(worker) as (bus, client):
        session_id = (await client.start({"kind": "pattern"})).session_id

        def shows(seen: FactSeen) -> bool:
            fits = seen.fact is EFFECTS[line.subject]
            return fits and (seen.fact is not Fact.CAPTURED or isinstance(seen.event, MarkCaptured))

        if line.subject == "session.resume":
            await client.effect(
                lambda: client.pause(session_id), session_id, lambda seen: seen.fact is Fact.PAUSED
            )
        if EFFECTS[line.subject] is Fact.RETENTION:
            await client.stop(session_id)
            await client.wait_sealed(session_id)
        if line.subject == "session.release":
            await client.effect(
                lambda: client.hold(session_id, "case 12/26"),
                session_id,
                lambda seen: seen.fact is Fact.RETENTION,
            )
        body = line.body.replace("SESSION", session_id)
        async with client.follow(session_id, history=False) as facts:
            await send(bus, line, body)
            await first_of(facts, shows, session_id, DEADLINE_S)
        if EFFECTS[line.subject] is Fact.RETENTION:
            return
        await client.stop(session_id)
        await client.wait_sealed(session_id)


def test_the_readme_can_be_followed_line_by_line(worker: WorkerProcess) -> None:
    folder = worker.folder
    env = {"RECORDER_NATS__PORT": worker.nats_url.rsplit(":", 1)[1]}
    followed, session_id = set(), ""
    for text in shell_text(README):
        line = shlex.split(text, comments=True)
        if line[0] != "recorder" or " ".join(line) in ENDLESS:
            continue
        told = re.search(r"# exit code (\d+)", text)
        arguments = [word.replace("SESSION", session_id) for word in line[1:]]
        if "NUMBER" in arguments:
            chunks = folder / "recorder-data" / "sessions" / session_id / "chunks"
            number = min(int(path.stem) for path in chunks.iterdir())
            arguments[arguments.index("NUMBER")] = str(number)
        if line[1:3] == ["log", "verify"]:
            # The log is a moment behind the seal, and longer where the machine stands still.
            worker.logged("SessionLogged", session_id=session_id, kind="seal")
        ended = run_recorder(*arguments, folder=folder, env=env)
        assert ended.returncode == (int(told[1]) if told else 0), (
            f"{line}: {ended.stdout}{ended.stderr}"
        )
        assert ended.stdout or "--out" in line, line
        if line[1] == "start":
            found = re.search(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", ended.stdout)
            assert found, ended.stdout
            session_id = found[0]
        if line[1:3] == ["keys", "show"]:
            # As the text below it says: the lines that it prints, in a file.
            policy = ended.stdout.split("for those who verify:\n")[1]
            (folder / "trust.yaml").write_text(policy, encoding="utf-8")
        followed.add(line[1])
    assert followed >= {"start", "stop", "verify", "log", "keys", "clip", "proof", "verify-proof"}
    assert followed >= {"export", "frame"}
