"""Every example runs, as a process of its own, against a real recorder, and does what it says."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Self

import cv2
import nats
import numpy as np
import pytest
from films import packets, times, write_film
from nats.aio.client import Client
from nats.errors import NoRespondersError
from nats.js.errors import NotFoundError
from packet_publisher import units_of
from running_recorder import until
from worker_process import WorkerProcess, clean_environment, run_recorder

from recorder_worker.adapters.folder import FolderRecording
from recorder_worker.bus import codec
from recorder_worker.client import RecorderClient
from recorder_worker.core.events import CommandDenied, SessionSealed
from recorder_worker.core.reading.film import recording_film
from recorder_worker.core.reading.frames import recording_frames
from recorder_worker.core.receipts.chain import parse_chain_receipt
from recorder_worker.core.subjects import Fact
from recorder_worker.core.verify.verdicts import Verdict
from recorder_worker.core.verify.verifier import verify

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
DEADLINE_S = 60.0
SMALL = {"kind": "pattern", "width": 32, "height": 32, "pace": "fast", "frames": 40}
LIVE = {"kind": "pattern", "width": 32, "height": 32}


class Example:
    """An example as a process; `with` starts it and ends it by SIGTERM."""

    def __init__(self, name: str, worker: WorkerProcess, *arguments: str) -> None:
        self._command = [
            sys.executable,
            str(EXAMPLES / name),
            "--nats",
            worker.nats_url,
            *arguments,
        ]
        self._process: subprocess.Popen[str] | None = None
        self._reading: threading.Thread | None = None
        self.lines: list[str] = []

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            self._command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=clean_environment(),
        )
        self._reading = threading.Thread(target=self._read, daemon=True)
        self._reading.start()
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        assert self._process is not None
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
        code = self._process.wait(DEADLINE_S)
        assert self._reading is not None
        self._reading.join(DEADLINE_S)
        if kind is None:
            assert code in {0, -signal.SIGKILL}, self.text
            assert "Traceback" not in self.text, self.text

    def ends(self) -> None:
        """Wait until it has ended by itself."""
        assert self._process is not None
        self._process.wait(DEADLINE_S)

    def kill(self) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.wait(DEADLINE_S)

    @property
    def text(self) -> str:
        return "\n".join(self.lines)

    def said(self, what: str) -> str:
        """Wait for a line that has a text in it."""
        deadline = time.monotonic() + DEADLINE_S
        while time.monotonic() < deadline:
            for line in list(self.lines):
                if what in line:
                    return line
            assert self._process is not None
            assert self._process.poll() is None, f"it ended: {self.text}"
            time.sleep(0.02)
        raise AssertionError(f"expected {what!r}, found: {self.text}")

    def _read(self) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self.lines.append(line.rstrip("\n"))


def run_example(
    name: str, worker: WorkerProcess, *arguments: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(EXAMPLES / name), "--nats", worker.nats_url, *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=DEADLINE_S,
        env=clean_environment(),
    )


ANCHOR_KEY = "anchor.pem"
STEPS = {
    "RECORDER_CAPTURE__SEGMENT_S": "0.25",
    "RECORDER_CAPTURE__CHECKPOINT_S": "1",
    "RECORDER_CHUNK__DURATION_S": "0.5",
    "RECORDER_DISK__FLOOR_BYTES": "1",
    "RECORDER_NODES__HEARTBEAT_S": "1",
}


@pytest.fixture(scope="module")
def anchor_key(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The anchor's private key and its public one, which the recorder has to know at its start."""
    path = tmp_path_factory.mktemp("anchor") / ANCHOR_KEY
    script = f"import sys; sys.path.insert(0, {str(EXAMPLES)!r}); import anchor_worker, pathlib;"
    script += f"k = anchor_worker.private_key(pathlib.Path({str(path)!r}));"
    script += "print(k.public_key().public_bytes_raw().hex())"
    made = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    return path, made.stdout.strip()


@pytest.fixture(scope="module")
def worker(
    tmp_path_factory: pytest.TempPathFactory, anchor_key: tuple[Path, str]
) -> Iterator[WorkerProcess]:
    env = STEPS | {"RECORDER_ANCHORS__CHAIN_KEYS": anchor_key[1]}
    with WorkerProcess(tmp_path_factory.mktemp("worker"), env=env) as running:
        yield running


