"""What is held, deleted and patrolled where there is a second store, on a running recorder."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
import reference
from running_recorder import DEADLINE_S, POLL_S, RunningRecorder, settings_in
from s3_server import BUCKET, OWNER, S3Server

from recorder_worker.adapters.age import new_identity
from recorder_worker.adapters.directory_store import DirectoryStore
from recorder_worker.bus.connection.broker import Login
from recorder_worker.core.errors import RefusedError
from recorder_worker.core.events import IntegrityFailed, SessionRetention
from recorder_worker.core.replay_outcome import Outcome
from recorder_worker.core.subjects import Fact
from recorder_worker.core.verify.verdicts import Verdict
from recorder_worker.integrations.second_store.archiver import marker_of
from recorder_worker.ports import BlobStore
from recorder_worker.service.doctor import bus_checks, kept_sessions, sealed_sessions
from recorder_worker.service.doctor.examine import examine
from recorder_worker.service.rebuilding import rebuild
from recorder_worker.service.second_store import close_store, open_second_store
from recorder_worker.service.settings.keeping import PatrolSettings, RetentionSettings
from recorder_worker.service.settings.storage import StorageSettings
from recorder_worker.service.settings.tree import AuditSettings, ChunkSettings, EncryptionSettings

SMALL = {"kind": "pattern", "width": 32, "height": 32, "pace": "fast", "frames": 30}
QUICK = (0.05, 0.2)
NO_PATROL = PatrolSettings(bytes_per_s=0)


def recorder_with(folder: Path, storage: StorageSettings, **more: Any) -> RunningRecorder:  # noqa: ANN401  (groups of settings)
    groups = {
        "chunk": ChunkSettings(duration_s=0.5),
        "retention": RetentionSettings(every_s=0.2),
        "patrol": NO_PATROL,
    }
    return RunningRecorder(settings_in(folder / "data", storage=storage, **groups | more))


def directory(folder: Path, **more: Any) -> StorageSettings:  # noqa: ANN401  (fields of StorageSettings)
    (folder / "second").mkdir()
    return StorageSettings(
        kind="directory", directory=str(folder / "second"), backoff_s=QUICK, sweep_s=0.1, **more
    )


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while not await asyncio.to_thread(holds):
            await asyncio.sleep(POLL_S)


async def archived(recorder: RunningRecorder, session_id: str) -> None:
    store = DirectoryStore(recorder.settings.data_path)
    await until(lambda: marker_of(store, session_id) is not None)


async def delete(recorder: RunningRecorder, session_id: str, kind: str) -> None:
    """Order it, and wait for the fact of one kind."""
    await recorder.client.effect(
        lambda: recorder.client.delete(session_id, "the visitor asked", by="kim"),
        session_id,
        lambda seen: isinstance(seen.event, SessionRetention) and seen.event.kind == kind,
        DEADLINE_S,
    )


def files_there(store: BlobStore, session_id: str) -> dict[str, bytes]:
    prefix = f"sessions/{session_id}/"
    return {key.removeprefix(prefix): store.get(key) for key in store.keys(prefix[:-1])}


def files_here(recorder: RunningRecorder, session_id: str) -> dict[str, bytes]:
    folder = recorder.folder(session_id)
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def is_same(
    store: BlobStore, recorder: RunningRecorder, session_id: str, tombstone: int = 2
) -> bool:
    """Whether the second store holds what the folder holds, tombstone and its proof included."""
    here = files_here(recorder, session_id)
    ended = any(name.startswith(f"proofs/retention-{tombstone:04d}") for name in here)
    return ended and here == files_there(store, session_id)


def is_there(store: BlobStore, recorder: RunningRecorder, session_id: str, proof: str) -> bool:
    """Whether all that the folder holds is in the second store, and a proof is among it."""
    here = files_here(recorder, session_id)
    proved = any(name.startswith(f"proofs/{proof}") for name in here)
    return proved and here.items() <= files_there(store, session_id).items()


def command(recorder: RunningRecorder, *words: object) -> subprocess.CompletedProcess[str]:
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
    return subprocess.run(
        [str(Path(sys.executable).parent / "recorder"), *map(str, words)],
        check=False,
        capture_output=True,
        text=True,
        cwd=recorder.settings.data_path,
        env={name: value for name, value in given.items() if value},
    )


async def fetched(recorder: RunningRecorder, session_id: str, target: Path) -> None:
    """The copy of a deleted session is brought back, and is what its folder is."""
    ended = await asyncio.to_thread(command, recorder, "fetch", session_id, target)
    assert ended.returncode == 12, ended.stdout + ended.stderr
    assert reference.check(target)["verdict"] == "REDACTED"


@pytest.mark.parametrize("encrypted", [False, True])
async def test_a_store_that_is_away_only_delays_the_tombstone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, encrypted: bool
) -> None:
    _, recipient = new_identity()
    more: dict[str, Any] = {"audit": AuditSettings(digest_s=0.2)}
    if encrypted:
        more["encryption"] = EncryptionSettings(recipients=(recipient,))
    monkeypatch.setattr(kept_sessions, "YOUNG_S", 0.0)
    monkeypatch.setattr(bus_checks, "YOUNG_S", 0.0)
    async with recorder_with(tmp_path, directory(tmp_path), **more) as recorder:
        login = Login(servers=(recorder.url,))
        session_id, _ = await recorder.record(SMALL)
        await archived(recorder, session_id)
        mount, store = tmp_path / "second", DirectoryStore(tmp_path / "second")
        mount.rename(tmp_path / "away")
        # A store that was opened finds its folder gone only where a file stands in its place.
        mount.write_bytes(b"")
        await delete(recorder, session_id, "delete")
        folder = recorder.folder(session_id)
        await until(lambda: not (folder / "chunks").exists())
        assert (folder / "session.json").exists() is not encrypted
        assert (folder / "retention" / "0001").exists()
        assert not (folder / "retention" / "0002").exists()
        assert recorder.report(session_id).verdict is Verdict.REDACTED
        examined = await examine(recorder.settings, login, repair=False)
        deleting = [one for one in examined.findings if one.check == "session.deleting"]
        assert [(one.where, one.counts) for one in deleting] == [(str(folder), True)]
        assert "nothing is left here" in deleting[0].what
        words = ("delete", session_id, "--reason", "again", "--timeout", 8)
        waited = await asyncio.to_thread(command, recorder, *words)
        assert waited.returncode == 69, waited.stdout + waited.stderr
        assert "the deletion is ordered, and not finished within 8" in waited.stderr
        mount.unlink()
        (tmp_path / "away").rename(mount)
        await until((folder / "retention" / "0002").exists)
        assert not any(name.startswith("chunks/") for name in files_there(store, session_id))
        await until(lambda: is_same(store, recorder, session_id))
        await fetched(recorder, session_id, tmp_path / "back")
        assert await recorder.dead_letter_count() == 0
        assert (await examine(recorder.settings, login, repair=False)).findings == ()

        kept, _ = await recorder.record(SMALL)
        into = tmp_path / "again"
        for _ in range(2):
            made = await rebuild(
                recorder.settings, login, into, cipher_of=lambda _session_id: None, jobs=1
            )
            outcomes = {one.session_id: one.outcome for one in made.sessions}
            assert outcomes == {session_id: Outcome.REMOVED, kept: Outcome.SAME}
            assert made.whole
        assert reference.check(into / "sessions" / session_id)["verdict"] == "REDACTED"


def bucket_of(kind: str, folder: Path, servers: ExitStack) -> StorageSettings:
    """Settings of a bucket: of NATS on the recorder's own server, of S3 on one of its own."""
    quick = StorageSettings(bucket=BUCKET, prefix="one/", backoff_s=QUICK, sweep_s=0.2)
    if kind == "nats":
        return msgspec.structs.replace(quick, kind=kind)
    return msgspec.structs.replace(
        quick,
        kind=kind,
        endpoint=servers.enter_context(S3Server(folder / "s3")).url,
        access_key_id=OWNER[0],
        secret_access_key=OWNER[1],
        timeout_s=5.0,
    )


