"""The file systems that the recorder writes to: what is free, and whether they take a file."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from recorder_worker.adapters.durable_file import SPARES, DurableFolder
from recorder_worker.core.load.disk_ladder import Room


class Disk:
    """Looks at a data directory, and at those of its folders that are other file systems.

    Every method blocks and raises OSError.
    """

    def __init__(self, root: Path, folders: Iterable[str]) -> None:
        self._root = root.absolute()
        self._folders = (self._root, *(self._root / name for name in folders))

    def rooms(self) -> tuple[Room, ...]:
        """What is free of each, for this user."""
        found: dict[int, Room] = {}
        for folder in self._folders:
            try:
                device = folder.stat().st_dev
            except FileNotFoundError:
                if folder == self._root:
                    raise
                continue  # not made yet: it will be on its parent's
            if device not in found:
                found[device] = _room(folder)
        return tuple(found.values())

    def clear(self) -> int:
        """Remove what writers could not remove while nothing worked; how many files."""
        return DurableFolder(self._root).clear_spares()

    def probe(self) -> None:
        """Write a byte and sync it: free room says nothing of a mount that is read-only or gone."""
        path = self._root / SPARES / f"{os.getpid()}-probe-{os.urandom(8).hex()}"
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o640)
        try:
            os.write(descriptor, b".")
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
            path.unlink(missing_ok=True)


def _room(folder: Path) -> Room:
    found = os.statvfs(folder)
    return Room(
        name=str(folder),
        free_bytes=found.f_bavail * found.f_frsize,
        total_bytes=found.f_blocks * found.f_frsize,
        free_inodes=found.f_favail,
        total_inodes=found.f_files,
    )
