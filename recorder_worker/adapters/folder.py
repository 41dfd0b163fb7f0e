"""Reads a recording from its folder, wherever that was carried to."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from recorder_worker.core.errors import BlobDamagedError, BlobMissingError, StoreError

PIECE_SIZE = 1024 * 1024


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

    def names(self) -> list[str]:
        """Every file, relative to the folder, sorted.

        Folders are listed in the order of their names, so `journal/checkpoints` is read before
        `journal/leaves`, and a recording that is being written shows a leaf for every signature.
        """
        found: list[str] = []
        self._list("", found)
        return sorted(found)

    def _list(self, prefix: str, found: list[str]) -> None:
        try:
            with os.scandir(self.folder / prefix) as entries:
                here = sorted((e.name, e.is_dir(follow_symlinks=False)) for e in entries)
        except FileNotFoundError:
            return  # the recorder removed it after its parent was listed
        except OSError as error:
            raise StoreError(f"{self.folder / prefix}: cannot be listed: {error}") from error
        for name, is_folder in here:
            if is_folder:
                self._list(f"{prefix}{name}/", found)
            else:
                found.append(prefix + name)

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
        """Open without waiting: a pipe in the place of a file must not stop a verification."""
        flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC
        try:
            descriptor = os.open(self.folder / name, flags)
        except OSError as error:
            if error.errno in {errno.ENOENT, errno.ENOTDIR}:
                raise BlobMissingError(f"{name}: expected a file, found none") from error
            raise StoreError(f"{name}: cannot be opened: {error}") from error
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise BlobDamagedError(f"{name}: expected a regular file, found something else")
        return descriptor