async def recorded(worker: WorkerProcess, **options: Any) -> SessionSealed:  # noqa: ANN401  (fields of session.start)
    async with RecorderClient.connect(worker.nats_url) as client:
        started = await client.start(SMALL, **options)
        return await client.wait_sealed(started.session_id, DEADLINE_S)


@asynccontextmanager
async def connected(worker: WorkerProcess) -> AsyncIterator[Client]:
    bus = await nats.connect(worker.nats_url)
    try:
        yield bus
    finally:
        await bus.close()


def test_every_example_is_run_here_and_short() -> None:
    text = Path(__file__).read_text(encoding="utf-8")
    for path in EXAMPLES.glob("*.py"):
        assert f'"{path.name}"' in text
        assert len(path.read_text(encoding="utf-8").splitlines()) <= 160
        shown = subprocess.run(
            [sys.executable, str(path), "--help"], capture_output=True, text=True, check=True
        )
        assert "--nats" in shown.stdout


# --- session pipeline -----------------------------------------------------------------------------


def leaves(database: Path, session_id: str) -> list[tuple[int, str]]:
    with sqlite3.connect(database) as connection:
        rows = connection.execute(
            "SELECT leaf, kind FROM leaves WHERE session_id = ? ORDER BY leaf", (session_id,)
        )
        return rows.fetchall()


async def test_the_pipeline_consumer_applies_every_leaf_once_across_kills_and_a_replay(
    worker: WorkerProcess, tmp_path: Path
) -> None:
    database = tmp_path / "leaves.db"
    follow = ("--database", str(database), "--durable", "pipeline-kill")
    first = await recorded(worker)
    with Example("pipeline_consumer.py", worker, *follow) as killed:
        await asyncio.to_thread(killed.said, "following")
        await asyncio.to_thread(killed.said, f"whole {first.session_id}")
        killed.kill()
    second = await recorded(worker)  # while it is down
    with Example("pipeline_consumer.py", worker, *follow) as again:
        await asyncio.to_thread(again.said, f"whole {second.session_id}")
        assert f"whole {first.session_id}" not in again.text
    before = {one.session_id: leaves(database, one.session_id) for one in (first, second)}
    for sealed in (first, second):
        found = before[sealed.session_id]
        assert [leaf for leaf, _ in found] == list(range(sealed.tree_size))
        assert [kind for _, kind in found].count("stored") == sealed.chunk_count
    # Another consumer into the same file gets everything again, and changes nothing.
    replay = ("--database", str(database), "--durable", "pipeline-replay")
    with Example("pipeline_consumer.py", worker, *replay) as replayed:
        third = await recorded(worker)
        await asyncio.to_thread(replayed.said, f"whole {third.session_id}")
    assert {one: leaves(database, one) for one in before} == before


# --- frames of your own --------------------------------------------------------------------------


async def test_the_frame_publisher_has_its_pictures_recorded(
    worker: WorkerProcess, tmp_path: Path
) -> None:
    pictures = [np.random.default_rng(i).integers(0, 256, (40, 60, 3), np.uint8) for i in range(6)]
    files = [tmp_path / f"{index}.png" for index in range(len(pictures))]
    for path, picture in zip(files, pictures, strict=True):
        cv2.imwrite(str(path), picture)
    files.insert(3, tmp_path / "damaged.png")
    files[3].write_bytes(files[0].read_bytes()[:-20])
    publish = ("--subject", "source.lab.frames", "--fps", "50", *map(str, files))
    with Example("frame_publisher.py", worker, *publish) as running:
        async with RecorderClient.connect(worker.nats_url) as client:
            source = {"kind": "nats", "uri": "source.lab.frames"}
            started = await client.start(source, timeout_s=DEADLINE_S)
            sealed = await client.wait_sealed(started.session_id, DEADLINE_S)
        running.ends()
    assert (sealed.reason.value, sealed.frame_count) == ("source_ended", len(pictures))
    assert running.text.count("accepted") == len(pictures)
    assert "damaged.png: refused, $: expected a whole PNG picture" in running.text
    recording = FolderRecording(worker.data_dir / "sessions" / started.session_id)
    assert verify(recording).verdict is Verdict.COMPLETE_WITH_GAPS
    for frame, picture in zip(recording_frames(recording), pictures, strict=True):
        np.testing.assert_array_equal(frame.picture, picture)


