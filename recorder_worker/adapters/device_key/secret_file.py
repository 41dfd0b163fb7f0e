"""A secret in a file: for its owner alone, whole or not at all, and erased as far as can be.

To make one is to write it under a name of its own, sync it, and link it to its place, which fails
where something is there already: then that is the one. A crash before leaves a stray file with
`.new` behind; one after leaves the secret in its place, as if there had been none.

To erase one is to write zeros over it, sync, remove its name, and sync the folder. On an SSD, and
on a file system that copies on write or keeps snapshots, old blocks outlive that: no program can
promise more. Where it matters, put the folder on an encrypted volume, or let a KMS sign.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import glob
import os
import secrets
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from recorder_worker.core.errors import StoreError

FILE_MODE = 0o600
FOLDER_MODE = 0o700
MAX_SIZE = 65_536

_RENAME_LOCK = ".rename.lock"
_NO_LINKS = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK}


Errors = contextlib.AbstractContextManager[None]


@contextlib.contextmanager
def store_errors(what: str) -> Iterator[None]:
    """Say what a failed system call was about. Raises StoreError."""
    try:
        yield
    except OSError as error:
        raise StoreError(f"{what}: {error}; check the folder of the keys") from error


def make_folder(folder: Path) -> None:
    """A folder for its owner alone, durable; those above it are made as the system does."""
    new = [each for each in (folder, *folder.parents) if not each.exists()]
    for each in reversed(new):
        with contextlib.suppress(FileExistsError):
            each.mkdir(mode=FOLDER_MODE if each == folder else 0o777)
        sync_folder(each.parent)


def read(path: Path) -> bytes | None:
    """All of a file; None where there is none."""
    try:
        with path.open("rb") as file:
            return file.read(MAX_SIZE)
    except FileNotFoundError:
        return None


def put_if_absent(path: Path, make: Callable[[], bytes]) -> bytes:
    """Make a file unless it is there; gives what is there afterwards. Durable in both cases.

    The folder is synced where another was quicker, too: it may have died between link and sync.
    """
    make_folder(path.parent)
    found = read(path)
    while found is None:
        spare = _spare(path, make())
        try:
            # A spare that is gone was erased with its place: whether that is so, see again.
            with contextlib.suppress(FileExistsError, FileNotFoundError):
                _link(spare, path)
        finally:
            spare.unlink(missing_ok=True)
        found = read(path)
    sync_folder(path.parent)
    with contextlib.suppress(PermissionError):  # the folder above need not be ours
        sync_folder(path.parent.parent)
    return found


def replace(path: Path, by: Path) -> None:
    """Put one secret in the place of another, at once, and erase the other.

    A crash in between leaves the new one in place and the old one's blocks without a name.
    """
    with contextlib.ExitStack() as stack:
        old = None
        with contextlib.suppress(FileNotFoundError):
            old = os.open(path, os.O_RDWR | os.O_CLOEXEC)
            stack.callback(os.close, old)
        by.replace(path)
        sync_folder(path.parent)
        if old is not None:
            _overwrite(old)


def erase(path: Path) -> None:
    """Remove a secret, and what a crash left beside it; harmless where there is none."""
    for each in (path, *path.parent.glob(f".{glob.escape(path.name)}.*.new")):
        with contextlib.suppress(FileNotFoundError):
            descriptor = os.open(each, os.O_RDWR | os.O_CLOEXEC)
            try:
                _overwrite(descriptor)
            finally:
                os.close(descriptor)
            each.unlink()
    with contextlib.suppress(FileNotFoundError):
        sync_folder(path.parent)


def age_s(path: Path) -> float:
    """For how long a file has been as it is; 0 where there is none."""
    try:
        return time.time() - path.stat().st_mtime
    except FileNotFoundError:
        return 0.0


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep other processes out, where the file system can lock folders; go on where it cannot."""
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError):
            descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            stack.callback(os.close, descriptor)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _spare(path: Path, data: bytes) -> Path:
    spare = path.with_name(f".{path.name}.{secrets.token_hex(8)}.new")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    with os.fdopen(os.open(spare, flags, FILE_MODE), "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    return spare


def _link(spare: Path, path: Path) -> None:
    try:
        path.hardlink_to(spare)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        # No hard links here: a rename, which replaces silently, under a lock instead.
        with _rename_lock(path.parent):
            if not path.exists():
                spare.rename(path)


@contextlib.contextmanager
def _rename_lock(folder: Path) -> Iterator[None]:
    # Not the lock of `locked`: whoever comes here may hold it.
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
    descriptor = os.open(folder / _RENAME_LOCK, flags, FILE_MODE)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _overwrite(descriptor: int) -> None:
    size = os.fstat(descriptor).st_size
    os.pwrite(descriptor, bytes(size), 0)
    os.fsync(descriptor)