@pytest.mark.parametrize("kind", ["s3", "nats"])
async def test_a_deleted_session_goes_in_a_bucket_and_nothing_brings_it_back(
    tmp_path: Path, kind: str
) -> None:
    with ExitStack() as servers:
        storage = bucket_of(kind, tmp_path, servers)
        async with recorder_with(tmp_path, storage) as recorder:
            store = servers.enter_context(opened(recorder))
            session_id, _ = await recorder.record(SMALL)
            await archived(recorder, session_id)
            assert any(name.startswith("chunks/") for name in files_there(store, session_id))
            await delete(recorder, session_id, "tombstone")
            await until(lambda: is_same(store, recorder, session_id))
            # All facts come again, as behind a server that lost every acknowledgement.
            await recorder.jetstream.delete_consumer("SESSIONS", "upload")
        async with recorder_with(tmp_path, storage) as recorder:
            store = servers.enter_context(opened(recorder))
            other, _ = await recorder.record(SMALL)
            await archived(recorder, other)
            async with asyncio.timeout(DEADLINE_S):
                while (
                    waits := await recorder.jetstream.consumer_info("SESSIONS", "upload")
                ).num_pending or waits.num_ack_pending:
                    await asyncio.sleep(POLL_S)
            assert is_same(store, recorder, session_id)
            await fetched(recorder, session_id, tmp_path / "back")
            assert await recorder.dead_letter_count() == 0


@contextmanager
def opened(recorder: RunningRecorder) -> Iterator[BlobStore]:
    """The second store of a recorder, for as long as is looked into it."""
    store = open_second_store(recorder.settings.storage, lambda: Login(servers=(recorder.url,)))
    try:
        yield store
    finally:
        close_store(store)


