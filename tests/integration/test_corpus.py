"""What older versions recorded and published is read by this one, to the same bytes.

Each folder of `tests/corpus` was made once, by tests/make_corpus.py of its version.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import nats
import pytest
import reference
import zstandard
from films import packets
from make_corpus import FILM, SEALED, film_digest, frame_digests
from read_films import read_film
from running_recorder import RunningRecorder, settings_in
from worker_process import run_recorder

from recorder_worker.adapters.folder import FolderRecording
from recorder_worker.adapters.nats_server import NatsServer, NatsServerOptions
from recorder_worker.bus import codec
from recorder_worker.bus.connection.broker import Login
from recorder_worker.bus.streams.consumers import ConsumerLimits
from recorder_worker.bus.streams.deploy import deploy_topology
from recorder_worker.bus.streams.topology import (
    COMMANDS_STREAM,
    DEAD_STREAM,
    STREAM_OF,
    StreamLimits,
)
from recorder_worker.cli.identities import cipher_of
from recorder_worker.core.reading.film import recording_film
from recorder_worker.core.subjects import Fact
from recorder_worker.core.verify.verdicts import Verdict
from recorder_worker.core.verify.verifier import verify
from recorder_worker.service.replaying import replay_session
from recorder_worker.service.settings.tree import NatsSettings, Settings

CORPUS = Path(__file__).parent.parent / "corpus"
VERSIONS = sorted(path for path in CORPUS.iterdir() if path.is_dir())
LIMITS = StreamLimits(replicas=1, max_age_s=86_400, max_bytes=10**9, duplicate_window_s=120)
WAITS = ConsumerLimits(
    lease_s=10, chunk_ack_wait_s=10, compress_ack_wait_s=10, merkle_ack_wait_s=10
)
NOT_TOLD_AGAIN = {COMMANDS_STREAM, DEAD_STREAM}
"""Commands are for sessions that are over, and not for whoever reads about them."""


def expected(version: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((version / "expected.json").read_text())
    return found


def stored(version: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (version / "messages.jsonl").read_text().splitlines()]


SESSIONS = [
    pytest.param(version, session_id, id=f"{version.name}-{session_id[-1]}")
    for version in VERSIONS
    for session_id in expected(version)["sessions"]
]
EACH_VERSION = pytest.mark.parametrize("version", VERSIONS, ids=lambda path: path.name)


def files(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def data_of(version: Path, data: Path) -> Path:
    """A data directory as that version left it."""
    shutil.copytree(version, data)
    for path in (data / "keys").iterdir():
        path.chmod(0o600)  # a checkout does not keep modes
    return data


@asynccontextmanager
async def served(version: Path, folder: Path) -> AsyncIterator[str]:
    """A server whose streams hold what was published then."""
    server = NatsServer(NatsServerOptions(folder=folder / "nats"))
    await server.start()
    try:
        login = Login(servers=(server.url,), name="corpus")
        await deploy_topology(login, LIMITS, WAITS, check=False)
        client = await nats.connect(server.url)
        for message in stored(version):
            if message["stream"] not in NOT_TOLD_AGAIN:
                headers = {
                    name: value
                    for name, value in message["headers"].items()
                    if not name.startswith("Nats-Expected-")
                }
                await client.jetstream().publish(
                    message["subject"],
                    message["data"].encode(),
                    stream=message["stream"],
                    headers=headers,
                )
        await client.close()
        yield server.url
    finally:
        await server.stop()


def test_there_is_a_corpus_and_it_is_small() -> None:
    assert VERSIONS
    size = sum(path.stat().st_size for path in CORPUS.rglob("*") if path.is_file())
    assert size < 1_000_000 * len(VERSIONS)


@pytest.mark.parametrize(("version", "session_id"), SESSIONS)
def test_a_recording_has_its_verdict_its_root_and_every_picture(
    version: Path, session_id: str
) -> None:
    wanted = expected(version)["sessions"][session_id]
    folder, identity = version / "sessions" / session_id, version / "identity.txt"
    recording = FolderRecording(folder)
    report = verify(recording, cipher=cipher_of(recording, [identity]))
    assert report.verdict.value == wanted["verdict"]
    assert (report.root_hash, report.tree_size) == (wanted["root_hash"], wanted["tree_size"])
    assert [gap.reason for gap in report.gaps] == wanted["gaps"]
    assert report.closed_count == 0
    theirs = reference.check(folder, identity)
    assert (theirs["verdict"], theirs["root_hash"]) == (wanted["verdict"], wanted["root_hash"])
    if session_id == FILM:
        assert film_digest(folder) == wanted["film"]
    else:
        assert frame_digests(folder, identity) == wanted["frames"]


@pytest.mark.parametrize(("version", "session_id"), SESSIONS)
def test_a_recording_is_exported_with_every_picture(
    version: Path, session_id: str, tmp_path: Path
) -> None:
    wanted = expected(version)["sessions"][session_id]
    name = "film.mp4" if session_id == FILM else "film.mkv"
    options = ["--identity", str(version / "identity.txt")] if session_id == SEALED else []
    if session_id != FILM:
        options.append("--no-cursor")
    folder = version / "sessions" / session_id
    ended = run_recorder("export", str(folder), name, *options, folder=tmp_path)
    assert ended.returncode == 0, ended.stderr
    if session_id == FILM:
        chunks = (b"".join(pieces) for _, pieces in recording_film(FolderRecording(folder)))
        recorded = [packet for chunk in chunks for packet in packets(chunk)]
        assert packets(tmp_path / name) == recorded
        assert len(recorded) == 20
        return
    found = read_film(tmp_path / name).digests()
    # What is shown beside them are cards, for gaps.
    assert [digest for digest in found if digest in wanted["frames"]] == wanted["frames"]


@EACH_VERSION
def test_the_log_of_sessions_holds(version: Path, tmp_path: Path) -> None:
    data = data_of(version, tmp_path / "data")
    ended = run_recorder("log", "verify", str(data), "--json", folder=tmp_path)
    assert ended.returncode == 0, ended.stdout + ended.stderr


@EACH_VERSION
def test_every_message_is_read_and_written_again_with_all_that_it_says(version: Path) -> None:
    facts = {str(fact): fact for fact in Fact}
    seen = set()
    for message in stored(version):
        name = message["subject"].rpartition(".")[0]
        fact = facts.get(name) or facts.get(message["subject"])
        if fact is None or STREAM_OF[fact] != message["stream"]:
            continue
        event = codec.decode(fact, message["data"].encode())
        old, new = json.loads(message["data"]), json.loads(codec.encode(event))
        assert old["v"] >= 1
        assert {key: new[key] for key in old} == old, "a field that is not read is lost"
        seen.add(fact)
    assert {Fact.CAPTURED, Fact.CHUNKED, Fact.COMPRESSED, Fact.HEAD, Fact.CHECKPOINT} <= seen
    assert {Fact.SEALED, Fact.QUALITY, Fact.LOGGED, Fact.AUDIT_ACCEPTED} <= seen


@EACH_VERSION
async def test_every_session_is_made_again_from_its_messages(version: Path, tmp_path: Path) -> None:
    data = data_of(version, tmp_path / "data")
    settings = Settings(data_dir=str(data))
    async with served(version, tmp_path) as url:
        for session_id, wanted in expected(version)["sessions"].items():
            folder = version / "sessions" / session_id
            cipher = cipher_of(FolderRecording(folder), [version / "identity.txt"])
            target = tmp_path / f"again-{session_id}"
            login = Login(servers=(url,), name="corpus")
            result = await replay_session(settings, login, session_id, target, cipher)
            if expected(version)["zstd"] != ".".join(map(str, zstandard.ZSTD_VERSION)):
                continue  # other bytes may be as good; that it can be made is seen
            assert result.same, result.difference
            assert result.root_hash == wanted["root_hash"]
            made, old = files(target / "sessions" / session_id), files(folder)
            beside = ("proofs/", "receipts/", "thumbnails/", "marks/")
            assert made == {
                name: old[name] for name in old if not name.startswith(beside) or name in made
            }


@EACH_VERSION
async def test_a_worker_of_this_version_goes_on_with_the_streams_and_changes_nothing(
    version: Path, tmp_path: Path
) -> None:
    data = data_of(version, tmp_path / "data")
    before = files(data / "sessions")
    async with served(version, tmp_path) as url:
        settings = msgspec.structs.replace(settings_in(data), nats=NatsSettings(url=url))
        async with RunningRecorder(settings) as recorder:
            await recorder.nothing_is_left()
            source = {"kind": "pattern", "width": 16, "height": 16, "pace": "fast", "frames": 3}
            new, report = await recorder.record(source)
            assert report.verdict is Verdict.COMPLETE
            await recorder.nothing_is_left()
            assert await recorder.dead_letter_count() == 0
    after = files(data / "sessions")
    assert {name: after[name] for name in before} == before
    assert {name.partition("/")[0] for name in after.keys() - before.keys()} == {new}
    ended = run_recorder("log", "verify", str(data), folder=tmp_path)
    assert ended.returncode == 0, ended.stdout + ended.stderr
