"""A recorder's data directory, read from outside: the log of sessions and the sessions' folders."""

from __future__ import annotations

from pathlib import Path

import typer

from recorder_worker.adapters.folder import FolderRecording
from recorder_worker.core import keys
from recorder_worker.core.errors import StoreError
from recorder_worker.core.verify.reader import read_bounded

MAX_LOG_FILE_SIZE = 32 * 1024 * 1024
"""A full bundle of the longest entries is half of it."""


class DataDirectory:
    """`log/`, `sessions/` and `audit/` in a folder; satisfies `Sessions` and `Bundles`.

    Raises:
        typer.BadParameter: neither is there.
    """

    def __init__(self, path: Path) -> None:
        self._sessions = path / keys.SESSIONS
        self._log = path / keys.LOG
        if not self._log.is_dir() and not self._sessions.is_dir():
            raise typer.BadParameter(
                f"{path} is no data directory: expected {keys.LOG}/ or {keys.SESSIONS}/ in it; "
                "name the one that is set as data_dir",
                param_hint="DIR",
            )
        self._files = FolderRecording(self._log) if self._log.is_dir() else None
        self._audit_path = path / keys.AUDIT
        self._audit = FolderRecording(self._audit_path) if self._audit_path.is_dir() else None

    def read(self, name: str) -> bytes:
        """The bytes behind a name in the log. Raises BlobMissingError, FormatError, StoreError."""
        files = self._files or FolderRecording(self._log)
        return read_bounded(files, name, MAX_LOG_FILE_SIZE)

    def bundle_keys(self) -> list[str]:
        """The keys of all files of the audit trail. Raises StoreError."""
        return [f"{keys.AUDIT}/{name}" for name in self._audit.names()] if self._audit else []

    def read_bundle(self, key: str, limit: int) -> bytes:
        """The bytes behind a key of the audit trail. Raises as `read`."""
        audit = self._audit or FolderRecording(self._audit_path)
        return read_bounded(audit, key.removeprefix(f"{keys.AUDIT}/"), limit)

    def ids(self) -> list[str]:
        """The names of all folders of sessions, sorted. Raises StoreError."""
        try:
            found = [entry.name for entry in self._sessions.iterdir() if entry.is_dir()]
        except FileNotFoundError:
            return []
        except OSError as error:
            raise StoreError(f"{self._sessions}: cannot be listed: {error}") from error
        return sorted(found)

    def recording(self, session_id: str) -> FolderRecording | None:
        """The folder of a session; None where there is none."""
        folder = self._sessions / session_id
        return FolderRecording(folder) if folder.is_dir() else None

    def receipted(self) -> list[str]:
        """The names of the checkpoints of the log that receipts were given for."""
        folder = self._log / keys.LOG_RECEIPTS
        return sorted(f"{keys.LOG_RECEIPTS}/{path.name}" for path in folder.glob("*.note"))
