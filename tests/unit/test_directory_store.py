from __future__ import annotations

import errno
import os
import stat
import subprocess
import sys
import textwrap
import threading
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from small_disks import small_disk

from recorder_worker.adapters import store_floor
from recorder_worker.adapters.directory_store import DirectoryStore, of_record
from recorder_worker.core import keys
from recorder_worker.core.errors import (
    BlobMissingError,
    ImmutableConflictError,
    PermanentError,
    StoreError,
    StoreFullError,
)

KEY = "sessions/one/chunks/0000000000.zst"


def spares(root: Path) -> list[str]:
    return sorted(path.name for path in (root / ".tmp").iterdir())


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "data"


def test_a_directory_that_is_gone_is_told_with_what_to_do(root: Path, tmp_path: Path) -> None:
    store = DirectoryStore(root)
    root.rename(tmp_path / "elsewhere")
    with pytest.raises(StoreError, match="mount its disk again"):
        store.put(KEY, b"bytes")
    assert not root.exists()


@pytest.mark.parametrize(
    "key",
    [
        "", "/", "/etc/passwd", "a//b", "a/", "../a", "a/../b", "a/./b", ".tmp/x", "a/.hidden",
        "-rf", "a b", "a\x00b", "a\nb", "a\\b", "ä", "x" * 256, "a/" * 600 + "a",
    ],
)  # fmt: skip
def test_a_key_that_could_point_elsewhere_is_refused(root: Path, key: str) -> None:
    store = DirectoryStore(root)
    for act in (store.get, store.size, store.delete, store.writer):
        with pytest.raises(PermanentError, match="blob key: expected"):
            act(key)


def test_files_are_read_only_and_folders_are_not_for_others(root: Path) -> None:
    DirectoryStore(root).put(KEY, b"x")
    assert stat.S_IMODE((root / KEY).stat().st_mode) == 0o440
    for folder in (root / KEY).relative_to(root).parents:
        assert not stat.S_IMODE((root / folder).stat().st_mode) & 0o027


def test_nothing_is_left_beside_the_blobs(root: Path) -> None:
    store = DirectoryStore(root)
    store.put(KEY, b"x")
    store.put(KEY, b"x")
    with pytest.raises(ImmutableConflictError):
        store.put(KEY, b"y")
    assert spares(root) == []


def test_delete_removes_folders_that_became_empty_and_no_others(root: Path) -> None:
    store = DirectoryStore(root)
    store.put("sessions/one/chunks/0", b"x")
    store.put("sessions/two/seal", b"x")
    store.delete("sessions/one/chunks/0")
    assert not (root / "sessions/one").exists()
    store.delete("sessions/two/seal")
    assert root.exists()
    assert not (root / "sessions").exists()
    store.put("sessions/one/chunks/0", b"y")
    assert store.get("sessions/one/chunks/0") == b"y"


def test_folders_that_another_process_removed_are_made_again(root: Path) -> None:
    store = DirectoryStore(root)
    store.put("sessions/one/chunks/0", b"x")
    DirectoryStore(root).delete("sessions/one/chunks/0")
    store.put("sessions/one/chunks/1", b"y")
    assert list(store.keys("")) == ["sessions/one/chunks/1"]


def test_location_is_a_path(root: Path) -> None:
    store = DirectoryStore(root)
    assert store.location("sessions/one") == str(root / "sessions/one")
    assert store.location("") == str(root)


# --- spare files --------------------------------------------------------------------------------


def test_what_a_killed_writer_left_is_removed_at_the_next_start(root: Path) -> None:
    DirectoryStore(root)
    script = f"""
        import os, signal
        from pathlib import Path
        from recorder_worker.adapters.directory_store import DirectoryStore
        writer = DirectoryStore(Path({str(root)!r})).writer({KEY!r})
        writer.write(b"half")
        os.kill(os.getpid(), signal.SIGKILL)
    """
    ended = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], check=False)
    assert ended.returncode == -9
    assert len(spares(root)) == 1
    store = DirectoryStore(root)
    assert spares(root) == []
    assert store.size(KEY) is None


def test_what_a_living_writer_is_writing_is_not_removed(root: Path) -> None:
    writer = DirectoryStore(root).writer(KEY)
    writer.write(b"half")
    DirectoryStore(root)  # another process starts
    writer.write(b" and half")
    writer.commit()
    assert (root / KEY).read_bytes() == b"half and half"


def test_spare_files_are_not_keys(root: Path) -> None:
    store = DirectoryStore(root)
    writer = store.writer(KEY)
    writer.write(b"x")
    assert spares(root)
    assert store.keys("") == []
    writer.abort()


# --- the floor ----------------------------------------------------------------------------------


def test_below_the_floor_nothing_is_written(root: Path) -> None:
    store = DirectoryStore(root, floor_bytes=1 << 62)
    with pytest.raises(StoreFullError, match=r"expected at least \d+ bytes free .* found \d+"):
        store.put(KEY, b"x")
    assert spares(root) == []
    assert store.keys("") == []


