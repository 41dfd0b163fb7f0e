"""Every system call of a write, crossed with what can go wrong with it: whole or not there.

`DirectoryStore` and the files of private keys, on a real file system, with `power_cut.Disk` in the
place of the system calls.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from faults.injector import Killed
from faults.power_cut import CALLS, CallFault, Disk, DiskKind
from recorder_worker.adapters.device_key import secret_file
from recorder_worker.adapters.directory_store import DirectoryStore
from recorder_worker.adapters.durable_file import SPARES
from recorder_worker.core.errors import BlobMissingError, StoreError

OLD, NEW, OTHER = b"the old bytes", b"the new bytes, which are longer", b"of somebody else"
KEY, BESIDE = "sessions/one/records", "sessions/two/records"
FOLDER = "sessions/one"


class Operation(NamedTuple):
    """What is done to a directory, and what may be there during, and behind it.

    `during` and `behind` are the contents of the place: None is nothing.
    """

    name: str
    prepare: Callable[[Path], None]
    do: Callable[[Path], object]
    during: tuple[bytes | None, ...]
    behind: tuple[bytes | None, ...]
    behind_a_power_cut: tuple[bytes | None, ...]
    read: Callable[[Path], bytes | None]


@pytest.fixture(autouse=True)
def no_real_sync(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is durable is known to `Disk`; to wait for the real disk shows nothing more."""
    monkeypatch.setattr(os, "fsync", lambda _descriptor: None)


def nothing(root: Path) -> None:
    DirectoryStore(root).put(BESIDE, OTHER)


def one_there(root: Path) -> None:
    nothing(root)
    DirectoryStore(root).put(KEY, OLD)


def blob(root: Path) -> bytes | None:
    store = DirectoryStore(root)
    assert store.get(BESIDE) == OTHER
    assert [path.name for path in (root / SPARES).iterdir()] == []
    try:
        return store.get(KEY)
    except BlobMissingError:
        return None


SECRET, NEXT = "keys/one.key", "keys/one.key.next"


def no_secret(root: Path) -> None:
    secret_file.put_if_absent(root / "keys/two.key", lambda: OTHER)


def secret_there(root: Path) -> None:
    no_secret(root)
    secret_file.put_if_absent(root / SECRET, lambda: OLD)


def secret(root: Path) -> bytes | None:
    assert secret_file.read(root / "keys/two.key") == OTHER
    return secret_file.read(root / SECRET)


ZEROS = bytes(len(OLD))
OPERATIONS: tuple[Operation, ...] = (
    Operation(
        "put",
        nothing,
        lambda root: DirectoryStore(root).put(KEY, NEW),
        during=(None, NEW),
        behind=(NEW,),
        behind_a_power_cut=(NEW,),
        read=blob,
    ),
    Operation(
        "put_again",
        one_there,
        lambda root: DirectoryStore(root).put(KEY, OLD),
        during=(OLD,),
        behind=(OLD,),
        behind_a_power_cut=(OLD,),
        read=blob,
    ),
    Operation(
        "replace",
        one_there,
        lambda root: DirectoryStore(root).replace(KEY, NEW),
        during=(OLD, NEW),
        behind=(NEW,),
        behind_a_power_cut=(NEW,),
        read=blob,
    ),
    Operation(
        "delete",
        one_there,
        lambda root: DirectoryStore(root).delete(KEY),
        during=(OLD, None),
        behind=(None,),
        behind_a_power_cut=(None,),
        read=blob,
    ),
    Operation(
        "delete_below",
        one_there,
        lambda root: DirectoryStore(root).delete_below(FOLDER),
        during=(OLD, None),
        behind=(None,),
        behind_a_power_cut=(None,),
        read=blob,
    ),
    Operation(
        "make_a_secret",
        no_secret,
        lambda root: secret_file.put_if_absent(root / SECRET, lambda: NEW),
        during=(None, NEW),
        behind=(NEW,),
        behind_a_power_cut=(NEW,),
        read=secret,
    ),
    Operation(
        "erase_a_secret",
        secret_there,
        lambda root: secret_file.erase(root / SECRET),
        # Overwritten, and its name not gone yet: whoever reads it sees that it is no key.
        during=(OLD, ZEROS, None),
        behind=(None,),
        behind_a_power_cut=(None,),
        read=secret,
    ),
)


