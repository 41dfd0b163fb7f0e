"""A folder that appears whole or not at all.

It is filled under a spare name beside its own, synced, and renamed. What a crash leaves is the
spare folder, `.<name>-<random>`, which nothing reads and anybody may remove; under the final name
there is never a part. `rename` replaces an empty folder and refuses one that holds something, so
that two writers cannot mix their files.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import Self

from recorder_worker.adapters.durable_file import FILE_MODE, FOLDER_MODE, sync_folder
from recorder_worker.core.errors import ImmutableConflictError, StoreError

_TAKEN = {errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR}


class NewFolder:
    """A folder being filled; a context manager. One thread uses it.

    Raises:
        ImmutableConflictError: the name is taken by something that is not an empty folder.
        StoreError: the system refuses.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.size_bytes = 0
        self.file_count = 0
        self._spare = folder.parent / f".{folder.name}-{os.urandom(8).hex()}"

    def __enter__(self) -> Self:
        try:
            if self.folder.exists() and (not self.folder.is_dir() or any(self.folder.iterdir())):
                raise self._taken()
            self.folder.parent.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
            self._spare.mkdir(mode=FOLDER_MODE)
        except OSError as error:
            raise StoreError(f"{self.folder}: cannot be made: {error}") from error
        return self

    def write(self, name: str, pieces: Iterable[bytes]) -> None:
        """Write one new file. `name` is relative, with `/` between folders.

        Raises:
            StoreError: the name leads out of the folder, or the system refuses.
        """
        parts = PurePosixPath(name).parts
        if not parts or name.startswith("/") or ".." in parts:
            raise StoreError(f"{name!r}: expected the name of a file inside of the folder")
        path = self._spare.joinpath(*parts)
        try:
            path.parent.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
            with path.open("xb") as file:
                for piece in pieces:
                    file.write(piece)
                    self.size_bytes += len(piece)
                file.flush()
                os.fchmod(file.fileno(), FILE_MODE)
                os.fsync(file.fileno())
        except OSError as error:
            raise StoreError(f"{self.folder / name}: cannot be written: {error}") from error
        self.file_count += 1

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if kind is None:
                self._publish()
        finally:
            shutil.rmtree(self._spare, ignore_errors=True)

    def _publish(self) -> None:
        try:
            for path, _, _ in os.walk(self._spare):
                sync_folder(Path(path))
            self._spare.rename(self.folder)
            sync_folder(self.folder.parent)
        except OSError as error:
            if error.errno in _TAKEN:
                raise self._taken() from error
            raise StoreError(f"{self.folder}: cannot be put in place: {error}") from error

    def _taken(self) -> ImmutableConflictError:
        return ImmutableConflictError(
            f"{self.folder}: expected no folder or an empty one, found something in its place; "
            "name another one: nothing was written"
        )
