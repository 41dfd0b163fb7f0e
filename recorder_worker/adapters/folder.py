"""Reads a recording from its folder, wherever that was carried to."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from recorder_worker.core.errors import BlobDamagedError, BlobMissingError, StoreError

PIECE_SIZE = 1024 * 1024
MAX_DEPTH = 8
"""Folders within each other; those of a recording are two. Deeper ones are named, not listed."""


class FolderRecording:
    """The folder of one session; satisfies `RecordingReader`. Threads may share it.

    Raises:
        BlobMissingError: there is no such folder.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        if not folder.is_dir():
            raise BlobMissingError(
                f"{folder}: expected the folder of a recording, found "
                f"{'a file' if folder.exists() else 'nothing'}; give the folder that holds its "
                "session.json"
            )

    def names(self) -> Iterator[str]:
        """Every file, relative to the folder, as the file system lists them; links as themselves.

        Nothing is kept but the names of the folders inside, so a folder may be of any size.

        Raises:
            StoreError: a folder cannot be listed.
        """
        yield from self._list("")

    def _list(self, prefix: str) -> Iterator[str]:
        folders: list[str] = []
        try:
            with os.scandir(self.folder / prefix) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        folders.append(entry.name)
                    else:
                        yield prefix + entry.name
        except FileNotFoundError:
            return  # the recorder removed it after its parent was listed
        except OSError as error:
            raise StoreError(f"{self.folder / prefix}: cannot be listed: {error}") from error
        for name in sorted(folders):
            inner = f"{prefix}{name}/"
            if inner.count("/") > MAX_DEPTH:
                yield inner
            else:
                yield from self._list(inner)

    def read(self, name: str) -> bytes:
        """All bytes of a file. Raises as `stream`."""
        return b"".join(self.stream(name))

    def stream(self, name: str) -> Iterator[bytes]:
        """The bytes of a file in pieces of at most 1 MiB.

        Raises:
            BlobMissingError: there is no such file.
            BlobDamagedError: it is not a regular file.
            StoreError: it cannot be read.
        """
        descriptor = self._open(name)
        try:
            while piece := os.read(descriptor, PIECE_SIZE):
                yield piece
        except OSError as error:
            raise StoreError(f"{name}: cannot be read: {error}") from error
        finally:
            os.close(descriptor)

    def size(self, name: str) -> int:
        """Length in bytes. Raises as `stream`."""
        descriptor = self._open(name)
        try:
            return os.fstat(descriptor).st_size
        finally:
            os.close(descriptor)

    def _open(self, name: str) -> int:
        """Open a regular file inside the folder, without waiting and without following a link.

        A pipe in the place of a file must not stop a verification; a link could show a file that
        is not carried along with the recording, another one to each who looks.
        """
        *folders, last = name.split("/")
        steps = [*((part, os.O_DIRECTORY) for part in folders), (last, os.O_NONBLOCK)]
        descriptor = self._step(name, self.folder, os.O_DIRECTORY, None)
        for part, flags in steps:
            above = descriptor
            try:
                descriptor = self._step(name, part, flags | os.O_NOFOLLOW, above)
            finally:
                os.close(above)
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise BlobDamagedError(f"{name}: expected a regular file, found something else")
        return descriptor

    def _step(self, name: str, part: str | Path, flags: int, above: int | None) -> int:
        try:
            return os.open(part, os.O_RDONLY | os.O_CLOEXEC | flags, dir_fd=above)
        except OSError as error:
            if error.errno in {errno.ELOOP, errno.ENOTDIR} and _is_link(part, above):
                raise BlobDamagedError(
                    f"{name}: expected a regular file inside the folder, found a symbolic link"
                ) from error
            if error.errno in {errno.ENOENT, errno.ENOTDIR}:
                raise BlobMissingError(f"{name}: expected a file, found none") from error
            raise StoreError(f"{name}: cannot be opened: {error}") from error


def _is_link(part: str | Path, above: int | None) -> bool:
    try:
        return stat.S_ISLNK(os.stat(part, dir_fd=above, follow_symlinks=False).st_mode)
    except OSError:
        return False