def secret_and_next(root: Path) -> None:
    secret_there(root)
    secret_file.put_if_absent(root / NEXT, lambda: NEW)


def replace_secret(root: Path) -> None:
    if (root / NEXT).exists():  # else it was done
        secret_file.replace(root / SECRET, by=root / NEXT)


OPERATIONS += (
    Operation(
        "replace_a_secret",
        secret_and_next,
        replace_secret,
        during=(OLD, NEW),
        behind=(NEW,),
        behind_a_power_cut=(NEW,),
        read=secret,
    ),
)


def calls_of(operation: Operation, folder: Path) -> list[str]:
    """The system calls of an operation, without a fault."""
    root = folder / "counted"
    root.mkdir(parents=True)
    operation.prepare(root)
    disk = Disk(root)
    with pytest.MonkeyPatch.context() as patch, disk.installed(patch):
        operation.do(root)
    return disk.calls


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda each: each.name)
@pytest.mark.parametrize("kind", DiskKind)
def test_whatever_goes_wrong_with_a_system_call_a_file_is_whole_or_not_there(
    tmp_path: Path, operation: Operation, kind: DiskKind, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = calls_of(operation, tmp_path)
    assert "fsync" in calls
    for number, name in enumerate(calls, 1):
        root = tmp_path / f"{number}-{name}"
        root.mkdir()
        operation.prepare(root)
        disk = Disk(root, CallFault(number, kind))
        try:
            with disk.installed(monkeypatch):
                operation.do(root)
        except (Killed, StoreError, OSError):
            allowed = operation.during
        else:
            allowed = operation.behind  # it was harmless, and is said to be done
        if kind in (DiskKind.POWER_LOST, DiskKind.POWER_KEPT):
            root = _after_the_cut(disk, root, kept=kind is DiskKind.POWER_KEPT)
        where = f"{operation.name}: {kind} in {name}, call {number} of {calls}"
        assert operation.read(root) in allowed, where
        operation.do(root)
        assert operation.read(root) in operation.behind, f"{where}, and then again"


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda each: each.name)
@pytest.mark.parametrize("kept", [False, True], ids=["names_lost", "names_kept"])
def test_what_is_said_to_be_done_is_there_when_the_power_is_back(
    tmp_path: Path, operation: Operation, kept: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "data"
    root.mkdir()
    operation.prepare(root)
    disk = Disk(root)
    with disk.installed(monkeypatch):
        operation.do(root)
    root = _after_the_cut(disk, root, kept=kept)
    assert operation.read(root) in operation.behind_a_power_cut


def test_every_system_call_is_in_the_table(tmp_path: Path) -> None:
    made = {call for each in OPERATIONS for call in calls_of(each, tmp_path / each.name)}
    assert made == set(CALLS)


def test_the_disk_loses_what_was_not_synced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the table above would prove nothing."""
    root = tmp_path / "data"
    root.mkdir()
    disk = Disk(root)
    with disk.installed(monkeypatch):
        (root / "never synced").write_bytes(NEW)
        with (root / "synced").open("wb") as file:
            file.write(NEW)
            file.flush()
            os.fsync(file.fileno())
    lost, kept = tmp_path / "lost", tmp_path / "kept"
    disk.cut(lost, kept=False)
    disk.cut(kept, kept=True)
    assert list(lost.iterdir()) == []
    assert (kept / "never synced").read_bytes() == b""
    assert (kept / "synced").read_bytes() == NEW


def _after_the_cut(disk: Disk, root: Path, *, kept: bool) -> Path:
    target = root.with_name(f"{root.name} after the cut")
    disk.cut(target, kept=kept)
    shutil.rmtree(root)
    return target
