"""What docs/integrations.md tells to type works, on a real worker, as it stands there."""

from __future__ import annotations

import asyncio
import json
import re
import shlex
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import nats
import pytest
from nats.aio.client import Client
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy
from nats.js.errors import KeyNotFoundError, NotFoundError
from nats.js.kv import KeyValue
from worker_process import WorkerProcess, clean_environment, run_recorder

from recorder_worker.client import RecorderClient
from recorder_worker.core.events import SessionSealed
from recorder_worker.core.subjects import SESSIONS_BUCKET, SETTLING, Endpoint, Fact

ROOT = Path(__file__).parents[2]
GUIDE = ROOT / "docs" / "integrations.md"
TEXT = GUIDE.read_text(encoding="utf-8")
URL = "nats://127.0.0.1:4222"
DEADLINE_S = 60.0
SMALL = {"kind": "pattern", "width": 32, "height": 32, "pace": "fast", "frames": 40}


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)


LINES = [shlex.split(line) for block in blocks("sh") for line in block.splitlines()]
NATS = [words[1:] for words in LINES if words[0] == "nats"]
SUBSCRIPTIONS = [words[1] for words in NATS if words[0] == "sub"]
PROGRAMS = [words[1:] for words in LINES if words[0] == "python"]


@pytest.fixture(scope="module")
def worker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WorkerProcess]:
    env = {
        "RECORDER_CAPTURE__SEGMENT_S": "0.25",
        "RECORDER_CHUNK__DURATION_S": "0.5",
        "RECORDER_DISK__FLOOR_BYTES": "1",
        "RECORDER_NODES__HEARTBEAT_S": "0.2",
    }
    with WorkerProcess(tmp_path_factory.mktemp("worker"), env=env) as running:
        yield running


@asynccontextmanager
async def connected(worker: WorkerProcess) -> AsyncIterator[Client]:
    bus = await nats.connect(worker.nats_url)
    try:
        async with asyncio.timeout(DEADLINE_S):
            yield bus
    finally:
        await bus.close()


async def recorded(worker: WorkerProcess) -> SessionSealed:
    """A session that is sealed, and told as stored."""
    async with RecorderClient.connect(worker.nats_url) as client:
        started = await client.start(SMALL)
        sealed = await client.wait_sealed(started.session_id, DEADLINE_S)
    async with connected(worker) as bus:
        facts = await bus.jetstream().subscribe(
            Fact.STORED.value, stream="INTEGRATION", ordered_consumer=True
        )
        async for message in facts.messages:
            if json.loads(message.data)["session_id"] == sealed.session_id:
                break
        bucket = await bus.jetstream().key_value(SESSIONS_BUCKET)
        while await _state(bucket, sealed.session_id) != "sealed":
            await asyncio.sleep(0.02)
    return sealed


async def _state(bucket: KeyValue, session_id: str) -> str:
    """What the table says of a session; nothing yet where whoever keeps it is behind."""
    try:
        entry = await bucket.get(session_id)
    except KeyNotFoundError:
        return ""
    state: str = json.loads(entry.value or b"")["state"]
    return state


def test_the_guide_has_an_example_of_every_system() -> None:
    named = {Path(words[0]).name for words in PROGRAMS}
    assert named == {path.name for path in (ROOT / "examples").glob("*.py")}
    asked = {words[1] for words in NATS if words[0] == "req"}
    # Dead letters are for who runs the recorder: docs/recovery.md, tests/integration.
    assert asked == set(Endpoint) - set(SETTLING)
    assert {words[0] for words in LINES} == {"nats", "python", "recorder"}
    assert len(blocks("python")) == 1


@pytest.mark.parametrize("words", PROGRAMS, ids=" ".join)
def test_every_option_of_an_example_is_one(words: list[str]) -> None:
    program, *arguments = words
    command = next((word for word in arguments if re.fullmatch(r"[a-z]+", word)), None)
    helped = [sys.executable, str(ROOT / program), *([command] if command in COMMANDS else [])]
    shown = subprocess.run([*helped, "--help"], capture_output=True, text=True, check=True)
    options = [word for word in arguments if word.startswith("--")]
    assert options
    for option in options:
        assert re.search(rf"{option}\b", shown.stdout), option


COMMANDS = {"list", "get", "proof", "stats", "watch"}


