"""What every BlobStore must do, run against each of them."""

from __future__ import annotations

import asyncio
import hashlib
import json
import threading
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import nats
import nats.errors
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from memory_store import MemoryStore
from nats_process import NatsProcess
from object_bucket import make_bucket
from s3_server import S3Server

from recorder_worker.adapters.directory_store import DirectoryStore
from recorder_worker.adapters.s3.store import S3Store
from recorder_worker.bus.connection.broker import Login
from recorder_worker.bus.objects.bucket import ObjectBucket, ObjectInfo
from recorder_worker.bus.objects.store import ObjectStore
from recorder_worker.core.errors import (
    BlobDamagedError,
    BlobMissingError,
    ImmutableConflictError,
    PermanentError,
    StoreError,
)
from recorder_worker.ports import BlobStore

KEY = "sessions/one/chunks/0000000000.zst"
KINDS = ("directory", "memory", "s3", "nats")
BUCKET = "recordings"
names = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,12}", fullmatch=True)
keys = st.lists(names, min_size=2, max_size=4).map("/".join)
MakeStore = Callable[[str], BlobStore]


@pytest.fixture(scope="module")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with S3Server(tmp_path_factory.mktemp("s3")) as server:
        yield server


@pytest.fixture(scope="module")
def nats_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsProcess]:
    with NatsProcess(tmp_path_factory.mktemp("nats")) as server:
        asyncio.run(make_bucket(server.url, BUCKET))
        yield server


