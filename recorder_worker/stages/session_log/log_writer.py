"""Appends entries to the log of sessions, one behind the other, whoever brings them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from recorder_worker.core.errors import FencedError, IncidentError
from recorder_worker.core.ids import event_key
from recorder_worker.core.session_log.entries import EntryKind, LogEntry
from recorder_worker.core.session_log.log_head import LogHead, to_event
from recorder_worker.core.subjects import Fact
from recorder_worker.ports import BlobStore, EventLog, Logged, Signer
from recorder_worker.stages.session_log.completion import Completion
from recorder_worker.stages.session_table import never_lost


class LogWriter:
    """The one way to an entry: head, tiles, checkpoint, proof, anchor, in this order.

    Attributes:
        lock: held by whoever settles and enters, so that in one process nobody meets the fence.
        known: the stored entries, as of the last `settle`.
    """

    def __init__(
        self,
        *,
        log: EventLog,
        store: BlobStore,
        signer: Signer,
        recorder: str,
        connection: Callable[[], int] = never_lost,
    ) -> None:
        self._log = log
        self._connection = connection
        self._settled: tuple[LogHead, int] | None = None
        self._settled_over = connection()
        self._signer = signer
        self._completion = Completion(log=log, store=store, signer=signer, recorder=recorder)
        self.recorder = recorder
        self.known = self._completion.known
        self.lock = asyncio.Lock()

    @property
    def device_key(self) -> str:
        """The public Ed25519 key that signs the log, in hexadecimal."""
        return self._signer.device_keys()[0].data.hex()

    async def settle(self, appended: Logged | None = None) -> tuple[LogHead, int]:
        """Finish what the newest head began; see `Completion.settle`."""
        self._settled, connection = None, self._connection()
        settled = await self._completion.settle(appended)
        self._settled, self._settled_over = settled, connection
        return settled

    async def settled(self) -> tuple[LogHead, int]:
        """The head and sequence of the last `settle`, or of one now, where that may be wrong.

        Where others have appended since, the fence refuses, and the next try settles. What was
        learnt over an earlier connection may be wrong: the server may have lost its newest heads,
        and others stand at their sequences.
        """
        if self._settled is None or self._settled_over != self._connection():
            return await self.settle()
        return self._settled

    async def enter_session(
        self, entry: LogEntry, head: LogHead, after: int
    ) -> tuple[LogHead, int, bool]:
        """Append an OPEN or SEAL behind a settled head, unless it stands in the log.

        Returns the head and sequence to go on from, and whether anything was appended.

        Raises:
            FencedError: another worker writes the log too.
            IncidentError: another entry of this kind and session stands there.
        """
        held = self.known.find(entry.session_id, entry.kind)
        if held == entry:
            return head, after, False
        if held is not None:
            raise IncidentError(
                f"session {entry.session_id}: its {entry.kind.name} stands in the log with number "
                f"{held.counter} and checkpoint {held.note_sha256.hex()}, but {entry.counter} and "
                f"{entry.note_sha256.hex()} was signed"
            )
        head, after = await self._append(entry, head, after)
        if self.known.find(entry.session_id, entry.kind) != entry:
            # Nothing is acknowledged that does not stand in the stored, signed log.
            self._settled = None
            raise FencedError(
                f"session {entry.session_id}: its {entry.kind.name} is not stored yet"
            )
        return head, after, True

    async def enter_statement(
        self, entry: LogEntry, head: LogHead, after: int
    ) -> tuple[LogHead, int, bool]:
        """Append a statement of retention behind a settled head, unless it stands in the log.

        Returns as `enter_session`.

        Raises:
            FencedError: another worker writes the log too.
        """
        if entry in self.known.statements(entry.session_id):
            return head, after, False
        head, after = await self._append(entry, head, after)
        if entry not in self.known.statements(entry.session_id):
            raise FencedError(
                f"session {entry.session_id}: its {entry.kind.name} is not stored yet"
            )
        return head, after, True

    async def enter_audit(self, entry: LogEntry, head: LogHead, after: int) -> None:
        """Append the next entry of the audit trail behind a settled head.

        Raises:
            FencedError: another worker writes the log too.
        """
        assert entry.kind is EntryKind.AUDIT  # noqa: S101  (the caller makes no other)
        await self._append(entry, head, after)
        if self.last_audit != entry:
            raise FencedError(f"audit event {entry.counter}: its entry is not stored yet")

    @property
    def last_audit(self) -> LogEntry | None:
        """The newest entry of the audit trail."""
        known = self.known
        return known.entries[known.audits[-1]] if known.audits else None

    async def _append(self, entry: LogEntry, head: LogHead, after: int) -> tuple[LogHead, int]:
        event = to_event(head.append(entry), entry)
        key = event_key(Fact.LOGGED.value, event.session_id, event.kind, event.size)
        self._settled = None
        sequence = await self._log.append_to_all(
            Fact.LOGGED, event.session_id, event, key=key, after=after
        )
        return await self.settle(Logged(event, sequence, key))
