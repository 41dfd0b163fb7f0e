"""A file that is written once, appears whole or not at all, and is still there after a power cut.

The system calls, in order, and what a crash after each leaves behind:

1. `open(spare, O_CREAT|O_EXCL)`, `flock(spare)`: an empty spare file below `.tmp`. Its lock dies
   with its writer, so the next start knows it for a leftover and removes it (`clear_spares`).
2. `write` …: a partial spare file; removed likewise. Nothing under the final name.
3. `fchmod(spare, 0440)`, `fsync(spare)`: the bytes are on the disk, under the spare name only.
4. `mkdir`, `fsync` for each folder above the final name that this process has not made sure of
   before, the upper one first: perhaps empty folders, which are harmless.
5. `link(spare, final)`: atomic, and fails when the name is taken, so that no writer ever replaces
   another's bytes. A crash here may lose the name, never show half a file.
6. `fsync(folder)`: the name is on the disk. From here on the file is durable.
7. `unlink(spare)`, `close`: a crash before leaves a second name for the same bytes; removed at the
   next start.

Where the name is taken, the bytes are compared; equal ones succeed, but only after 4 and 6, for
whoever made the name may have died between 5 and 6.

File systems without hard links get a `rename` in place of 5, under one lock that every writer of
this root takes, because `rename` replaces silently.

Modes: folders 0750, files 0440, so that an editor or a careless redirect is refused. They stop
accidents, not an attacker: that is what the signed tree is for.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path

from recorder_worker.core.errors import ImmutableConflictError

SPARES = ".tmp"
FOLDER_MODE = 0o750
FILE_MODE = 0o440
PIECE_BYTES = 1 << 20

_RENAME_LOCK = "rename.lock"
_NO_LINKS = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK}
_SPARE_MAX_AGE_S = 86_400.0
_ATTEMPTS = 8
_KNOWN_FOLDERS_MAX = 4096


class DurableFolder:
    """The root below which durable files are made. One per process and root; thread-safe.

    Every method raises OSError as the system does; the store above says what it means.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.spares = root / SPARES
        # Folders whose names this process has made durable. One that exists may have been made
        # by a process that died before its fsync.
        self._durable: set[Path] = set()
        new = [folder for folder in (self.spares, *self.spares.parents) if not folder.exists()]
        for folder in reversed(new):
            with contextlib.suppress(FileExistsError):
                folder.mkdir(mode=FOLDER_MODE)
            sync_folder(folder.parent)
        # Whoever made the root may have died before its fsync; but its parent need not be ours.
        with contextlib.suppress(PermissionError):
            sync_folder(root.parent)

    def spare(self) -> DurableFile:
        """Begin a file."""
        return DurableFile(self)

    def clear_spares(self) -> int:
        """Remove what dead writers left; returns how many files.

        A living writer holds a lock on its file, which also holds between containers that share
        a volume, where process ids mean nothing. Where the file system knows no locks, a file
        must be a day old.
        """
        removed = 0
        for path in self.spares.iterdir():
            if path.name == _RENAME_LOCK:
                continue
            # Gone, because its writer has just ended; or another user's, who will see to it.
            with contextlib.suppress(FileNotFoundError, PermissionError), path.open("rb") as file:
                if not _is_left(file.fileno()):
                    continue
                path.unlink()
                removed += 1
        return removed

    def make_folder(self, folder: Path) -> None:
        """Make a folder and those above it, durably."""
        missing = []
        while folder != self.root and folder not in self._durable:
            missing.append(folder)
            folder = folder.parent
        for path in reversed(missing):
            with contextlib.suppress(FileExistsError):
                path.mkdir(mode=FOLDER_MODE)
            sync_folder(path.parent)
            if len(self._durable) >= _KNOWN_FOLDERS_MAX:
                self._durable.clear()
            self._durable.add(path)

    def forget_folder(self, folder: Path) -> None:
        """A folder, and perhaps those above it, was or may have been removed."""
        while folder != self.root:
            self._durable.discard(folder)
            folder = folder.parent

    @contextlib.contextmanager
    def rename_lock(self) -> Iterator[None]:
        """One writer at a time, among all processes, where links are not supported."""
        descriptor = os.open(self.spares / _RENAME_LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)


