"""A blob store in a directory: one file per key, made as `durable_file` says.

A symbolic link below it is no blob and no folder, wherever it leads (`inside`): it is not read,
listed, or written or deleted through.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from hashlib import sha256
from pathlib import Path

from recorder_worker.adapters.durable_file import (
    PIECE_BYTES,
    SPARES,
    DurableFile,
    DurableFolder,
    sync_folder,
)
from recorder_worker.adapters.inside import link_on_the_way, open_inside, refuse_links
from recorder_worker.adapters.store_floor import StoreFloor
from recorder_worker.core import keys
from recorder_worker.core.errors import BlobMissingError, StoreError, StoreFullError
from recorder_worker.ports import StoredDigest

_FULL = {errno.ENOSPC, errno.EDQUOT}
_ABSENT = (FileNotFoundError, IsADirectoryError, NotADirectoryError)
_FLOOR_CHECK_BYTES = 8 * PIECE_BYTES
_LEAST_BYTES = 4096
"""Asked for where nothing should be left. To ask for a whole piece is to allocate one."""
_ADVICE = {
    errno.ENOENT: "mount its disk again, or put the directory back",
    errno.EACCES: "give this user the right to write there",
    errno.EPERM: "give this user the right to write there",
    errno.EROFS: "mount the file system for writing",
    errno.EIO: "check the disk and the kernel's log",
    errno.EFBIG: "raise the limit on file size (ulimit -f) of this process",
    errno.EMFILE: "raise the limit on open files (ulimit -n) of this process",
    errno.EXDEV: "keep the whole data directory on one file system, without links inside",
    errno.EISDIR: "move away the folder that stands where a file should be",
    errno.ENOTDIR: "move away the file that stands where a folder should be",
}


def of_record(key: str) -> bool:
    """Whether a key is of the record itself: all of a session's but its segments, log and audit.

    So is what is known of copies elsewhere: without it no local one may go, which makes room.

    Such keys may use the room below the floor, so that a full disk can still be recorded as a
    gap, signed and sealed. Segments may not: they are where a recording grows. Thumbnails may not:
    they are no part of the record. Chunks may: their segments lie in the spool already and leave
    it once the chunk is signed, so that a chunk that waited for room would wait for itself.
    """
    parts = key.split("/")
    if parts[0] != keys.SESSIONS:
        return parts[0] in {keys.LOG, keys.AUDIT, keys.COPIES, keys.COPIES_TOLD}
    return len(parts) > 2 and parts[2] not in {keys.SEGMENTS, keys.THUMBNAILS}


class DirectoryStore:
    """A `BlobStore`. Thread-safe; several processes may share the directory.

    Args:
        root: the directory; made if missing. What dead writers left in it is removed.
        floor_bytes: room that is kept free: below it nothing is written, and StoreFullError is
            raised before the first byte.
        below_floor: keys for which the floor does not hold (`of_record`); by default none.

    Raises:
        StoreError: the directory cannot be made or written.
    """

    def __init__(
        self,
        root: Path,
        *,
        floor_bytes: int = 0,
        below_floor: Callable[[str], bool] = lambda _key: False,
    ) -> None:
        self._root = root.absolute()
        self._floor = StoreFloor(self._root, floor_bytes, self.free_bytes)
        self._below_floor = below_floor
        with _explained("prepare the store", self._root):
            self._folder = DurableFolder(self._root)
            self._folder.clear_spares()

    def put(self, key: str, data: bytes) -> None:
        """Store bytes durably. See `BlobStore.put`."""
        path = self._unlinked(key)
        with nullcontext() if self._below_floor(key) else self._floor.room_for(len(data)):
            with _explained("begin", path):
                writer = DirectoryWriter(self._folder.spare(), path, None)
            try:
                writer.write(data)
                writer.commit()
            finally:
                writer.abort()

    def replace(self, key: str, data: bytes) -> None:
        """Store bytes durably in the place of what is there. See `BlobStore.replace`."""
        path = self._unlinked(key)
        with _explained("replace", path):
            file = self._folder.spare()
            try:
                file.write(data)
                file.replace(path)
            finally:
                file.discard()

    def writer(self, key: str) -> DirectoryWriter:
        """Begin a blob. Raises StoreFullError below the floor."""
        path = self._unlinked(key)
        guard = None if self._below_floor(key) else self._floor.check
        if guard is not None:
            guard()
        with _explained("begin", path):
            return DirectoryWriter(self._folder.spare(), path, guard)

    def get(self, key: str) -> bytes:
        """All bytes of a blob. Raises BlobMissingError or StoreError."""
        return b"".join(self.stream(key))

    def stream(self, key: str, start: int = 0) -> Iterator[bytes]:
        """The bytes of a blob in pieces of at most 1 MiB. Errors come with the first piece."""
        path = self._path(key)
        with _explained("read", path, missing=True), open_inside(self._root, path) as file:
            file.seek(start)
            left = os.fstat(file.fileno()).st_size - start
            while piece := file.read(min(PIECE_BYTES, max(left, _LEAST_BYTES))):
                left -= len(piece)
                yield piece

    def digest(self, key: str, *, read_back: bool = False) -> StoredDigest:
        """What is stored, read: a directory vouches for nothing. See `BlobStore.digest`."""
        del read_back
        found, size = sha256(), 0
        for piece in self.stream(key):
            found.update(piece)
            size += len(piece)
        return StoredDigest(size=size, sha256=found.hexdigest(), checked="read_back")

    def size(self, key: str) -> int | None:
        """Length in bytes; None where there is no such blob."""
        path = self._path(key)
        try:
            with _explained("look at", path, missing=True):
                found = path.lstat()
                linked = link_on_the_way(self._root, path)
        except BlobMissingError:
            return None
        return found.st_size if stat.S_ISREG(found.st_mode) and not linked else None

    def keys(self, prefix: str) -> list[str]:
        """All keys below a prefix, sorted as text; an empty prefix means all.

        A prefix is a path of whole names: `sessions/123/seal` is not below `sessions/12`.
        """
        top = self._path(prefix.rstrip("/")) if prefix.rstrip("/") else self._root
        found = []
        with _explained("list", top):
            if link_on_the_way(self._root, top):
                return []
            for folder, names, files in os.walk(top, onerror=_raise_unless_missing):
                if Path(folder) == self._root:
                    names[:] = [name for name in names if name != SPARES]
                base = Path(folder).relative_to(self._root)
                found += [
                    (base / name).as_posix()
                    for name in files
                    if keys.is_name(name) and not Path(folder, name).is_symlink()
                ]
        return sorted(found)

    def children(self, prefix: str) -> list[str]:
        """The first names below a prefix. See `BlobStore.children`."""
        top = self._path(prefix.rstrip("/")) if prefix.rstrip("/") else self._root
        with _explained("list", top):
            try:
                if link_on_the_way(self._root, top):
                    return []
                names = [entry.name for entry in os.scandir(top) if not entry.is_symlink()]
            except (FileNotFoundError, NotADirectoryError):
                return []
        return sorted(filter(keys.is_name, names))

    def delete(self, key: str) -> None:
        """Remove a blob and the folders that it leaves empty; harmless where there is none."""
        path = self._unlinked(key)
        with _explained("delete", path):
            try:
                path.unlink()
            except (FileNotFoundError, NotADirectoryError):
                return
            folder = path.parent
            while folder != self._root:
                self._folder.forget_folder(folder)
                try:
                    folder.rmdir()
                except OSError as error:
                    if error.errno not in {errno.ENOTEMPTY, errno.EEXIST, errno.ENOENT}:
                        raise
                    if error.errno != errno.ENOENT:
                        break
                folder = folder.parent
            sync_folder(folder)

    def delete_below(self, prefix: str) -> None:
        """Remove all blobs below a prefix, and its folder; one sync for all of them.

        After a power cut some of them may be there again.
        """
        top = self._path(prefix)
        with _explained("delete", top):
            refuse_links(self._root, top)
            if not top.is_dir():
                return
            for folder, names, files in os.walk(top, topdown=False, onerror=_raise_unless_missing):
                links = [name for name in names if Path(folder, name).is_symlink()]
                for name in (*files, *links):
                    Path(folder, name).unlink(missing_ok=True)
                self._folder.forget_folder(Path(folder))
                with suppress(FileNotFoundError):
                    Path(folder).rmdir()
            sync_folder(top.parent)

    def free_bytes(self) -> int:
        """Room that this user may still write, in bytes."""
        with _explained("ask for room at", self._root):
            found = os.statvfs(self._root)
        return found.f_bavail * found.f_frsize

    def location(self, prefix: str) -> str:
        """The absolute path of what is stored below a prefix."""
        return str(self._path(prefix.rstrip("/")) if prefix.rstrip("/") else self._root)

    def _path(self, key: str) -> Path:
        return self._root.joinpath(*keys.key_parts(key))

    def _unlinked(self, key: str) -> Path:
        """The path of a key, to whose folder no link leads."""
        path = self._path(key)
        with _explained("look at", path):
            refuse_links(self._root, path.parent)
        return path


class DirectoryWriter:
    """A `BlobWriter`. One thread uses it."""

    def __init__(self, file: DurableFile, final: Path, guard: Callable[[], None] | None) -> None:
        self._file = file
        self._final = final
        self._guard = guard
        self._guarded_bytes = 0

    def write(self, data: bytes | memoryview) -> None:
        """Append bytes. Raises StoreError, and StoreFullError when the floor is reached."""
        if self._guard is not None and self._file.size - self._guarded_bytes > _FLOOR_CHECK_BYTES:
            self._guarded_bytes = self._file.size
            self._guard()
        with _explained("write", self._final):
            self._file.write(data)

    def commit(self) -> None:
        """Make the blob durable and visible. See `BlobWriter.commit`."""
        with _explained("store", self._final):
            self._file.publish(self._final)

    def abort(self) -> None:
        """Forget what was written; harmless after `commit`."""
        with _explained("forget", self._final):
            self._file.discard()


@contextmanager
def _explained(doing: str, path: Path, *, missing: bool = False) -> Iterator[None]:
    """Raise the store's errors for the system's; `missing`: an absent file is an absent blob."""
    try:
        yield
    except OSError as error:
        if missing and (isinstance(error, _ABSENT) or error.errno == errno.ELOOP):
            raise BlobMissingError(
                f"{path}: expected a blob, found none; was the recording moved or deleted?"
            ) from error
        kind = StoreFullError if error.errno in _FULL else StoreError
        advice = "make room" if kind is StoreFullError else _ADVICE.get(error.errno or 0, "")
        raise kind(
            f"cannot {doing} {path}: {error.strerror or error}{f'; {advice}' if advice else ''}"
        ) from error


def _raise_unless_missing(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError | NotADirectoryError):
        raise error
