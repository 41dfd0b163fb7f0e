"""Recordings and their copies: a running recorder, and real stores that are killed under it."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

import nats.js.errors
import pytest
import structlog
from running_recorder import DEADLINE_S, POLL_S, RunningRecorder, settings_in, until
from s3_server import BUCKET, OWNER, READER, S3Server
from small_disks import remount, small_disk

from recorder_worker.adapters.directory_store import DirectoryStore
from recorder_worker.adapters.s3.store import S3Store
from recorder_worker.bus import codec
from recorder_worker.bus.streams.topology import INTEGRATION_STREAM
from recorder_worker.core import keys
from recorder_worker.core.errors import StoreError
from recorder_worker.core.events import (
    BlobCopied,
    Event,
    IntegrityFailed,
    SessionArchived,
    SessionOffloaded,
)
from recorder_worker.core.subjects import Fact
from recorder_worker.core.verify.verdicts import Verdict
from recorder_worker.integrations.second_store.archiver import marker_of, signed_chunks
from recorder_worker.ports import BlobStore
from recorder_worker.service.settings.storage import StorageSettings
from recorder_worker.service.settings.tree import CaptureSettings, ChunkSettings

LIVE = {"kind": "pattern", "width": 64, "height": 48}
SMALL = {"kind": "pattern", "width": 32, "height": 32, "pace": "fast", "frames": 30}
QUICK = (0.05, 0.2)
CHECKPOINT = keys.log_key(keys.LOG_CHECKPOINT)


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with S3Server(tmp_path_factory.mktemp("s3")) as server:
        yield server


def s3_settings(server: S3Server, prefix: str, **more: Any) -> StorageSettings:  # noqa: ANN401  (fields of StorageSettings)
    login = more.pop("login", OWNER)
    return StorageSettings(
        kind="s3",
        endpoint=server.url,
        bucket=more.pop("bucket", BUCKET),
        prefix=prefix,
        access_key_id=login[0],
        secret_access_key=login[1],
        backoff_s=QUICK,
        sweep_s=0.2,
        timeout_s=5.0,
        **more,
    )


def recorder_with(folder: Path, storage: StorageSettings) -> RunningRecorder:
    return RunningRecorder(
        settings_in(
            folder / "data",
            storage=storage,
            chunk=ChunkSettings(duration_s=0.5),
            capture=CaptureSettings(segment_s=0.25, checkpoint_s=1.0, retry_s=1.0),
        )
    )


async def told(recorder: RunningRecorder, fact: Fact, session_id: str) -> list[Event]:
    """What has been told of a session until now, on a subject that is one for all."""
    found: list[Event] = []
    after = 0
    while True:
        try:
            message = await recorder.jetstream.get_msg(
                INTEGRATION_STREAM, seq=after + 1, subject=fact.value, next=True
            )
        except nats.js.errors.NotFoundError:
            return found
        after = message.seq or 0
        event = codec.decode(fact, message.data or b"")
        if getattr(event, "session_id", "") == session_id:
            found.append(event)


async def first(recorder: RunningRecorder, fact: Fact, session_id: str, count: int = 1) -> Event:
    """The newest of so many facts about a session, once there are."""
    async with asyncio.timeout(DEADLINE_S):
        while True:
            found = await told(recorder, fact, session_id)
            if len(found) >= count:
                return found[-1]
            await asyncio.sleep(POLL_S)


async def health(recorder: RunningRecorder) -> dict[str, Any]:
    def ask() -> dict[str, Any]:
        url = f"http://127.0.0.1:{recorder.sidecar_port}/health"
        with urllib.request.urlopen(url, timeout=10) as answer:
            found: dict[str, Any] = json.load(answer)
            return found

    return await asyncio.to_thread(ask)


async def storage_trouble(recorder: RunningRecorder, text: str) -> dict[str, Any]:
    """The report of `/health`, once copies are in this trouble; an empty text: in none."""
    async with asyncio.timeout(DEADLINE_S):
        while True:
            report = await health(recorder)
            check = next(check for check in report["checks"] if check["name"] == "storage")
            if (not text and check["ok"]) or (text and text in check["detail"]):
                return report
            await asyncio.sleep(POLL_S)


def command(recorder: RunningRecorder, *words: object) -> subprocess.CompletedProcess[str]:
    """A `recorder` command with the settings of this recorder, as a person calls it."""
    storage = recorder.settings.storage
    given = {
        "RECORDER_DATA_DIR": recorder.settings.data_dir,
        "RECORDER_NATS__URL": recorder.url,
        "RECORDER_STORAGE__KIND": storage.kind,
        "RECORDER_STORAGE__PREFIX": storage.prefix,
        "RECORDER_STORAGE__DIRECTORY": storage.directory,
        "RECORDER_STORAGE__BUCKET": storage.bucket,
        "RECORDER_STORAGE__ENDPOINT": storage.endpoint,
        "RECORDER_STORAGE__ACCESS_KEY_ID": storage.access_key_id,
        "RECORDER_STORAGE__SECRET_ACCESS_KEY": storage.secret_access_key,
    }
    program = Path(sys.executable).parent / "recorder"
    return subprocess.run(
        [str(program), *map(str, words)],
        check=False,
        capture_output=True,
        text=True,
        cwd=recorder.settings.data_path,
        env={name: value for name, value in given.items() if value},
    )


def same_files(store: BlobStore, recorder: RunningRecorder, session_id: str) -> None:
    """Every file of a sealed folder is in a store, with its bytes, and nothing else."""
    folder = recorder.folder(session_id)
    here = {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }
    prefix = keys.session_prefix(session_id)
    there = {key.removeprefix(f"{prefix}/"): store.get(key) for key in store.keys(prefix)}
    assert sorted(there) == sorted(here)
    assert there == here


def has_proof(store: BlobStore, session_id: str) -> bool:
    """What comes last into a sealed folder is in a store."""
    return store.size(keys.blob_key(session_id, keys.PROOF_SEAL)) is not None


def has_head(store: BlobStore, head: bytes) -> bool:
    """Whether this is the head of the log in a store."""
    return store.size(CHECKPOINT) is not None and store.get(CHECKPOINT) == head


@pytest.mark.timeout(300)
async def test_a_session_is_copied_while_it_is_recorded_and_whole_behind_its_seal(
    s3: S3Server, tmp_path: Path
) -> None:
    async with recorder_with(tmp_path, s3_settings(s3, "whole/")) as recorder:
        session_id = (await recorder.client.start(LIVE, fps=20)).session_id
        copied = await first(recorder, Fact.BLOB_COPIED, session_id, 2)
        assert isinstance(copied, BlobCopied)
        assert copied.checked == "attested"
        chunk = (recorder.folder(session_id) / copied.name).read_bytes()
        assert (copied.size, copied.sha256) == (len(chunk), sha256(chunk).hexdigest())
        assert copied.location.startswith(f"s3://{BUCKET}/whole/sessions/{session_id}/chunks/")

        # If this machine were lost now, this is what would be left.
        half = await asyncio.to_thread(
            command, recorder, "fetch", session_id, tmp_path / "half", "--json"
        )
        assert json.loads(half.stdout)["verdict"] == Verdict.TRUNCATED.value, half.stderr

        await recorder.client.stop(session_id)
        await recorder.sealed(session_id)
        archived = await first(recorder, Fact.ARCHIVED, session_id)
        assert isinstance(archived, SessionArchived)
        assert archived.keep_local
        store = S3Store(s3.place("whole/"))
        await until(partial(has_proof, store, session_id))
        same_files(store, recorder, session_id)
        count = len(await told(recorder, Fact.BLOB_COPIED, session_id))
        assert count == len(signed_chunks(store, session_id)) > 2
        head = (recorder.settings.data_path / "log" / "checkpoint").read_bytes()
        await until(partial(has_head, store, head))

        ended = await asyncio.to_thread(command, recorder, "fetch", session_id, tmp_path / "back")
        assert ended.returncode == 0, ended.stdout + ended.stderr
        assert "COMPLETE" in ended.stdout
        again = await asyncio.to_thread(command, recorder, "fetch", session_id, tmp_path / "back")
        assert again.returncode == 65
        assert "expected no folder or an empty one" in again.stderr
        listed = await asyncio.to_thread(command, recorder, "fetch", "--list")
        assert listed.stdout.split() == [session_id]
        logged = await asyncio.to_thread(command, recorder, "fetch", "--log", tmp_path / "logged")
        assert logged.returncode == 0, logged.stderr
        assert (tmp_path / "logged" / "log" / "checkpoint").read_bytes() == head


@pytest.mark.timeout(300)
async def test_a_store_that_is_killed_and_away_loses_nothing_and_holds_nothing_up(
    s3: S3Server, tmp_path: Path
) -> None:
    async with recorder_with(tmp_path, s3_settings(s3, "killed/")) as recorder:
        session_id = (await recorder.client.start(LIVE, fps=20)).session_id
        await first(recorder, Fact.BLOB_COPIED, session_id)
        await asyncio.to_thread(s3.kill)
        report = await storage_trouble(recorder, "expected an answer")
        assert (report["ok"], report["failing"]) == (True, ["storage"])

        before = len(await told(recorder, Fact.BLOB_COPIED, session_id))
        await recorder.captured(session_id)
        later = (await recorder.client.start(SMALL)).session_id
        await recorder.sealed(later)
        await recorder.client.stop(session_id)
        await recorder.sealed(session_id)
        for one in (session_id, later):
            assert recorder.report(one).verdict is Verdict.COMPLETE
            assert marker_of(DirectoryStore(recorder.settings.data_path), one) is None
        assert len(await told(recorder, Fact.BLOB_COPIED, session_id)) == before
        failed = await asyncio.to_thread(command, recorder, "fetch", session_id, tmp_path / "none")
        assert failed.returncode == 74
        assert not (tmp_path / "none").exists()

        await asyncio.to_thread(s3.start)
        store = S3Store(s3.place("killed/"))
        for one in (session_id, later):
            await first(recorder, Fact.ARCHIVED, one)
            await until(partial(has_proof, store, one))
            same_files(store, recorder, one)
            await first(recorder, Fact.BLOB_COPIED, one, len(signed_chunks(store, one)))
        await storage_trouble(recorder, "")
        assert await recorder.dead_letter_count() == 0


@pytest.mark.timeout(300)
async def test_a_log_that_was_set_back_here_is_told_and_its_newer_head_stays_in_the_copy(
    s3: S3Server, tmp_path: Path
) -> None:
    async with recorder_with(tmp_path, s3_settings(s3, "back/")) as recorder:
        local, store = DirectoryStore(recorder.settings.data_path), S3Store(s3.place("back/"))
        heads = []
        for _ in range(2):
            session_id, _ = await recorder.record(SMALL)
            await until(partial(has_proof, local, session_id))
            heads.append(local.get(CHECKPOINT))
            # One after the other they are in the copy: each is a better one.
            await until(partial(has_head, store, heads[-1]))
        assert heads[0] != heads[1]
        with structlog.testing.capture_logs() as lines:
            local.replace(CHECKPOINT, heads[0])
            await until(lambda: any(line["event"] == "LogRolledBack" for line in lines))
        assert store.get(CHECKPOINT) == heads[1]
        local.replace(CHECKPOINT, heads[1])


@pytest.mark.timeout(300)
async def test_a_server_that_is_killed_in_the_midst_of_an_upload_has_nothing_under_the_name(
    s3: S3Server,
) -> None:
    store = S3Store(s3.place("torn/"))
    data = bytes(range(256)) * 4 * 17_000
    writer = store.writer("sessions/one/chunks/1")
    writer.write(data)  # one part is there
    await asyncio.to_thread(s3.kill)
    with pytest.raises(StoreError, match="expected an answer"):
        writer.commit()
    writer.abort()
    await asyncio.to_thread(s3.start)
    assert store.size("sessions/one/chunks/1") is None
    assert store.keys("") == []
    store.put("sessions/one/chunks/1", data)
    assert store.digest("sessions/one/chunks/1").sha256 == sha256(data).hexdigest()


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"bucket": "no-such-bucket"}, "create it, or correct storage.bucket"),
        ({"login": READER}, "give this key the rights"),
        ({"login": ("nobody", "x")}, "correct the key, in storage.credentials_file"),
        ({"login": (OWNER[0], "wrong")}, "correct the secret of the key"),
    ],
    ids=["no bucket", "may not write", "unknown key", "wrong secret"],
)
async def test_a_store_that_refuses_is_said_and_a_session_is_sealed_all_the_same(
    s3: S3Server, tmp_path: Path, wrong: dict[str, Any], said: str
) -> None:
    async with recorder_with(tmp_path, s3_settings(s3, "refused/", **wrong)) as recorder:
        _, report = await recorder.record(SMALL)
        assert report.verdict is Verdict.COMPLETE
        found = await storage_trouble(recorder, said)
        assert found["ok"] is True
        assert await recorder.dead_letter_count() == 0


# --- chunks that go ------------------------------------------------------------------------------


def directory_settings(folder: Path, **more: Any) -> StorageSettings:  # noqa: ANN401  (fields of StorageSettings)
    return StorageSettings(
        kind="directory", directory=str(folder), backoff_s=QUICK, sweep_s=0.1, **more
    )


async def test_chunks_go_behind_their_copy_and_a_fetched_folder_is_whole(tmp_path: Path) -> None:
    second = tmp_path / "second"
    second.mkdir()
    storage = directory_settings(second, keep_local="after_seal", keep_local_s=0.0)
    async with recorder_with(tmp_path, storage) as recorder:
        session_id, _ = await recorder.record(SMALL)
        offloaded = await first(recorder, Fact.OFFLOADED, session_id)
        assert isinstance(offloaded, SessionOffloaded)
        folder = recorder.folder(session_id)
        assert not (folder / "chunks").exists()
        assert (folder / "records").exists()
        chunks = signed_chunks(DirectoryStore(second), session_id)
        assert offloaded.chunk_count == len(chunks) > 0
        assert offloaded.chunk_bytes == sum(chunk.size for chunk in chunks.values())

        verified = await asyncio.to_thread(command, recorder, "verify", folder)
        assert verified.returncode == 13
        assert f"recorder fetch {session_id}" in verified.stderr
        ended = await asyncio.to_thread(command, recorder, "fetch", session_id, tmp_path / "back")
        assert ended.returncode == 0, ended.stdout + ended.stderr
        film = tmp_path / "film.mp4"
        made = await asyncio.to_thread(command, recorder, "export", tmp_path / "back", film)
        assert made.returncode == 0, made.stderr
        logged = await asyncio.to_thread(
            command, recorder, "log", "verify", recorder.settings.data_path.absolute()
        )
        assert logged.returncode == 0, logged.stdout

        # All facts come again, as behind a server that lost every acknowledgement.
        for consumer in ("storage", "upload", "compress"):
            await recorder.jetstream.delete_consumer("SESSIONS", consumer)
            if consumer == "compress":
                continue  # the watch of this one makes nothing again: a worker's start does
        other, _ = await record_again(recorder)
        await first(recorder, Fact.ARCHIVED, other)
        await recorder.nothing_is_left()
        assert await told(recorder, Fact.INTEGRITY_FAILED, session_id) == []

        # In its own folder again, where it stays: for whatever wants it in the data directory.
        repaired = await asyncio.to_thread(command, recorder, "repair", session_id)
        assert repaired.returncode == 0, repaired.stderr
        assert repaired.stdout.count("missing: put back") == len(chunks)
        assert recorder.report(session_id).verdict is Verdict.COMPLETE
        assert await recorder.dead_letter_count() == 0


async def record_again(recorder: RunningRecorder) -> tuple[str, object]:
    """Record once more, when the consumer of compress has been made again."""
    from recorder_worker.bus.streams.consumers import ConsumerLimits, consumers  # noqa: PLC0415  (of this alone)

    limits = ConsumerLimits(
        lease_s=10, chunk_ack_wait_s=10, compress_ack_wait_s=30, merkle_ack_wait_s=10
    )
    await recorder.jetstream.add_consumer("SESSIONS", consumers(limits)["compress"].config)
    return await recorder.record(SMALL)


async def test_chunks_whose_copy_is_damaged_stay(tmp_path: Path) -> None:
    second = tmp_path / "second"
    second.mkdir()
    async with recorder_with(tmp_path, directory_settings(second)) as recorder:
        session_id, _ = await recorder.record(SMALL)
        await first(recorder, Fact.ARCHIVED, session_id)
    copy = next((second / "sessions" / session_id / "chunks").iterdir())
    copy.chmod(0o600)
    copy.write_bytes(b"\x00" + copy.read_bytes()[1:])
    storage = directory_settings(second, keep_local="after_seal", keep_local_s=0.0)
    async with recorder_with(tmp_path, storage) as recorder:
        failed = await first(recorder, Fact.INTEGRITY_FAILED, session_id)
        assert isinstance(failed, IntegrityFailed)
        assert (failed.stage, failed.problem) == ("upload", "damaged")
        assert "the chunk here stays" in failed.detail
        assert recorder.report(session_id).verdict is Verdict.COMPLETE
        assert await told(recorder, Fact.OFFLOADED, session_id) == []


async def test_a_place_is_one_recorders(tmp_path: Path) -> None:
    second = tmp_path / "second"
    second.mkdir()
    async with recorder_with(tmp_path / "one", directory_settings(second)) as recorder:
        session_id, _ = await recorder.record(SMALL)
        await first(recorder, Fact.ARCHIVED, session_id)
        checkpoint = second / "log" / "checkpoint"
        await until(checkpoint.exists)
    note = checkpoint.read_bytes()
    async with recorder_with(tmp_path / "other", directory_settings(second)) as recorder:
        await recorder.record(SMALL)
        await storage_trouble(recorder, "give each recorder a storage.prefix of its own")
    assert checkpoint.read_bytes() == note
    assert [path.name for path in (second / "sessions").iterdir()] == [session_id]
    own = directory_settings(second, prefix="other/")
    async with recorder_with(tmp_path / "other", own) as recorder:
        later, _ = await recorder.record(SMALL)
        await first(recorder, Fact.ARCHIVED, later)
    assert (second / "other" / "sessions" / later / "seal").exists()


async def test_a_store_that_is_full_is_waited_for_and_leaves_nothing_half_written(
    tmp_path: Path,
) -> None:
    with small_disk(tmp_path / "second", 65_536) as second:
        async with recorder_with(tmp_path, directory_settings(second)) as recorder:
            sessions = [(await recorder.record(SMALL))[0] for _ in range(3)]
            report = await storage_trouble(recorder, "make room")
            assert report["ok"] is True
            await asyncio.to_thread(remount, second, "size=64000000")
            for session_id in sessions:
                await first(recorder, Fact.ARCHIVED, session_id)
                await until(partial(has_proof, DirectoryStore(second), session_id))
                same_files(DirectoryStore(second), recorder, session_id)
            await storage_trouble(recorder, "")
            # The log of sessions may just be on its way, file by file.
            await until(lambda: list((second / ".tmp").iterdir()) == [])
            assert await recorder.dead_letter_count() == 0


async def test_a_disk_that_is_not_mounted_is_waited_for_and_never_made(tmp_path: Path) -> None:
    second = tmp_path / "second"
    async with recorder_with(tmp_path, directory_settings(second)) as recorder:
        session_id, _ = await recorder.record(SMALL)
        await storage_trouble(recorder, "expected a directory at")
        assert not second.exists()
        second.mkdir()
        await first(recorder, Fact.ARCHIVED, session_id)
        await until(partial(has_proof, DirectoryStore(second), session_id))
        same_files(DirectoryStore(second), recorder, session_id)


async def test_recordings_from_before_there_was_a_second_store_are_copied(tmp_path: Path) -> None:
    second = tmp_path / "second"
    second.mkdir()
    async with recorder_with(tmp_path, StorageSettings()) as recorder:
        session_id, _ = await recorder.record(SMALL)
        local = DirectoryStore(recorder.settings.data_path)
        await until(partial(has_proof, local, session_id))
    # The journal is gone, and with it all facts: only the folder tells of the session.
    (tmp_path / "data" / "nats").rename(tmp_path / "old-journal")
    async with recorder_with(tmp_path, directory_settings(second)) as recorder:
        await first(recorder, Fact.ARCHIVED, session_id)
        await until(partial(has_proof, DirectoryStore(second), session_id))
        same_files(DirectoryStore(second), recorder, session_id)


async def test_damaged_chunks_are_repaired_from_the_second_store(tmp_path: Path) -> None:
    second = tmp_path / "second"
    second.mkdir()
    async with recorder_with(tmp_path, directory_settings(second)) as recorder:
        session_id, _ = await recorder.record(SMALL)
        await first(recorder, Fact.ARCHIVED, session_id)
        chunk = min((recorder.folder(session_id) / "chunks").iterdir())
        whole = chunk.read_bytes()
        chunk.chmod(0o600)
        chunk.write_bytes(whole[:-1] + b"\x00")
        assert recorder.report(session_id).verdict is Verdict.TAMPERED
        ended = await asyncio.to_thread(command, recorder, "repair", session_id)
        assert ended.returncode == 0, ended.stderr
        assert "put back" in ended.stdout
        assert chunk.read_bytes() == whole
        assert recorder.report(session_id).verdict is Verdict.COMPLETE
        again = await asyncio.to_thread(command, recorder, "repair", session_id)
        assert again.stdout == "every chunk is whole\n"
        for path in (chunk, second / "sessions" / session_id / "chunks" / chunk.name):
            path.chmod(0o600)
            path.write_bytes(b"x")
        lost = await asyncio.to_thread(command, recorder, "repair", session_id)
        assert lost.returncode == 13
        assert "LOST" in lost.stdout


# --- NATS Object Store ---------------------------------------------------------------------------


async def test_a_bucket_of_nats_holds_copies_that_its_other_clients_read(tmp_path: Path) -> None:
    storage = StorageSettings(kind="nats", bucket="copies", backoff_s=QUICK, sweep_s=0.2)
    async with recorder_with(tmp_path, storage) as recorder:
        session_id, _ = await recorder.record(SMALL)
        archived = await first(recorder, Fact.ARCHIVED, session_id)
        assert isinstance(archived, SessionArchived)
        assert archived.location == f"nats-object://copies/sessions/{session_id}"
        copied = await first(recorder, Fact.BLOB_COPIED, session_id)
        assert isinstance(copied, BlobCopied)
        assert copied.checked == "read_back"
        bucket = await recorder.jetstream.object_store("copies")
        found = await bucket.get(keys.blob_key(session_id, copied.name))
        assert found.data == (recorder.folder(session_id) / copied.name).read_bytes()
        ended = await asyncio.to_thread(command, recorder, "fetch", session_id, tmp_path / "back")
        assert ended.returncode == 0, ended.stdout + ended.stderr
        assert await recorder.dead_letter_count() == 0
