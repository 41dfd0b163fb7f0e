"""The folders of the sessions as an audit of a running recorder sees them: looked at, and again."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Protocol

import msgspec

from recorder_worker.core.errors import RecorderError
from recorder_worker.core.log_audit.session_folder import SessionFolder, look_into
from recorder_worker.core.retention.sayings import STATEMENTS
from recorder_worker.core.session_log.entries import EntryKind, LogEntry
from recorder_worker.core.session_log.stored_log import StoredLog
from recorder_worker.core.verify.reader import RecordingReader


class Sessions(Protocol):
    """The folders of a data directory."""

    def ids(self) -> Iterable[str]:
        """The names of all folders."""
        ...

    def recording(self, session_id: str) -> RecordingReader | None:
        """One folder; None where there is none."""
        ...


class LoggedEntries(msgspec.Struct, frozen=True, kw_only=True):
    """The entries of a log by their session: the last of each kind, of statements all in order."""

    opened: dict[str, LogEntry]
    sealed: dict[str, LogEntry]
    statements: dict[str, list[LogEntry]]


def by_session(log: StoredLog | None) -> LoggedEntries:
    """What a log says of each session; None: there is no log."""
    entries = log.entries if log else ()
    statements: dict[str, list[LogEntry]] = {}
    for entry in entries:
        if entry.kind in STATEMENTS:
            statements.setdefault(entry.session_id, []).append(entry)
    return LoggedEntries(
        opened={e.session_id: e for e in entries if e.kind is EntryKind.OPEN},
        sealed={e.session_id: e for e in entries if e.kind is EntryKind.SEAL},
        statements=statements,
    )


class Folders:
    """What every folder says.

    A recorder signs in the folder first, and enters it in the log a moment later. So a folder that
    is behind the log is read again, and a log that is behind a folder too.

    Attributes:
        read: by session id; None where nothing is signed in the folder.
        unreadable: those that cannot be read, with the reason.
    """

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions
        self.read: dict[str, SessionFolder | None] = {}
        self.unreadable: dict[str, str] = {}
        for session_id in sessions.ids():
            self._look(session_id)

    def signed(self) -> Iterator[tuple[str, SessionFolder]]:
        """Those in which something is signed, with their session ids."""
        for session_id, folder in sorted(self.read.items(), key=lambda item: item[0]):
            if folder is not None:
                yield session_id, folder

    def empty(self) -> Iterator[str]:
        """The session ids of those in which nothing is."""
        return (session_id for session_id in sorted(self.read) if self.read[session_id] is None)

    def __contains__(self, session_id: str) -> bool:
        return session_id in self.read or session_id in self.unreadable

    def catch_up(self, logged: LoggedEntries) -> None:
        """Read those again that do not have yet what the log has."""
        found = dict(self.signed())
        for session_id in {*logged.opened, *self.read, *self.unreadable}:
            folder, seal = found.get(session_id), logged.sealed.get(session_id)
            stated = len(logged.statements.get(session_id, ()))
            if (
                folder is None
                or (seal is not None and folder.last_sha256 != seal.note_sha256)
                or folder.standing.count < stated
            ):
                self._look(session_id)

    def are_ahead_of(self, log: StoredLog, logged: LoggedEntries) -> bool:
        """Whether one has what is not in the log, or not yet."""
        return any(
            session_id not in logged.opened
            or (folder.sealed and session_id not in logged.sealed)
            or folder.standing.count > len(logged.statements.get(session_id, ()))
            or any(note.head.tree_size > len(log.entries) for _, note in folder.log_notes)
            for session_id, folder in self.signed()
        )

    def _look(self, session_id: str) -> None:
        """A folder that is gone meanwhile counts as missing."""
        self.read.pop(session_id, None)
        self.unreadable.pop(session_id, None)
        recording = self._sessions.recording(session_id)
        if recording is None:
            return
        try:
            self.read[session_id] = look_into(recording)
        except RecorderError as error:
            self.unreadable[session_id] = str(error)