async def in_bucket(recorder: RunningRecorder) -> tuple[set[str], set[str]]:
    """The names of the objects, and the pieces that no object names."""
    stream = await recorder.jetstream.stream_info(
        f"OBJ_{BUCKET}", subjects_filter=f"$O.{BUCKET}.C.*"
    )
    pieces = {subject.rpartition(".")[2] for subject in stream.state.subjects or {}}
    listed = await (await recorder.jetstream.object_store(BUCKET)).list()
    return {info.name for info in listed}, pieces - {info.nuid for info in listed}


@pytest.mark.parametrize("encrypted", [False, True])
async def test_a_deleted_session_leaves_no_piece_in_a_bucket_of_nats(
    tmp_path: Path, encrypted: bool
) -> None:
    """Its chunks are there alone by then; nobody reads them behind the deletion, by no client."""
    _, recipient = new_identity()
    more = {"encryption": EncryptionSettings(recipients=(recipient,))} if encrypted else {}
    storage = StorageSettings(
        kind="nats",
        bucket=BUCKET,
        backoff_s=QUICK,
        sweep_s=0.1,
        keep_local="after_seal",
        keep_local_s=0.0,
    )
    async with recorder_with(tmp_path, storage, **more) as recorder:
        with opened(recorder) as store:
            session_id, _ = await recorder.record(SMALL)
            folder = recorder.folder(session_id)
            await until(lambda: not (folder / "chunks").exists())
            chunks = {
                name: data
                for name, data in files_there(store, session_id).items()
                if name.startswith("chunks/") or (encrypted and name == "session.json")
            }
            assert chunks
            await delete(recorder, session_id, "tombstone")
            await until(lambda: is_same(store, recorder, session_id))
            names, _ = await in_bucket(recorder)
            assert not {f"sessions/{session_id}/{name}" for name in chunks} & names
            # Heads and tiles of the log may just be on their way: pieces first, then the object.
            async with asyncio.timeout(DEADLINE_S):
                while (await in_bucket(recorder))[1]:
                    await asyncio.sleep(POLL_S)
            await fetched(recorder, session_id, tmp_path / "back")
            assert await recorder.dead_letter_count() == 0


async def test_a_hold_keeps_no_chunks_here_and_keeps_them_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = directory(tmp_path, keep_local="after_seal", keep_local_s=0.0)
    more = {"patrol": PatrolSettings(bytes_per_s=2**30, pause_s=0.1)}
    async with recorder_with(tmp_path, storage, **more) as recorder:
        store = DirectoryStore(tmp_path / "second")
        session_id, _ = await recorder.record(SMALL)
        await recorder.client.hold(session_id, "a court asked", name="court", by="kim")
        folder = recorder.folder(session_id)
        await until((folder / "retention" / "0001").exists)
        await until(lambda: not (folder / "chunks").exists())
        with pytest.raises(RefusedError, match="court"):
            await delete(recorder, session_id, "delete")
        assert any(name.startswith("chunks/") for name in files_there(store, session_id))
        await until(lambda: is_there(store, recorder, session_id, "retention-0001"))
        monkeypatch.setattr(sealed_sessions, "YOUNG_S", 0.0)
        monkeypatch.setattr(kept_sessions, "YOUNG_S", 0.0)
        login = Login(servers=(recorder.url,))
        assert (await examine(recorder.settings, login, repair=False)).findings == ()

        await recorder.client.release(session_id, "it is over", name="court", by="kim")
        await until((folder / "retention" / "0002").exists)
        await delete(recorder, session_id, "tombstone")
        assert not any(name.startswith("chunks/") for name in files_there(store, session_id))
        await until(lambda: is_same(store, recorder, session_id, tombstone=4))
        await fetched(recorder, session_id, tmp_path / "back")
        refused = await asyncio.to_thread(command, recorder, "repair", session_id)
        assert refused.returncode == 65, refused.stdout + refused.stderr
        assert "deleted" in refused.stderr
        # Nothing of this was damage to the patrol, nor is it to the doctor.
        assert await recorder.facts(Fact.INTEGRITY_FAILED, session_id) == []
        assert (await examine(recorder.settings, login, repair=False)).findings == ()


async def test_the_patrol_puts_a_damaged_chunk_back_from_the_second_store(tmp_path: Path) -> None:
    more = {"patrol": PatrolSettings(bytes_per_s=2**30, pause_s=0.1)}
    async with recorder_with(tmp_path, directory(tmp_path), **more) as recorder:
        session_id, _ = await recorder.record(SMALL)
        await archived(recorder, session_id)
        chunk = min((recorder.folder(session_id) / "chunks").iterdir())
        whole = chunk.read_bytes()
        chunk.chmod(0o600)
        chunk.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
        await until(lambda: chunk.read_bytes() == whole)
        async with asyncio.timeout(DEADLINE_S):
            while not (told := await recorder.facts(Fact.INTEGRITY_FAILED, session_id)):
                await asyncio.sleep(POLL_S)
        (fact,) = told
        assert isinstance(fact, IntegrityFailed)
        assert (fact.stage, fact.problem, fact.repaired) == ("patrol", "damaged", True)
        assert recorder.report(session_id).verdict is Verdict.COMPLETE