async def test_the_producer_of_the_document_has_its_pictures_recorded(
    worker: WorkerProcess, capsys: pytest.CaptureFixture[str]
) -> None:
    picture = cv2.imencode(".png", np.zeros((20, 30, 3), np.uint8))[1].tobytes()
    sealed = await published_as_documented(worker, "source.lab.frames", [picture] * 4)
    assert (sealed.reason.value, sealed.frame_count) == ("source_ended", 4)
    assert capsys.readouterr().out.split() == ["accepted"] * 4


@pytest.mark.parametrize("codec", ["libx264", "libx265"])
async def test_the_producer_of_packets_in_the_document_has_its_film_recorded(
    worker: WorkerProcess, capsys: pytest.CaptureFixture[str], tmp_path: Path, codec: str
) -> None:
    film = write_film(tmp_path / "a.mp4", codec, None, frames=30, fps=25, reorder=2)
    names = {} if codec == "libx264" else {"h264_mp4toannexb": "hevc_mp4toannexb", "H264": "H265"}
    sealed = await published_as_documented(
        worker, "source.lab.packets", str(film), names, profile="copy"
    )
    assert (sealed.reason.value, sealed.frame_count) == ("source_ended", 30)
    assert capsys.readouterr().out.split() == ["accepted"] * 30
    folder = worker.data_dir / "sessions" / sealed.session_id
    recording = FolderRecording(folder)
    assert verify(recording).verdict is Verdict.COMPLETE
    whole = b"".join(b"".join(pieces) for _, pieces in recording_film(recording))
    assert packets(whole) == [unit.sample for unit in units_of(film)]
    for found, wanted in zip(times(whole), times(film), strict=True):
        assert abs(found - wanted) <= 10**-6