@pytest.fixture(scope="module")
def make_store(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[MakeStore]:
    """An empty store of a kind. Servers are shared: each store has a prefix of its own."""
    opened: list[ObjectStore] = []

    def make(kind: str) -> BlobStore:
        prefix = f"{uuid.uuid4().hex}/"
        if kind == "directory":
            return DirectoryStore(tmp_path_factory.mktemp("data") / "data")
        if kind == "memory":
            return MemoryStore()
        if kind == "s3":
            server: S3Server = request.getfixturevalue("s3_server")
            return S3Store(server.place(prefix))
        nats_at: NatsProcess = request.getfixturevalue("nats_server")
        opened.append(ObjectStore(Login(servers=(nats_at.url,)), BUCKET, prefix))
        return opened[-1]

    yield make
    for store in opened:
        store.close()


@pytest.fixture(params=KINDS)
def store(request: pytest.FixtureRequest, make_store: MakeStore) -> BlobStore:
    return make_store(request.param)


def test_what_is_put_comes_back(store: BlobStore) -> None:
    store.put(KEY, b"bytes")
    assert store.get(KEY) == b"bytes"
    assert store.size(KEY) == 5


def test_an_empty_blob_is_a_blob(store: BlobStore) -> None:
    store.put(KEY, b"")
    assert store.get(KEY) == b""
    assert store.size(KEY) == 0
    assert list(store.stream(KEY)) == []
    assert list(store.keys("")) == [KEY]


def test_the_same_bytes_again_succeed(store: BlobStore) -> None:
    store.put(KEY, b"bytes")
    store.put(KEY, b"bytes")
    assert store.get(KEY) == b"bytes"


@pytest.mark.parametrize("other", [b"bytez", b"byte", b"bytes and more", b""])
def test_other_bytes_are_refused_and_change_nothing(store: BlobStore, other: bytes) -> None:
    store.put(KEY, b"bytes")
    with pytest.raises(ImmutableConflictError, match="expected"):
        store.put(KEY, other)
    assert store.get(KEY) == b"bytes"


def test_a_large_blob_that_differs_in_its_last_byte_is_refused(store: BlobStore) -> None:
    data = bytes(range(256)) * 12_345
    store.put(KEY, data)
    store.put(KEY, data)
    with pytest.raises(ImmutableConflictError):
        store.put(KEY, data[:-1] + b"\x00")


def test_a_writer_shows_nothing_before_commit(store: BlobStore) -> None:
    writer = store.writer(KEY)
    writer.write(b"one ")
    writer.write(memoryview(b"two"))
    assert store.size(KEY) is None
    assert list(store.keys("")) == []
    writer.commit()
    writer.abort()
    assert store.get(KEY) == b"one two"


def test_an_aborted_writer_leaves_nothing(store: BlobStore) -> None:
    writer = store.writer(KEY)
    writer.write(b"one")
    writer.abort()
    writer.abort()
    assert store.size(KEY) is None
    assert list(store.keys("")) == []


def test_a_stream_has_all_bytes_in_pieces(store: BlobStore) -> None:
    data = bytes(range(251)) * 10_007
    store.put(KEY, data)
    pieces = list(store.stream(KEY))
    assert b"".join(pieces) == data
    assert max(map(len, pieces)) <= 1 << 20


def test_a_missing_blob_is_said_to_be_missing(store: BlobStore) -> None:
    store.put(KEY, b"x")
    for absent in ("sessions/two/seal", "sessions/one", f"{KEY}/below"):
        assert store.size(absent) is None
        with pytest.raises(BlobMissingError):
            store.get(absent)
        with pytest.raises(BlobMissingError):
            next(iter(store.stream(absent)))


def test_delete_removes_and_may_be_repeated(store: BlobStore) -> None:
    store.put(KEY, b"x")
    store.delete(KEY)
    store.delete(KEY)
    assert store.size(KEY) is None
    assert list(store.keys("")) == []


def test_a_deleted_key_may_be_written_anew(store: BlobStore) -> None:
    store.put(KEY, b"x")
    store.delete(KEY)
    store.put(KEY, b"other")
    assert store.get(KEY) == b"other"


def test_keys_are_those_below_whole_names_sorted_as_text(store: BlobStore) -> None:
    for key in ("a/b/c", "a/b-x", "a/b.x/y", "ab/c", "a/bb"):
        store.put(key, key.encode())
    assert list(store.keys("")) == ["a/b-x", "a/b.x/y", "a/b/c", "a/bb", "ab/c"]
    assert list(store.keys("a")) == ["a/b-x", "a/b.x/y", "a/b/c", "a/bb"]
    assert list(store.keys("a/")) == list(store.keys("a"))
    assert list(store.keys("a/b")) == ["a/b/c"]
    assert list(store.keys("a/b/c")) == []
    assert list(store.keys("nothing")) == []


def test_one_of_many_writers_of_one_key_wins_and_the_others_are_told(store: BlobStore) -> None:
    outcomes: list[bytes | None] = []
    start = threading.Barrier(8)

    def write(number: int) -> None:
        data = bytes([number]) * 100_000
        start.wait()
        try:
            store.put(KEY, data)
        except ImmutableConflictError:
            outcomes.append(None)
        else:
            outcomes.append(data)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    winners = [data for data in outcomes if data is not None]
    assert len(outcomes) == 8
    assert winners == [store.get(KEY)]


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(blobs=st.dictionaries(keys, st.binary(max_size=64), max_size=8))
def test_a_store_is_a_mapping(kind: str, make_store: MakeStore, blobs: dict[str, bytes]) -> None:
    # A name cannot be a blob and a folder at once in a directory: leave such sets out.
    blobs = {
        key: data
        for key, data in blobs.items()
        if not any(other.startswith(f"{key}/") for other in blobs)
    }
    store = make_store(kind)
    for key, data in blobs.items():
        store.put(key, data)
    assert list(store.keys("")) == sorted(blobs)
    assert {key: store.get(key) for key in store.keys("")} == blobs
    for key in blobs:
        store.delete(key)
    assert list(store.keys("")) == []


def test_replace_stores_in_the_place_of_what_is_there(store: BlobStore) -> None:
    store.replace("log/checkpoint", b"first")
    assert store.get("log/checkpoint") == b"first"
    store.replace("log/checkpoint", b"second, and longer")
    assert store.get("log/checkpoint") == b"second, and longer"
    assert list(store.keys("log")) == ["log/checkpoint"]


def test_delete_below_removes_all_of_a_prefix_and_nothing_else(store: BlobStore) -> None:
    for key in ("a/journal/leaves/0", "a/journal/leaves/1", "a/journal/notes/1", "a/journals/0"):
        store.put(key, b"x")
    store.delete_below("a/journal")
    assert list(store.keys("")) == ["a/journals/0"]
    store.delete_below("a/journal")
    store.put("a/journal/leaves/0", b"y")
    assert store.get("a/journal/leaves/0") == b"y"


LARGE = bytes(range(256)) * 4 * 17_000  # more than one part of an upload, and many pieces


@pytest.mark.parametrize(
    "start", [0, 1, 131_071, 131_072, 1 << 20, 17_407_999, 17_408_000, 1 << 30]
)
def test_a_blob_is_read_from_any_offset_on(store: BlobStore, start: int) -> None:
    store.put(KEY, LARGE)
    pieces = list(store.stream(KEY, start))
    assert b"".join(pieces) == LARGE[start:]
    assert all(0 < len(piece) <= 1 << 20 for piece in pieces)


def test_the_digest_of_what_is_stored_is_told(store: BlobStore) -> None:
    for name, data in (("empty", b""), ("small", b"bytes"), ("large", LARGE)):
        key = f"sessions/one/{name}"
        store.put(key, data)
        for read_back in (False, True):
            found = store.digest(key, read_back=read_back)
            assert (found.size, found.sha256) == (len(data), hashlib.sha256(data).hexdigest())
            assert found.checked == "read_back" or not read_back
    with pytest.raises(BlobMissingError):
        store.digest("sessions/one/absent")


def test_a_large_blob_in_uneven_pieces_comes_back(store: BlobStore) -> None:
    writer = store.writer(KEY)
    for begin in range(0, len(LARGE), 999_983):
        writer.write(LARGE[begin : begin + 999_983])
    assert store.size(KEY) is None
    writer.commit()
    writer.abort()
    assert store.size(KEY) == len(LARGE)
    assert store.get(KEY) == LARGE
    store.put(KEY, LARGE)
    with pytest.raises(ImmutableConflictError):
        store.put(KEY, LARGE + b"x")


def test_a_large_blob_that_is_given_up_half_way_leaves_nothing(store: BlobStore) -> None:
    writer = store.writer(KEY)
    writer.write(LARGE)
    writer.abort()
    assert store.size(KEY) is None
    assert list(store.keys("")) == []
    store.put(KEY, b"other")
    assert store.get(KEY) == b"other"


def test_of_two_large_writers_that_overlap_one_wins(store: BlobStore) -> None:
    first, second = store.writer(KEY), store.writer(KEY)
    first.write(LARGE)
    second.write(LARGE[::-1])
    second.commit()
    with pytest.raises(ImmutableConflictError):
        first.commit()
    first.abort()
    assert store.get(KEY) == LARGE[::-1]


def test_writers_of_the_same_bytes_at_once_all_succeed(store: BlobStore) -> None:
    failed: list[BaseException] = []

    def write() -> None:
        try:
            store.put(KEY, b"same" * 100_000)
        except BaseException as error:  # noqa: BLE001  (told below)
            failed.append(error)

    threads = [threading.Thread(target=write) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert store.get(KEY) == b"same" * 100_000


@pytest.mark.parametrize(
    "key",
    ["a/b.c-d_e", "_", "0", "a/b..c.", "x" * 255, "/".join(["y" * 100] * 8)],
)
def test_odd_names_are_names(store: BlobStore, key: str) -> None:
    store.put(key, key.encode())
    assert store.get(key) == key.encode()
    assert list(store.keys("")) == [key]
    store.delete(key)
    assert list(store.keys("")) == []


@pytest.mark.parametrize(
    "key",
    [
        "",
        "/",
        "a/../b",
        "../a",
        "a//b",
        "/a",
        "a/",
        ".a",
        "a/.b",
        "-a",
        "a b",
        "ä",
        "a\nb",
        "a%2fb",
    ],
)
def test_names_that_lead_elsewhere_are_refused(store: BlobStore, key: str) -> None:
    for act in (store.get, store.size, store.delete, store.digest):
        with pytest.raises(PermanentError, match="blob key"):
            act(key)
    for write in (store.put, store.replace):
        with pytest.raises(PermanentError, match="blob key"):
            write(key, b"x")
    with pytest.raises(PermanentError, match="blob key"):
        store.writer(key)
    assert list(store.keys("")) == []


def test_children_are_the_first_names_below_a_prefix(store: BlobStore) -> None:
    for key in ("sessions/a/seal", "sessions/a/chunks/1", "sessions/b/seal", "sessions/c"):
        store.put(key, b"x")
    assert list(store.children("")) == ["sessions"]
    assert list(store.children("sessions")) == ["a", "b", "c"]
    assert list(store.children("sessions/a/")) == ["chunks", "seal"]
    assert list(store.children("sessions/none")) == []


def test_deleting_below_takes_what_was_never_finished_as_well(store: BlobStore) -> None:
    store.put("sessions/a/seal", b"x")
    left = store.writer("sessions/a/chunks/1")
    left.write(LARGE)
    store.delete_below("sessions/a")
    store.delete_below("sessions/a")
    assert list(store.keys("")) == []
    left.abort()


@pytest.mark.parametrize("kind", ["s3", "nats"])
def test_what_killed_writers_left_is_removed_once_it_is_old(
    make_store: MakeStore, kind: str
) -> None:
    store = make_store(kind)
    assert isinstance(store, S3Store | ObjectStore)
    store.put("sessions/one/whole", LARGE)
    room = store.free_bytes()
    killed = store.writer("sessions/one/half")
    killed.write(LARGE)
    assert store.clear_leftovers(older_than_s=3600.0) == 0, "a writer may be at it"
    assert store.clear_leftovers(older_than_s=-60.0) == 1
    assert store.clear_leftovers(older_than_s=-60.0) == 0
    assert store.free_bytes() == room
    assert store.get("sessions/one/whole") == LARGE
    assert list(store.keys("")) == ["sessions/one/whole"]


@pytest.mark.parametrize("held", [None, b"before"], ids=["new", "replaced"])
def test_an_object_whose_server_does_not_say_that_it_has_it_is_whole(
    make_store: MakeStore, monkeypatch: pytest.MonkeyPatch, held: bytes | None
) -> None:
    """It stands still for longer than it is waited for, and then has it all the same."""
    store = make_store("nats")
    assert isinstance(store, ObjectStore)
    if held is not None:
        store.put("sessions/one/whole", held)
    appear = ObjectBucket.appear

    async def too_late(*arguments: Any, **named: Any) -> bool:  # noqa: ANN401  (as `appear`)
        await appear(*arguments, **named)
        raise nats.errors.TimeoutError

    monkeypatch.setattr(ObjectBucket, "appear", too_late)
    with pytest.raises(StoreError):
        (store.put if held is None else store.replace)("sessions/one/whole", LARGE)
    monkeypatch.undo()
    assert store.get("sessions/one/whole") == LARGE
    store.put("sessions/one/whole", LARGE)
    assert store.clear_leftovers(older_than_s=-60.0) == (1 if held else 0)
    assert store.get("sessions/one/whole") == LARGE


def test_what_others_have_put_there_is_left_out_and_goes_with_the_rest(
    make_store: MakeStore,
) -> None:
    """A name that is no key would else stop a fetch, a list, or a deletion, or lead out of it."""
    directory, s3, nats_store = (make_store(kind) for kind in ("directory", "s3", "nats"))
    assert isinstance(s3, S3Store)
    assert isinstance(nats_store, ObjectStore)
    for store in (directory, s3, nats_store):
        store.put("sessions/a/chunks/1", b"x")
        for name in ("sessions/a/chunks/my file", "sessions/\x1b[2Jb"):
            put_as_others_do(store, name)
        assert list(store.keys("")) == ["sessions/a/chunks/1"]
        assert list(store.children("sessions")) == ["a"]
        store.delete_below("sessions/a")
        assert left_there(store) == ["sessions/\x1b[2Jb"]


def put_as_others_do(store: BlobStore, name: str) -> None:
    if isinstance(store, S3Store):
        prefix = store._place.prefix
        store._client.put_object(Bucket=store._place.bucket, Key=prefix + name, Body=b"x")
    elif isinstance(store, ObjectStore):
        info = ObjectInfo(name=store._prefix + name, bucket=BUCKET, nuid="by-others")
        store._thread.call(lambda js: store._bucket.appear(js, info, after=0), "put")
    else:
        Path(store.location("")).joinpath(name).write_bytes(b"x")


def left_there(store: BlobStore) -> list[str]:
    if isinstance(store, S3Store):
        return [name.removeprefix(store._place.prefix) for name in store._names("")]
    if isinstance(store, ObjectStore):
        return [name.removeprefix(store._prefix) for name in store._names("")]
    root = Path(store.location(""))
    return [str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()]


@pytest.mark.parametrize(
    "lie",
    [
        {"nuid": "*"},
        {"nuid": ">"},
        {"nuid": ""},
        {"name": "of-another"},
        {"digest": "SHA-256=x"},
        {"size": "many"},
    ],
    ids=str,
)
def test_what_is_written_about_an_object_takes_no_other_with_it(
    make_store: MakeStore, lie: dict[str, str]
) -> None:
    store = make_store("nats")
    assert isinstance(store, ObjectStore)
    store.put("a/whole", LARGE)
    name = f"{store._prefix}a/evil"
    said = {"name": name, "bucket": BUCKET, "nuid": "evil", "chunks": 1, "digest": ""} | lie
    said["name"] = f"{store._prefix}a/whole" if "name" in lie else said["name"]
    subject = store._bucket._about(name)
    store._thread.call(lambda js: js.publish(subject, json.dumps(said).encode()), "lie")
    with pytest.raises(BlobDamagedError):
        store.get("a/evil")
    with pytest.raises(ImmutableConflictError):
        store.put("a/evil", b"ours")
    assert list(store.keys("")) == ["a/whole"]
    store.delete("a/evil")
    assert store.size("a/evil") is None
    assert store.get("a/whole") == LARGE


def test_a_location_names_what_is_below_it(store: BlobStore) -> None:
    assert store.location("sessions/a").endswith("sessions/a")