class DurableFile:
    """One file being written. One thread uses it."""

    def __init__(self, folder: DurableFolder) -> None:
        self._folder = folder
        self._descriptor, self.path = _open_spare(folder.spares)
        self.size = 0

    def write(self, data: bytes | memoryview) -> None:
        """Append bytes."""
        rest = memoryview(data).cast("B")
        while rest:
            count = os.write(self._descriptor, rest)
            self.size += count
            rest = rest[count:]

    def publish(self, final: Path) -> None:
        """Make the bytes durable under their final name, and let go of the spare file.

        Raises:
            ImmutableConflictError: the name holds other bytes.
            OSError: as the system says. The name may or may not be there: begin a new file with
                the same bytes. This one is gone, because a second fsync after one that failed
                may succeed without having written anything.
        """
        try:
            os.fchmod(self._descriptor, FILE_MODE)
            os.fsync(self._descriptor)
            self._place(final)
        finally:
            self.discard()

    def replace(self, final: Path) -> None:
        """As `publish`, but in the place of what is there; of two writers the last one wins.

        Raises:
            OSError: as the system says; either the old bytes are there or the new ones.
        """
        try:
            os.fchmod(self._descriptor, FILE_MODE)
            os.fsync(self._descriptor)
            self._folder.make_folder(final.parent)
            self.path.rename(final)
            sync_folder(final.parent)
        finally:
            self.discard()

    def _place(self, final: Path) -> None:
        for attempt in range(_ATTEMPTS):
            try:
                self._folder.make_folder(final.parent)
                if not self._name(final):
                    _compare(self.path, final)
                sync_folder(final.parent)
            except FileNotFoundError:
                # `delete` of the folder's last file took the folder with it, between our two
                # calls.
                self._folder.forget_folder(final.parent)
                if attempt + 1 == _ATTEMPTS or not self.path.exists():
                    raise
            else:
                break

    def discard(self) -> None:
        """Remove the spare file; harmless when repeated."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor < 0:
            return
        try:
            with contextlib.suppress(FileNotFoundError):
                self.path.unlink()
        finally:
            # Also where it cannot be removed: without its lock it is a leftover to `clear_spares`.
            os.close(descriptor)

    def _name(self, final: Path) -> bool:
        """Give the file its name; False where the name is taken."""
        try:
            os.link(self.path, final)
        except FileExistsError:
            return False
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            return self._rename(final)
        return True

    def _rename(self, final: Path) -> bool:
        with self._folder.rename_lock():
            if final.exists():
                return False
            self.path.rename(final)
            return True


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _open_spare(spares: Path) -> tuple[int, Path]:
    while True:
        path = spares / f"{os.getpid()}-{os.urandom(8).hex()}"
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        descriptor = os.open(path, flags, 0o640)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)  # `clear_spares` was quicker and removes it
            continue
        except OSError:
            return descriptor, path  # no locks here: `clear_spares` goes by age
        if os.fstat(descriptor).st_nlink:
            return descriptor, path
        os.close(descriptor)  # `clear_spares` saw it between open and flock, and removed it


def left_spares(spares: Path, older_than_s: float) -> list[Path]:
    """The spare files whose writers are dead, sorted. Removes nothing. Raises OSError.

    Younger ones are not touched: to ask for the lock of one that was just made disturbs its writer.
    """
    found = []
    for path in sorted(spares.iterdir()) if spares.is_dir() else ():
        if path.name == _RENAME_LOCK:
            continue
        with contextlib.suppress(FileNotFoundError, PermissionError), path.open("rb") as file:
            age_s = time.time() - os.fstat(file.fileno()).st_mtime
            if age_s >= older_than_s and _is_left(file.fileno()):
                found.append(path)
    return found


def _is_left(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return time.time() - os.fstat(descriptor).st_mtime > _SPARE_MAX_AGE_S
    return True


def _no_link(path: str, flags: int) -> int:
    """What a link leads to is not under its name, and may change."""
    return os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC)


def _compare(ours: Path, theirs: Path) -> None:
    with ours.open("rb") as one, open(theirs, "rb", opener=_no_link) as other:
        sizes = os.fstat(one.fileno()).st_size, os.fstat(other.fileno()).st_size
        same = sizes[0] == sizes[1]
        while same and (piece := one.read(PIECE_BYTES)):
            same = piece == other.read(PIECE_BYTES)
    if not same:
        raise ImmutableConflictError(
            f"{theirs}: expected the same {sizes[0]} bytes that are being stored again, found "
            f"other bytes ({sizes[1]}); what is stored is never replaced: find out who wrote it"
        )
