"""The folder that sessions are made again in: marked as such, and locked session by session.

Several processes may work on one folder. Each takes the sessions that nobody works on, so a rebuild
that was cut short is taken up by starting it again.
"""

from __future__ import annotations

import fcntl
import os
from contextlib import suppress
from pathlib import Path

from recorder_worker.core import keys
from recorder_worker.core.errors import RefusedError, StoreError

MARK = ".rebuild"
TEXT = "Sessions are made again here by recorder replay --all; start it again to go on.\n"


class RebuildFolder:
    """A new or empty folder, or one in which a rebuild has begun.

    Raises:
        RefusedError: something else is there.
        StoreError: it cannot be made.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        mark = path / MARK
        try:
            if path.exists() and not mark.exists() and any(path.iterdir()):
                raise RefusedError(
                    field="--into",
                    expected="a new or empty folder, or one in which a rebuild has begun",
                    got=str(path),
                    hint="name another one; nothing was written",
                )
            path.mkdir(parents=True, exist_ok=True)
            mark.write_text(TEXT, encoding="utf-8")
        except OSError as error:
            raise StoreError(f"--into {path}: expected a folder to write to: {error}") from error

    def take(self, session_id: str, *, wait: bool) -> HeldSession | None:
        """Work on a session alone; None where another process does, but with `wait`: it ends first.

        Raises:
            StoreError: its folder cannot be made or locked.
        """
        folder = self.path / keys.session_prefix(session_id)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            except BlockingIOError:
                os.close(descriptor)
                return None
        except OSError as error:
            raise StoreError(f"{folder}: expected a folder to write to: {error}") from error
        return HeldSession(folder, descriptor)


class HeldSession:
    """A session that this process works on."""

    def __init__(self, folder: Path, descriptor: int) -> None:
        self._folder = folder
        self._descriptor = descriptor

    def release(self) -> None:
        """Let others work on it; the folder goes where nothing was made."""
        with suppress(OSError):
            self._folder.rmdir()
        os.close(self._descriptor)
