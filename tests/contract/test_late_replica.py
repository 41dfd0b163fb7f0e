"""The store on NATS where the server that answers has not heard yet of what was stored."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import nats
import pytest
from late_replica import LateReplica
from nats_process import NatsProcess
from object_bucket import make_bucket

from recorder_worker.bus.connection.broker import Login
from recorder_worker.bus.objects.bucket import STALE_TRIES, ObjectInfo
from recorder_worker.bus.objects.store import ObjectStore
from recorder_worker.core.errors import StoreError

BUCKET = "recordings"
KEY = "sessions/one/chunks/0000000001.zst"
DATA = b"bytes" * 50_000


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsProcess]:
    with NatsProcess(tmp_path_factory.mktemp("nats")) as process:
        yield process


@pytest.fixture
def store(server: NatsProcess, tmp_path: Path) -> Iterator[ObjectStore]:
    asyncio.run(make_bucket(server.url, BUCKET))
    made = ObjectStore(Login(servers=(server.url,)), BUCKET, f"{tmp_path.name}/")
    yield made
    made.close()


@pytest.fixture
def late(store: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> LateReplica:
    store.put(KEY, DATA)
    return LateReplica(store, monkeypatch)


def messages(store: ObjectStore) -> int:
    async def count(url: str) -> int:
        client = await nats.connect(url)
        info = await client.jetstream().stream_info(f"OBJ_{BUCKET}")
        await client.close()
        return info.state.messages

    return asyncio.run(count(store._thread._login.servers[0]))


def test_what_is_deleted_is_gone(store: ObjectStore, late: LateReplica) -> None:
    before = messages(store)
    late.gets = 2
    store.delete(KEY)
    assert late.gets == 0
    assert store.size(KEY) is None
    assert messages(store) < before - 1, "its pieces went, too"


def test_what_is_deleted_below_a_prefix_is_gone(store: ObjectStore, late: LateReplica) -> None:
    late.batches = late.gets = 1
    store.delete_below("sessions/one")
    assert store.size(KEY) is None
    assert store.keys("sessions/one") == []


def test_what_is_there_has_a_size_and_is_listed(store: ObjectStore, late: LateReplica) -> None:
    late.gets = 1
    assert store.size(KEY) == len(DATA)
    late.batches = late.gets = 1
    assert store.keys("sessions/one") == [KEY]
    late.batches = 1
    assert store.clear_leftovers(0) == 0
    assert store.get(KEY) == DATA


def test_what_was_deleted_by_another_client_and_stored_again_goes(
    store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The replica has heard of the deletion, and not of the new object."""
    store.put(KEY, DATA)
    deleted = ObjectInfo(name=store._name(KEY), bucket=BUCKET, nuid="of-before", deleted=True)
    with monkeypatch.context() as patch:
        patch.setattr(store._bucket, "_read", lambda _message: deleted)
        store.delete(KEY)
    assert store.size(KEY) is None


def test_a_replica_that_never_hears_is_told_and_not_believed(
    store: ObjectStore, late: LateReplica
) -> None:
    late.gets = STALE_TRIES
    with pytest.raises(StoreError, match="no other server of it has heard"):
        store.delete(KEY)
    assert store.size(KEY) == len(DATA)


def test_what_is_not_there_is_asked_for_once(store: ObjectStore, late: LateReplica) -> None:
    store.delete("sessions/one/none")
    assert store.size("sessions/one/none") is None
    assert late.asked == 2