async def published_as_documented(
    worker: WorkerProcess,
    subject: str,
    what: object,
    names: dict[str, str] | None = None,
    **options: Any,  # noqa: ANN401  (fields of session.start)
) -> SessionSealed:
    """Run the program of docs/sources.md for a subject, and record what it publishes.

    `names` are replaced in it, as the document says.
    """
    text = (ROOT / "docs" / "sources.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    (block,) = (block for block in blocks if subject in block)
    own = f"source.document.{uuid.uuid4().hex}"
    block = block.replace("nats://127.0.0.1:4222", worker.nats_url).replace(subject, own)
    for name, other in (names or {}).items():
        block = block.replace(name, other)
    named: dict[str, Any] = {}
    exec(block, named)

    async def publish_once_heard() -> None:
        while True:
            try:
                await named["publish"](what)
            except NoRespondersError:
                await asyncio.sleep(0.02)
            else:
                return

    async with RecorderClient.connect(worker.nats_url) as client:
        publishing = asyncio.create_task(publish_once_heard())
        source = {"kind": "nats", "uri": own}
        started = await client.start(source, timeout_s=DEADLINE_S, **options)
        sealed = await client.wait_sealed(started.session_id, DEADLINE_S)
        await publishing
    return sealed


# --- session storage ------------------------------------------------------------------------------


async def test_the_storage_consumer_keeps_verified_copies_and_refuses_a_damaged_one(
    worker: WorkerProcess, tmp_path: Path
) -> None:
    into = tmp_path / "archive"
    first, damaged = await recorded(worker), await recorded(worker)
    await told_as_stored(worker, damaged.session_id)
    chunk = next((worker.data_dir / "sessions" / damaged.session_id / "chunks").iterdir())
    data = chunk.read_bytes()
    chunk.chmod(0o600)
    chunk.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    durable = ("--durable", "storage-test")
    with Example("storage_consumer.py", worker, "--into", str(into), *durable) as running:
        await asyncio.to_thread(running.said, f"kept {first.session_id}: COMPLETE")
        await asyncio.to_thread(running.said, f"REFUSED {damaged.session_id}: TAMPERED")
    copy = into / first.session_id
    assert (copy / "proofs" / "seal").is_file()
    ended = run_recorder("verify", str(copy), folder=tmp_path)
    assert ended.returncode == 0, ended.stdout
    assert not (into / damaged.session_id).exists()
    shutil.rmtree(into)
    # What was handled is not handled again.
    with Example("storage_consumer.py", worker, "--into", str(into), *durable) as running:
        second = await recorded(worker)
        await asyncio.to_thread(running.said, f"kept {second.session_id}")
        assert not (into / first.session_id).exists()


async def told_as_stored(worker: WorkerProcess, session_id: str) -> None:
    async with connected(worker) as bus, asyncio.timeout(DEADLINE_S):
        facts = await bus.jetstream().subscribe(
            Fact.STORED.value, stream="INTEGRATION", ordered_consumer=True
        )
        async for message in facts.messages:
            if json.loads(message.data)["session_id"] == session_id:
                return


# --- blockchain engine ----------------------------------------------------------------------------


async def test_the_anchor_worker_gives_receipts_that_prove_when_a_session_was_there(
    worker: WorkerProcess, anchor_key: tuple[Path, str], tmp_path: Path
) -> None:
    path, public = anchor_key
    chain = tmp_path / "anchors.chain"
    shown = run_recorder("keys", "show", "--json", folder=worker.folder)
    keys = ("--key", str(path), "--log-key", json.loads(shown.stdout)["vkey"])
    arguments = (*keys, "--chain", str(chain), "--name", "our-notary")
    sealed = await recorded(worker)
    folder = worker.data_dir / "sessions" / sealed.session_id
    trust = tmp_path / "trust.yaml"
    trust.write_text(
        f'anchors:\n  - name: the notary\n    public_key: "{public}"\n'
        "rules:\n  require_receipt: true\n"
    )
    with Example("anchor_worker.py", worker, *arguments) as running:
        await asyncio.to_thread(running.said, f"public key {public}, 0 entries")
        await until(lambda: len(list((folder / "receipts").glob("*.chain"))) == 2)
        running.kill()
    receipts = sorted((folder / "receipts").glob("*.chain"))
    assert chain.read_bytes().find(receipts[-1].read_bytes()) >= 0
    # The key of the recorder is not in this policy, so the exit code is that of an unknown key.
    report = verified(folder, trust)
    assert report["verdict"] == "COMPLETE"
    entry = parse_chain_receipt(receipts[-1].read_bytes()).entry
    assert report["window"]["not_after_ns"] == (entry.time_s + 1) * 1_000_000_000
    assert f"of the notary (our-notary, entry {entry.number})" in json.dumps(report)
    # Without a policy it proves nothing, and a changed one is tampering.
    assert verified(folder, None)["window"]["not_after_ns"] is None
    data = receipts[-1].read_bytes()
    receipts[-1].chmod(0o600)
    receipts[-1].write_bytes(data.replace(str(entry.time_s).encode(), b"1000000000"))
    assert verified(folder, trust)["verdict"] == "TAMPERED"
    receipts[-1].write_bytes(data)
    # It goes on where it was, behind a kill, and anchors nothing twice.
    count = chain.read_bytes().count(b"session-recorder anchor receipt v1\n")
    with Example("anchor_worker.py", worker, *arguments) as again:
        await asyncio.to_thread(again.said, f"{count} entries")
        later = await recorded(worker)
        place = worker.data_dir / "sessions" / later.session_id / "receipts"
        await until(lambda: len(list(place.glob("*.chain"))) == 2)
        await forge(worker)
        await asyncio.to_thread(again.said, "REFUSED")
    sizes = [line for line in chain.read_text().splitlines() if line.isdecimal()][::3]
    assert len(sizes) == len(set(sizes))


def verified(folder: Path, trust: Path | None) -> dict[str, Any]:
    extra = () if trust is None else ("--trust", str(trust))
    ended = run_recorder("verify", str(folder), "--json", *extra, folder=folder)
    report: dict[str, Any] = json.loads(ended.stdout)
    return report


async def forge(worker: WorkerProcess) -> None:
    """Ask for a checkpoint that nobody signed."""
    async with connected(worker) as bus:
        js = bus.jetstream()
        message = await js.get_last_msg("INTEGRATION", Fact.ANCHOR_REQUESTED.value)
        request = json.loads(message.data or b"")
        lines = request["note"].split("\n")
        lines[4] = lines[4][:-8] + "AAAAAAA="
        request["note"] = "\n".join(lines)
        await js.publish(Fact.ANCHOR_REQUESTED.value, json.dumps(request).encode())


# --- node manager ---------------------------------------------------------------------------------


async def test_the_node_manager_sees_a_worker_its_sessions_and_its_silence(
    worker: WorkerProcess, tmp_path: Path
) -> None:
    async with RecorderClient.connect(worker.nats_url) as client:
        started = await client.start(LIVE)
        with WorkerProcess(
            tmp_path, "compress", env=STEPS | {"RECORDER_NATS__URL": worker.nats_url}
        ) as other:
            with Example("node_manager.py", worker, "--every", "0.3", "--json") as running:
                await asyncio.to_thread(
                    wait_for, running, lambda rows: _recording(rows, started.session_id)
                )
                await asyncio.to_thread(
                    wait_for, running, lambda rows: _states(rows) == {"alive"} and len(rows) == 2
                )
                other.kill()
                await asyncio.to_thread(
                    wait_for, running, lambda rows: _states(rows) == {"alive", "SILENT"}
                )
            other.start()
            other.terminate()
            once = await asyncio.to_thread(run_example, "node_manager.py", worker, "--once")
            assert once.returncode == 0, once.stderr
            assert once.stdout.startswith("worker")
            assert "draining" in once.stdout
        await client.stop(started.session_id)
        await client.wait_sealed(started.session_id, DEADLINE_S)


def wait_for(running: Example, wanted: Any) -> None:  # noqa: ANN401  (a predicate of rows)
    deadline = time.monotonic() + DEADLINE_S
    while time.monotonic() < deadline:
        if running.lines and wanted(json.loads(running.lines[-1])):
            return
        time.sleep(0.02)
    raise AssertionError(f"never: {running.lines[-1:]}")


def _states(rows: list[dict[str, Any]]) -> set[str]:
    return {row["state"] for row in rows}


def _recording(rows: list[dict[str, Any]], session_id: str) -> bool:
    return any(session_id in row["sessions"] and row.get("frames") for row in rows)


# --- API gateway ----------------------------------------------------------------------------------


async def test_the_gateway_client_lists_gets_proves_and_watches(
    worker: WorkerProcess, tmp_path: Path
) -> None:
    with Example("gateway_client.py", worker, "watch") as watching:
        sealed = await recorded(worker, owner="gateway-test")
        session_id = sealed.session_id
        await asyncio.to_thread(watching.said, f'"{session_id}","state":"sealed"')
    listed = run_example("gateway_client.py", worker, "list", "--owner", "gateway-test")
    assert [json.loads(line)["session_id"] for line in listed.stdout.splitlines()] == [session_id]
    got = json.loads(run_example("gateway_client.py", worker, "get", session_id).stdout)
    assert (got["state"], got["root_hash"]) == ("sealed", sealed.root_hash)
    stats = json.loads(run_example("gateway_client.py", worker, "stats").stdout)
    assert stats["states"]["sealed"] >= 1
    proof = tmp_path / "chunk.proof"
    made = run_example(
        "gateway_client.py", worker, "proof", session_id, "--chunk", "1", "--out", str(proof)
    )
    assert made.returncode == 0, made.stderr
    chunk = next((worker.data_dir / "sessions" / session_id / "chunks").glob("0000000001.*"))
    checked = run_recorder("verify-proof", str(proof), "--chunk-file", str(chunk), folder=tmp_path)
    assert checked.returncode == 0, checked.stdout
    unknown = run_example(
        "gateway_client.py", worker, "get", "0" * 8 + "-0000-0000-0000-" + "0" * 12
    )
    assert unknown.returncode == 1
    assert unknown.stderr.startswith("404: session_id: expected a session that is known here")


# --- auth service ---------------------------------------------------------------------------------


async def test_the_auth_service_revokes_a_token_that_is_denied_too_often(
    worker: WorkerProcess,
) -> None:
    async with connected(worker) as bus:
        js = bus.jetstream()
        with Example("auth_service.py", worker, "--denials", "3", "--within", "30") as running:
            await asyncio.to_thread(running.said, "following")
            bucket = await js.key_value("recorder-revocations")
            for number, token in enumerate(("calm", "wild", "wild", "calm", "wild", "")):
                await deny(bus, token, number)
            await asyncio.to_thread(running.said, "revoked wild of mallory")
            value = json.loads((await bucket.get("wild")).value or b"")
            assert value["reason"].startswith("denied too often, last for session.stop")
            with pytest.raises(NotFoundError):
                await bucket.get("calm")


async def deny(bus: Client, token: str, number: int) -> None:
    """A denial as the recorder tells one."""
    denied = CommandDenied(
        actor="mallory",
        role="USER",
        token_id=token,
        session_id="unknown",
        node="n",
        wall_ns=number,
        command="session.stop",
        command_id=f"c{number}",
        command_blake3="ab" * 32,
        field="session_id",
        reason="not the owner",
    )
    await bus.jetstream().publish(Fact.AUDIT_DENIED.value, codec.encode(denied))
