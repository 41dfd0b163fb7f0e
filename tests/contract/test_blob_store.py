"""What every BlobStore must do, run against each of them."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from memory_store import MemoryStore

from recorder_worker.adapters.directory_store import DirectoryStore
from recorder_worker.core.errors import BlobMissingError, ImmutableConflictError
from recorder_worker.ports import BlobStore

KEY = "sessions/one/chunks/0000000000.zst"
names = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,12}", fullmatch=True)
keys = st.lists(names, min_size=2, max_size=4).map("/".join)


@pytest.fixture(params=["directory", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> BlobStore:
    if request.param == "directory":
        return DirectoryStore(tmp_path / "data")
    return MemoryStore()


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


@pytest.mark.parametrize("kind", ["directory", "memory"])
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(blobs=st.dictionaries(keys, st.binary(max_size=64), max_size=8))
def test_a_store_is_a_mapping(
    kind: str, tmp_path_factory: pytest.TempPathFactory, blobs: dict[str, bytes]
) -> None:
    # A name cannot be a blob and a folder at once in a directory: leave such sets out.
    blobs = {
        key: data
        for key, data in blobs.items()
        if not any(other.startswith(f"{key}/") for other in blobs)
    }
    store: BlobStore = (
        DirectoryStore(tmp_path_factory.mktemp("data")) if kind == "directory" else MemoryStore()
    )
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
