"""A bucket over the months: logins that change, and what killed writers left in it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from running_recorder import RunningRecorder, settings_in, until
from s3_server import BUCKET, OWNER, READER, S3Server

from recorder_worker.adapters.directory_store import DirectoryStore
from recorder_worker.adapters.s3.client import S3Place, s3_client
from recorder_worker.adapters.s3.store import S3Store
from recorder_worker.core.errors import StoreError
from recorder_worker.integrations.second_store import leftovers
from recorder_worker.integrations.second_store.archiver import marker_of
from recorder_worker.service.settings.storage import StorageSettings

KEY = "sessions/one/chunks/1"
PART = bytes(5_242_880)
SMALL = {"kind": "pattern", "width": 32, "height": 32, "pace": "fast", "frames": 30}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with S3Server(tmp_path_factory.mktemp("s3")) as running:
        yield running


def give(path: Path, login: tuple[str, str]) -> None:
    """Put a login in the place of the one that is there, as those do who rotate them."""
    spare = path.with_suffix(".new")
    spare.write_text(
        f"[default]\naws_access_key_id = {login[0]}\naws_secret_access_key = {login[1]}\n"
    )
    spare.rename(path)


def bucket(server: S3Server, prefix: str, **login: Any) -> StorageSettings:  # noqa: ANN401  (fields of StorageSettings)
    return StorageSettings(
        kind="s3",
        endpoint=server.url,
        bucket=BUCKET,
        prefix=prefix,
        backoff_s=(0.05, 0.2),
        sweep_s=0.1,
        timeout_s=10.0,
        **login,
    )


# --- logins --------------------------------------------------------------------------------------


def test_a_login_that_is_replaced_in_its_file_is_used_from_then_on(
    server: S3Server, tmp_path: Path
) -> None:
    login = tmp_path / "login"
    store = S3Store(
        S3Place(url=server.url, bucket=BUCKET, prefix="login/", credentials_file=str(login))
    )
    with pytest.raises(StoreError, match=r"storage\.credentials_file: expected .* No such file"):
        store.put(KEY, b"bytes")
    give(login, OWNER)
    store.put(KEY, b"bytes")
    give(login, READER)
    assert store.get(KEY) == b"bytes"
    with pytest.raises(StoreError, match="AccessDenied"):
        store.put("sessions/one/chunks/2", b"bytes")
    give(login, (OWNER[0], "not-any-more"))
    with pytest.raises(StoreError, match=r"SignatureDoesNotMatch.*storage\.credentials_file"):
        store.get(KEY)
    give(login, OWNER)
    assert store.get(KEY) == b"bytes"


@pytest.mark.parametrize(
    "text",
    ["", "[default]\naws_access_key_id = a", "[other]\naws_access_key_id = a", "hunter2", "\0\xff"],
)
def test_a_file_that_is_no_login_is_told_without_its_text(
    server: S3Server, tmp_path: Path, text: str
) -> None:
    login = tmp_path / "login"
    login.write_bytes(text.encode("latin-1"))
    store = S3Store(S3Place(url=server.url, bucket=BUCKET, credentials_file=str(login)))
    with pytest.raises(StoreError, match=r"expected \[default\] with") as caught:
        store.size(KEY)
    assert "hunter2" not in str(caught.value)


async def test_a_running_recorder_goes_on_with_a_new_login_without_a_restart(
    server: S3Server, tmp_path: Path
) -> None:
    login = tmp_path / "login"
    give(login, ("expired-key", "expired-secret"))
    storage = bucket(server, "running/", credentials_file=str(login))
    async with RunningRecorder(settings_in(tmp_path / "data", storage=storage)) as recorder:
        session_id, _ = await recorder.record(SMALL)
        await until(lambda: recorder.metric("recorder_copy_failures_total") > 0)
        copies = DirectoryStore(recorder.settings.data_path)
        assert marker_of(copies, session_id) is None
        give(login, OWNER)
        await until(lambda: marker_of(copies, session_id) is not None)


# --- what killed writers left --------------------------------------------------------------------


def begun(server: S3Server, name: str) -> tuple[Any, str]:
    """An upload of which one part was sent, and its id."""
    client = s3_client(server.place())
    upload_id = client.create_multipart_upload(Bucket=BUCKET, Key=name)["UploadId"]
    client.upload_part(Bucket=BUCKET, Key=name, UploadId=upload_id, PartNumber=1, Body=PART)
    return client, upload_id


def unfinished(client: Any, begin: str) -> list[str]:  # noqa: ANN401  (botocore makes the class)
    found = client.list_multipart_uploads(Bucket=BUCKET, Prefix=begin)
    return sorted(one["Key"] for one in found.get("Uploads", ()))


def test_uploads_of_others_in_a_bucket_are_left_alone(server: S3Server) -> None:
    names = [f"{one}/shared/{KEY}" for one in ("sessions", "log", "audit", "films", "sessions-2")]
    for name in names:
        client, _ = begun(server, name)
    S3Store(server.place()).clear_leftovers(older_than_s=-60.0)
    assert [unfinished(client, name) for name in names] == [[], [], [], [names[3]], [names[4]]]


async def test_a_recorder_takes_out_what_a_killed_one_has_left(
    server: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client, _ = begun(server, f"kept/{KEY}")
    login = {"access_key_id": OWNER[0], "secret_access_key": OWNER[1]}
    storage = bucket(server, "kept/", **login)
    async with RunningRecorder(settings_in(tmp_path / "data", storage=storage)) as recorder:
        session_id, _ = await recorder.record(SMALL)
        copies = DirectoryStore(recorder.settings.data_path)
        await until(lambda: marker_of(copies, session_id) is not None)
    assert unfinished(client, "kept/") == [f"kept/{KEY}"], "a writer of today may be at it"
    monkeypatch.setattr(leftovers, "LEFT_S", -60.0)
    async with RunningRecorder(settings_in(tmp_path / "data", storage=storage)):
        await until(lambda: unfinished(client, "kept/") == [])
