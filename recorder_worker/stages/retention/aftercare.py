"""Looks again, and ever more seldom, at sessions that are done with: removed ones, and sealed ones.

What is gone may be back: out of a backup, or a power cut in the midst of it, or by a worker that
was at it meanwhile. And a worker that stood still until others had sealed a session writes behind
the seal: it takes that back itself, unless it is killed before.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

import structlog

from recorder_worker.core import keys
from recorder_worker.core.retention.standing import standing_of
from recorder_worker.core.session_log.entries import LogEntry
from recorder_worker.ports import BlobStore, Clock
from recorder_worker.stages.retention.book import RetentionBook
from recorder_worker.stages.retention.looks import Looks
from recorder_worker.stages.retention.removal import bytes_left, remove_bytes
from recorder_worker.stages.retention.sealed_session import read_sealed

log = structlog.get_logger(__name__)

TOLD_LATER_NS = 86_400_000_000_000
"""What is older was told, and has aged out of its stream: it is not told anew."""
SUPERFLUOUS = (keys.SEGMENTS, keys.JOURNAL)
"""What the seal takes away: the recording has all of it that counts in other files."""

InThread = Callable[[Callable[[], None]], Awaitable[None]]
"""Has blocking work done off the event loop."""


class Aftercare:
    """What one keeper looks at again.

    Args:
        stores: where the bytes of sessions are, that of the recorder first.
        clock: by whose monotonic time looks are due.
        book: what is said of sessions.
        in_thread: where bytes are removed.
    """

    def __init__(
        self, stores: Sequence[BlobStore], clock: Clock, book: RetentionBook, in_thread: InThread
    ) -> None:
        self._stores = tuple(stores)
        self._clock = clock
        self._book = book
        self._in_thread = in_thread
        self._of_removed = Looks()
        self._of_sealed = Looks()

    async def removed(self, session_id: str, count: int) -> None:
        """Look at one whose tombstone stands, behind `count` statements.

        Whoever wrote that may have been killed before he told it.

        Raises:
            IncidentError: statements and log contradict each other; nothing is removed.
            StoreError, BusUnavailableError: try again.
        """
        now_ns = self._clock.monotonic_ns()
        if not self._of_removed.is_due(session_id, now_ns):
            return
        since_ns = self._clock.wall_ns() - TOLD_LATER_NS
        await self._book.tell_what_was_not(session_id, count, since_ns)
        await self._in_thread(lambda: self._remove_again(session_id))
        self._of_removed.done(session_id, now_ns)

    def _remove_again(self, session_id: str) -> None:
        deletion = standing_of(self._book.files.statements(session_id)).deletion
        if deletion is None:
            return
        found = bytes_left(self._stores, session_id, deletion)
        if found:
            log.warning("RemovedAgain", session_id=session_id, files=len(found), such_as=found[0])
            remove_bytes(self._stores, session_id, deletion)

    async def sealed(self, session_id: str, logged: LogEntry) -> None:
        """Look at one that is sealed, and kept. `logged` is the entry of its seal.

        Raises:
            IncidentError: what lies there is not what was signed; nothing is removed.
            StoreError: try again.
        """
        now_ns = self._clock.monotonic_ns()
        if not self._of_sealed.is_due(session_id, now_ns):
            return
        await self._in_thread(lambda: self._clear(session_id, logged))
        self._of_sealed.done(session_id, now_ns)

    def _clear(self, session_id: str, logged: LogEntry) -> None:
        store = self._stores[0]
        folders = [keys.blob_key(session_id, name) for name in SUPERFLUOUS]
        found = [key for folder in folders for key in store.keys(folder)]
        # What is behind the seal goes by the records that were sealed, read anew: not by a name.
        if not found or read_sealed(store, session_id, logged) is None:
            return
        log.info("LateFilesRemoved", session_id=session_id, files=len(found), such_as=found[0])
        for folder in folders:
            store.delete_below(folder)