def test_records_may_use_the_room_below_the_floor(root: Path) -> None:
    store = DirectoryStore(root, floor_bytes=1 << 62, below_floor=of_record)
    store.put(keys.blob_key("one", keys.leaf(3)), b"gap")
    store.put(keys.blob_key("one", keys.chunk(3, compressed=True)), b"its spool goes for it")
    with pytest.raises(StoreFullError):
        store.put(keys.blob_key("one", keys.segment(3, "ab" * 32)), b"x")
    with pytest.raises(StoreFullError):
        store.put("elsewhere", b"x")


def test_a_long_blob_stops_when_the_floor_is_reached_on_the_way(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = [1 << 30]
    monkeypatch.setattr(DirectoryStore, "free_bytes", lambda _self: free[0])
    store = DirectoryStore(root, floor_bytes=1000)
    writer = store.writer(KEY)
    piece = bytes(1 << 20)
    free[0] = 999

    def write_on() -> None:
        for _ in range(64):
            writer.write(piece)

    with pytest.raises(StoreFullError):
        write_on()
    writer.abort()
    assert spares(root) == []


def test_many_writers_at_once_do_not_get_below_the_floor_together(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There is room for one of them, and the bytes of nobody are on the disk yet."""
    monkeypatch.setattr(DirectoryStore, "free_bytes", lambda _self: 1015)
    store = DirectoryStore(root, floor_bytes=1000)
    inside, go_on = threading.Event(), threading.Event()
    fsync = os.fsync

    def waiting(descriptor: int) -> None:
        inside.set()
        assert go_on.wait(10)
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", waiting)
    first = threading.Thread(target=store.put, args=(KEY, bytes(10)))
    first.start()
    assert inside.wait(10)
    with pytest.raises(StoreFullError, match="behind 20 to be written, found 1015 before them"):
        store.put("other", bytes(10))
    go_on.set()
    first.join()
    store.put("other", bytes(10))
    assert store.keys("") == sorted([KEY, "other"])


def test_one_look_at_the_disk_holds_for_many_writers_and_none_gets_below_the_floor(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    room, looks = 100_000, 0

    def free_bytes(store: DirectoryStore) -> int:
        nonlocal looks
        looks += 1
        return room - sum(store.size(key) or 0 for key in store.keys(""))

    monkeypatch.setattr(DirectoryStore, "free_bytes", free_bytes)
    monkeypatch.setattr(store_floor, "LOOK_S", 3600)
    monkeypatch.setattr(store_floor, "NEAR_BYTES", 1000)
    store = DirectoryStore(root, floor_bytes=1000)
    for nth in range(98):
        store.put(f"k{nth}", bytes(1000))
        assert looks == 1
    store.put("near", bytes(1000))
    assert looks == 2
    with pytest.raises(StoreFullError):
        store.put("more", b"x")
    store.delete("k0")
    store.put("more", bytes(1000))
    with pytest.raises(StoreFullError):
        store.put("still-more", b"x")


def test_a_look_at_the_disk_is_not_believed_for_long(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = [1 << 30]
    monkeypatch.setattr(DirectoryStore, "free_bytes", lambda _self: free[0])
    now = [0.0]
    monkeypatch.setattr(store_floor, "time", SimpleNamespace(monotonic=lambda: now[0]))
    store = DirectoryStore(root, floor_bytes=1000)
    store.put(KEY, b"x")
    free[0] = 1000  # others wrote meanwhile
    now[0] = store_floor.LOOK_S + 0.01
    with pytest.raises(StoreFullError):
        store.put("other", b"x")


def test_a_spare_that_cannot_be_removed_is_let_go_of_and_removed_later(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = DirectoryStore(root)
    writer = store.writer(KEY)
    with monkeypatch.context() as patched:

        def refused(*_: object, **__: object) -> None:
            raise OSError(errno.EROFS, "Read-only file system")

        patched.setattr(Path, "unlink", refused)
        with pytest.raises(StoreError, match="mount the file system for writing"):
            writer.abort()
    assert spares(root)
    DirectoryStore(root)
    assert spares(root) == [], "nobody holds its lock any more"


# --- faults: every system call, not done or done and reported as failed -------------------------

CALLS = ["open", "write", "fchmod", "fsync", "mkdir", "link"]


def failing(call: Callable[..., object], code: int, *, applied: bool) -> Callable[..., object]:
    def fail(*args: object, **kwargs: object) -> object:
        if applied:
            call(*args, **kwargs)
        raise OSError(code, os.strerror(code))

    return fail


@pytest.mark.parametrize("applied", [False, True], ids=["not-done", "done"])
@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize(
    ("code", "error"),
    [
        (errno.ENOSPC, StoreFullError),
        (errno.EDQUOT, StoreFullError),
        (errno.EIO, StoreError),
        (errno.EACCES, StoreError),
        (errno.EROFS, StoreError),
    ],
    ids=["ENOSPC", "EDQUOT", "EIO", "EACCES", "EROFS"],
)
def test_a_failed_call_is_reported_and_putting_again_succeeds(
    root: Path,
    monkeypatch: pytest.MonkeyPatch,
    call: str,
    code: int,
    error: type[StoreError],
    applied: bool,
) -> None:
    store = DirectoryStore(root)
    with monkeypatch.context() as patch:
        patch.setattr(os, call, failing(getattr(os, call), code, applied=applied))
        with pytest.raises(StoreError, match=os.strerror(code)) as raised:
            store.put(KEY, b"bytes")
    assert type(raised.value) is error
    whole = {b"bytes"}
    found = {(root / key).read_bytes() for key in store.keys("")}
    assert found <= whole, "a blob is whole or not there"
    store.put(KEY, b"bytes")
    assert store.get(KEY) == b"bytes"
    DirectoryStore(root)
    assert spares(root) == []


def test_a_name_is_made_durable_even_where_someone_else_made_it(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    DirectoryStore(root).put(KEY, b"x")
    synced: list[str] = []
    fsync = os.fsync

    def note(descriptor: int) -> None:
        synced.append(str(Path(f"/proc/self/fd/{descriptor}").readlink()))
        fsync(descriptor)

    store = DirectoryStore(root)
    monkeypatch.setattr(os, "fsync", note)
    store.put(KEY, b"x")
    chain = [str(folder) for folder in (root / KEY).parents if folder.is_relative_to(root)]
    assert synced[1:] == [*reversed(chain[1:]), chain[0]]


def test_a_file_system_without_links_gets_renames_that_replace_nothing(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def link(*_args: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", link)
    store = DirectoryStore(root)
    store.put(KEY, b"x")
    store.put(KEY, b"x")
    with pytest.raises(ImmutableConflictError):
        store.put(KEY, b"y")
    assert store.get(KEY) == b"x"
    assert spares(root) == ["rename.lock"]
    assert DirectoryStore(root).get(KEY) == b"x"


def test_a_writer_that_failed_cannot_be_committed_later(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = DirectoryStore(root)
    writer = store.writer(KEY)
    writer.write(b"x")
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", failing(os.fsync, errno.EIO, applied=False))
        with pytest.raises(StoreError):
            writer.commit()
    with pytest.raises(StoreError):
        writer.commit()
    assert store.size(KEY) is None


# --- real limits --------------------------------------------------------------------------------


def test_a_limit_on_file_size_is_reported_by_a_real_kernel(root: Path) -> None:
    script = f"""
        import resource
        from pathlib import Path
        from recorder_worker.adapters.directory_store import DirectoryStore
        from recorder_worker.core.errors import StoreError
        store = DirectoryStore(Path({str(root)!r}))
        resource.setrlimit(resource.RLIMIT_FSIZE, (65536, 65536))
        try:
            store.put({KEY!r}, bytes(100_000))
        except StoreError as error:
            print(error)
        assert store.keys("") == []
        store.put({KEY!r}, bytes(1000))
    """
    ended = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], check=True, capture_output=True, text=True
    )
    assert "File too large; raise the limit on file size" in ended.stdout
    assert (root / KEY).stat().st_size == 1000
    assert spares(root) == []


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    with small_disk(tmp_path / "disk", 1 << 20) as folder:
        yield folder


def test_a_full_disk_loses_nothing_that_was_stored_and_works_again_with_room(
    disk: Path,
) -> None:
    store = DirectoryStore(disk / "data")
    stored: list[int] = []

    def fill() -> None:
        for number in range(100):
            store.put(f"chunks/{number}", bytes([number]) * 100_000)
            stored.append(number)

    with pytest.raises(StoreFullError, match="No space left on device; make room"):
        fill()
    assert 5 < len(stored) < 11
    assert spares(disk / "data") == []
    assert len(store.keys("")) == len(stored)
    for number in stored:
        assert store.get(f"chunks/{number}") == bytes([number]) * 100_000
    store.delete("chunks/0")
    store.put("chunks/again", bytes(100_000))


def test_a_blob_that_was_deleted_behind_our_back_is_missing(root: Path) -> None:
    store = DirectoryStore(root)
    store.put(KEY, b"x")
    (root / KEY).unlink()
    with pytest.raises(BlobMissingError, match="expected a blob, found none"):
        store.get(KEY)


def test_a_root_that_cannot_be_made_says_why(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StoreError, match="cannot prepare the store"):
        DirectoryStore(tmp_path / "file" / "data")


def test_a_small_blob_is_read_without_room_for_a_large_one(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path)
    store.put("a/b", b"x" * 1000)
    store.get("a/b")
    tracemalloc.start()
    try:
        assert len(store.get("a/b")) == 1000
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 100_000
