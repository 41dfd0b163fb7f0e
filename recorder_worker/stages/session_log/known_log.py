"""What a worker knows of the stored log of sessions: its entries, held against the signed root."""

from __future__ import annotations

from collections.abc import Iterator

from recorder_worker.core.errors import BlobMissingError, FormatError, IncidentError
from recorder_worker.core.merkle.proofs import ProofError
from recorder_worker.core.retention.sayings import STATEMENTS
from recorder_worker.core.session_log.entries import (
    EntryKind,
    LogEntry,
    decode_entry,
    entry_hash,
)
from recorder_worker.core.session_log.stored_log import check_log, read_entries
from recorder_worker.core.session_log.tiled_tree import TiledTree
from recorder_worker.core.signing.note import SignedNote
from recorder_worker.stages.session_log.log_files import LogFiles


class KnownLog:
    """The entries of the stored log, read once and then only what is new. Blocking."""

    def __init__(self, files: LogFiles) -> None:
        self._files = files
        self.entries: list[LogEntry] = []
        self._places: dict[tuple[str, EntryKind], int] = {}
        self.audits: list[int] = []
        """The places of the entries of the audit trail."""
        self._statements: dict[str, list[LogEntry]] = {}

    def find(self, session_id: str, kind: EntryKind) -> LogEntry | None:
        """The entry of this kind about a session."""
        place = self._places.get((session_id, kind))
        return None if place is None else self.entries[place]

    def statements(self, session_id: str) -> list[LogEntry]:
        """The entries of the statements of retention about a session, in order."""
        return self._statements.get(session_id, [])

    def sealed(self) -> list[str]:
        """The ids of all sessions that have a SEAL, in the order of their seals."""
        return [entry.session_id for entry in self.entries if entry.kind is EntryKind.SEAL]

    def follow(self, checkpoint: SignedNote) -> None:
        """Know the log up to a checkpoint; the first time every file is held against it.

        Later only what is new is read, and held against its tiles.

        Raises:
            IncidentError: the stored log is not the one that the checkpoint signs.
        """
        size = checkpoint.head.tree_size
        try:
            if not self.entries:
                found = list(check_log(self._files.read, checkpoint).entries)
            else:
                found = list(self._new(size))
        except (BlobMissingError, FormatError, ProofError) as error:
            raise IncidentError(
                f"log of sessions: expected the log that is signed at size {size}, found another: "
                f"{error}; nothing is signed; restore {self._files.location} from a copy"
            ) from error
        for entry in found:
            self.add(entry)

    def _new(self, size: int) -> Iterator[LogEntry]:
        begin = len(self.entries)
        tree = TiledTree(self._files.read, size)
        for index, data in enumerate(read_entries(self._files.read, begin, size), start=begin):
            if tree.subtree(index, index + 1) != entry_hash(data):
                raise ProofError(f"entry {index} is not the one whose hash is in its tile")
            yield decode_entry(data)

    def add(self, entry: LogEntry) -> None:
        """Know one entry more."""
        if entry.kind is EntryKind.AUDIT:
            self.audits.append(len(self.entries))
        elif entry.kind in STATEMENTS:
            self._statements.setdefault(entry.session_id, []).append(entry)
        else:
            self._places.setdefault((entry.session_id, entry.kind), len(self.entries))
        self.entries.append(entry)
