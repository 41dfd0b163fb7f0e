"""The one way to a statement about a session: stored, entered in the log, told.

The order of effects, as for sessions and audit bundles (docs/architecture.md, "One writer"):

1. the statement is durable, under the number that is next: of two workers the store takes one,
2. the head of the log of sessions is appended with its entry, fenced over all entries,
3. tiles, checkpoint, proof and anchor follow as for every entry,
4. `session.retention.<id>` tells it.

A crash after 1 or 2 is taken up by whoever looks at the session next: what is stored and not
entered is entered, and what was not told is told, before anything else is said of the session.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

import structlog

from recorder_worker.core.access.identity import NOBODY, Identity
from recorder_worker.core.errors import IncidentError
from recorder_worker.core.events import RetentionKind, SessionRetention
from recorder_worker.core.ids import event_key
from recorder_worker.core.retention.sayings import KINDS, Deletion, Hold, Release, Saying
from recorder_worker.core.retention.standing import Standing, standing_of
from recorder_worker.core.retention.statement import SignedStatement, entry_for
from recorder_worker.core.session_log.entries import EntryKind
from recorder_worker.core.session_log.log_head import LogHead
from recorder_worker.core.subjects import Fact
from recorder_worker.ports import BlobStore, EventLog, Signer
from recorder_worker.stages.retention.statement_files import StatementFiles
from recorder_worker.stages.session_log.log_writer import LogWriter

log = structlog.get_logger(__name__)

NAMES: dict[EntryKind, RetentionKind] = {
    EntryKind.HOLD: "hold",
    EntryKind.RELEASE: "release",
    EntryKind.DELETE: "delete",
    EntryKind.TOMBSTONE: "tombstone",
}

Decide = Callable[[Standing], Saying | None]
"""From where a session stands to what is said next; None: nothing. May raise RefusedError."""


class RetentionBook:
    """What is said of sessions. `writer` is shared with the other stages that enter things."""

    def __init__(
        self, *, log: EventLog, store: BlobStore, signer: Signer, writer: LogWriter
    ) -> None:
        self._log = log
        self._writer = writer
        self.known = writer.known
        self.files = StatementFiles(store, signer, writer.recorder)

    async def settle(self) -> None:
        """Know the log as it is now; finish what its newest entry began."""
        async with self._writer.lock:
            await self._writer.settle()

    async def say(self, session_id: str, decide: Decide, identity: Identity = NOBODY) -> Standing:
        """Finish what was said of a session, and say what is decided on that.

        Returns:
            Where the session stands then.

        Raises:
            RefusedError: `decide` refuses.
            FencedError: another worker was quicker.
            IncidentError: statements, log and device contradict each other; nothing is said.
        """
        async with self._writer.lock:
            head, after = await self._writer.settle()
            opened = self.known.find(session_id, EntryKind.OPEN)
            if opened is None:
                raise IncidentError(f"session {session_id}: it is not in the log of sessions")
            statements = await asyncio.to_thread(self.files.statements, session_id)
            for signed in statements:
                head, after = await self._enter(signed, opened.counter, head, after)
            self._compare(session_id, len(statements))
            standing = standing_of(statements)
            saying = decide(standing)
            if saying is not None:
                signed = await asyncio.to_thread(self.files.add, session_id, standing, saying)
                await self._enter(signed, opened.counter, head, after)
                standing = standing.behind(signed)
                statements.append(signed)
            await self._tell(statements, identity)
        return standing

    async def _enter(
        self, signed: SignedStatement, counter: int, head: LogHead, after: int
    ) -> tuple[LogHead, int]:
        entry = entry_for(signed, counter)
        head, after, entered = await self._writer.enter_statement(entry, head, after)
        if entered:
            log.info(
                "RetentionStated",
                session_id=entry.session_id,
                kind=entry.kind.name.lower(),
                by=signed.statement.says.by,
                reason=signed.statement.says.reason,
                size=head.size,
            )
        return head, after

    def _compare(self, session_id: str, count: int) -> None:
        """What is entered must be there: else a hold could be lifted by removing its file."""
        entered = len(self.known.statements(session_id))
        if entered != count:
            raise IncidentError(
                f"session {session_id}: expected the {entered} statements of retention that are in "
                f"the log of sessions, found {count}; restore its folder from a copy"
            )

    async def _tell(self, statements: Sequence[SignedStatement], identity: Identity) -> None:
        """Every statement that was not told yet, in order."""
        if not statements:
            return
        session_id = statements[0].statement.session_id
        last = await self._log.last(Fact.RETENTION, session_id)
        told = last.event.number if last and isinstance(last.event, SessionRetention) else 0
        after = last.sequence if last else 0
        for number in range(told + 1, len(statements) + 1):
            event = fact_of(statements[:number], identity)
            key = event_key(Fact.RETENTION.value, session_id, number)
            after = await self._log.append(Fact.RETENTION, session_id, event, key=key, after=after)

    async def tell_what_was_not(self, session_id: str, count: int, since_ns: int) -> None:
        """Tell the newest of a session's statements, unless they were told, or are older.

        Raises:
            IncidentError, FencedError, BusUnavailableError: as `say`.
        """
        last = await self._log.last(Fact.RETENTION, session_id)
        if last and isinstance(last.event, SessionRetention) and last.event.number >= count:
            return
        statements = await asyncio.to_thread(self.files.statements, session_id)
        if last is None and statements and _said_ns(statements[-1]) < since_ns:
            return
        await self.say(session_id, lambda _: None)

    async def tell_again(
        self, session_id: str, standing: Standing, identity: Identity, command_id: str
    ) -> None:
        """For a command that found all as it wants it: its sender waits for an answer."""
        statements = await asyncio.to_thread(self.files.statements, session_id)
        if not statements:
            return
        event = fact_of(statements[: standing.count], identity, command_id)
        key = event_key(Fact.RETENTION.value, session_id, event.number, command_id)
        await self._log.emit(Fact.RETENTION, session_id, event, key=key)


def fact_of(
    statements: Sequence[SignedStatement], identity: Identity, command_id: str = ""
) -> SessionRetention:
    """What is told of the last of these statements."""
    signed, standing = statements[-1], standing_of(statements)
    says = signed.statement.says
    return SessionRetention(
        session_id=signed.statement.session_id,
        number=signed.statement.number,
        kind=NAMES[KINDS[type(says)]],
        by=says.by,
        reason=says.reason,
        rule="" if isinstance(says, Hold | Release) else says.rule.value,
        holds=tuple(standing.holds),
        chunk_count=0 if isinstance(says, Hold | Release) else says.chunk_count,
        chunk_bytes=0 if isinstance(says, Hold | Release) else says.chunk_bytes,
        key_removed=not isinstance(says, Hold | Release) and says.key_removed,
        identity=identity if says.command_id else NOBODY,
        command_id=command_id or says.command_id,
        statement=signed.raw.decode(),
        wall_ns=_said_ns(signed),
    )


def _said_ns(signed: SignedStatement) -> int:
    says = signed.statement.says
    return says.begun_ns if isinstance(says, Deletion) else says.wall_ns