def test_the_python_example_runs_as_it_stands_there(worker: WorkerProcess, tmp_path: Path) -> None:
    sealed = asyncio.run(recorded(worker))
    script = tmp_path / "example.py"
    script.write_text(blocks("python")[0].replace(URL, worker.nats_url), encoding="utf-8")
    ended = subprocess.run(
        [sys.executable, str(script)],
        capture_output=True,
        text=True,
        check=False,
        timeout=DEADLINE_S,
        env=clean_environment(),
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    assert f"{sealed.session_id} sealed 40" in ended.stdout
    assert f"{sealed.session_id} sealed\n" in ended.stdout


async def test_every_subscription_of_the_guide_gets_messages(worker: WorkerProcess) -> None:
    async with connected(worker) as bus:
        waiting = {subject: await bus.subscribe(subject) for subject in SUBSCRIPTIONS}
        await bus.flush()
        sealed = await recorded(worker)
        asked = json.dumps({"session_id": sealed.session_id}).encode()
        await bus.request(Endpoint.GET, asked, timeout=DEADLINE_S)
        for subject, subscription in waiting.items():
            message = await subscription.next_msg(timeout=DEADLINE_S)
            assert json.loads(message.data), subject


async def test_every_nats_line_does_what_the_guide_says(worker: WorkerProcess) -> None:
    """The `nats` program is not here: each line is done as it does it, by its own words."""
    sealed = await recorded(worker)
    async with connected(worker) as bus:
        await bus.jetstream().create_key_value(bucket="recorder-revocations")
        for words in NATS:
            line = [named(sealed, word) for word in words]
            await DOES[tuple(words[:2]) if words[0] in GROUPS else (words[0],)](bus, line)


def named(sealed: SessionSealed, word: str) -> str:
    """With what stands for the reader's own session and its first chunk filled in."""
    return re.sub(r"\bNUMBER\b", "1", re.sub(r"\bSESSION\b", sealed.session_id, word))


GROUPS = {"stream", "consumer", "kv", "micro"}


async def sub(bus: Client, words: list[str]) -> None:
    await (await bus.subscribe(words[1])).unsubscribe()


async def req(bus: Client, words: list[str]) -> None:
    _, subject, body = words
    answer = await bus.request(subject, body.encode(), timeout=DEADLINE_S)
    assert "Nats-Service-Error-Code" not in (answer.headers or {}), answer.data
    assert json.loads(answer.data)


async def stream_get(bus: Client, words: list[str]) -> None:
    _, _, stream, option, subject = words
    assert option == "--last-for"
    message = await bus.jetstream().get_last_msg(stream, subject)
    assert json.loads(message.data or b"")


async def consumer_add(bus: Client, words: list[str]) -> None:
    _, _, stream, name, *options = words
    assert options[0] == "--filter"
    assert options[2:] == ["--ack", "explicit", "--pull", "--deliver", "all", "--defaults"]
    config = ConsumerConfig(
        durable_name=name,
        filter_subject=options[1],
        ack_policy=AckPolicy.EXPLICIT,
        deliver_policy=DeliverPolicy.ALL,
    )
    await bus.jetstream().add_consumer(stream, config)


async def consumer_next(bus: Client, words: list[str]) -> None:
    _, _, stream, name = words
    subscription = await bus.jetstream().pull_subscribe_bind(name, stream)
    (message,) = await subscription.fetch(1, timeout=DEADLINE_S)
    assert json.loads(message.data)["type"] == "session_stored"
    await message.ack_sync()


async def consumer_rm(bus: Client, words: list[str]) -> None:
    _, _, stream, name, option = words
    assert option == "--force"
    assert await bus.jetstream().delete_consumer(stream, name)
    while not await _delivers(bus, stream, name):
        await asyncio.sleep(0.02)


async def _delivers(bus: Client, stream: str, name: str) -> bool:
    """Whether there is such a consumer, and it has begun with the stream anew."""
    try:
        info = await bus.jetstream().consumer_info(stream, name)
    except NotFoundError:
        return False
    return bool(info.delivered and info.delivered.consumer_seq)


async def kv_get(bus: Client, words: list[str]) -> None:
    _, _, bucket, key = words
    entry = await (await bus.jetstream().key_value(bucket)).get(key)
    assert json.loads(entry.value or b"")["session_id"] == key


async def kv_put(bus: Client, words: list[str]) -> None:
    _, _, bucket, key, value = words
    kv = await bus.jetstream().key_value(bucket)
    await kv.put(key, value.encode())
    assert json.loads((await kv.get(key)).value or b"")["reason"]


async def kv_watch(bus: Client, words: list[str]) -> None:
    _, _, bucket = words
    watcher = await (await bus.jetstream().key_value(bucket)).watchall()
    update = await watcher.updates(timeout=DEADLINE_S)  # type: ignore[no-untyped-call]
    assert json.loads(update.value)["session_id"]
    await watcher.stop()  # type: ignore[no-untyped-call]


async def micro_info(bus: Client, words: list[str]) -> None:
    _, _, name = words
    answer = await bus.request(f"$SRV.INFO.{name}", b"", timeout=DEADLINE_S)
    assert json.loads(answer.data)["type"] == "io.nats.micro.v1.info_response"


DOES: dict[tuple[str, ...], Callable[[Client, list[str]], Awaitable[None]]] = {
    ("sub",): sub,
    ("req",): req,
    ("stream", "get"): stream_get,
    ("consumer", "add"): consumer_add,
    ("consumer", "next"): consumer_next,
    ("consumer", "rm"): consumer_rm,
    ("kv", "get"): kv_get,
    ("kv", "put"): kv_put,
    ("kv", "watch"): kv_watch,
    ("micro", "info"): micro_info,
}


def test_every_recorder_line_of_the_guide_runs(worker: WorkerProcess) -> None:
    lines = [words[1:] for words in LINES if words[0] == "recorder"]
    assert lines
    for words in lines:
        ended = run_recorder(*words, folder=worker.folder)
        assert ended.returncode == 0, ended.stderr
        assert "vkey" in ended.stdout
