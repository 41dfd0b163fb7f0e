"""The door for `session.hold`, `session.release` and `session.delete`.

A command is answered when its statement is signed and stands in the log of sessions. The bytes of a
deletion are removed behind that, by the keeper, which takes it up again wherever it was stopped.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import structlog

from recorder_worker.core import keys
from recorder_worker.core.access.identity import NOBODY, Identity
from recorder_worker.core.command_parsing import session_id_in
from recorder_worker.core.commands import (
    DeleteSession,
    HoldSession,
    ReleaseSession,
    RetentionCommand,
)
from recorder_worker.core.errors import IncidentError, OutOfOrderError, RefusedError
from recorder_worker.core.retention.sayings import Deletion, Hold, Release, Rule, Saying
from recorder_worker.core.retention.standing import Standing
from recorder_worker.core.session_log.entries import EntryKind
from recorder_worker.ports import BlobStore, Clock, Delivery
from recorder_worker.stages.gate import CommandGate
from recorder_worker.stages.retention.book import RetentionBook
from recorder_worker.stages.retention.removal import deletion_of
from recorder_worker.stages.retention.sealed_session import SealedSession, owner_of, read_sealed

log = structlog.get_logger(__name__)

EFFECTS: dict[type[RetentionCommand], type[Saying]] = {
    HoldSession: Hold,
    ReleaseSession: Release,
    DeleteSession: Deletion,
}


class RetentionStage:
    """Handles the three commands, one at a time over all workers.

    Args:
        ordered: called when a deletion stands in the log, so that the keeper does not wait.
    """

    def __init__(
        self,
        *,
        store: BlobStore,
        clock: Clock,
        gate: CommandGate,
        book: RetentionBook,
        ordered: Callable[[], None],
    ) -> None:
        self._store = store
        self._clock = clock
        self._gate = gate
        self._book = book
        self._ordered = ordered

    async def handle(self, delivery: Delivery) -> None:
        """Say what is asked for, or refuse it.

        Where what is stored contradicts what was signed, nothing is said: a person has to look.

        Raises:
            FencedError: another worker was quicker; try again.
            TransientError: try again.
        """
        try:
            command = await self._gate.parsed(delivery)
            if not isinstance(command, RetentionCommand):
                raise TypeError(f"{delivery.command.value} is handled by another stage")
            await self._accept(command, delivery)
        except RefusedError as error:
            await self._gate.refuse(error, delivery, session_id_in(delivery.body))
        except IncidentError as error:
            session_id = session_id_in(delivery.body)
            log.error("RetentionStopped", session_id=session_id, reason=str(error))  # noqa: TRY400  (a state, no defect)
            refused = _refused(
                expected="a session whose folder is as it was signed",
                got=str(error),
                hint="restore its folder from a copy, and send this again",
            )
            await self._gate.refuse(refused, delivery, session_id)

    async def _accept(self, command: RetentionCommand, delivery: Delivery) -> None:
        session_id = command.session_id
        if await self._carried_out(command, delivery):
            return
        identity = await self._gate.ask(delivery)
        by = self._gate.person(identity, command.by)
        owner = await asyncio.to_thread(owner_of, self._store, session_id)
        if identity != NOBODY:
            # Before anything is said of the session, and the same where there is none.
            self._gate.check_owner(identity, delivery, owner)
        await self._book.settle()
        if self._book.known.find(session_id, EntryKind.OPEN) is None:
            raise RefusedError(
                field="session_id",
                expected="a session in the log of sessions",
                got=session_id,
                hint="recorder log show lists them; one that has just begun is entered in a moment",
            )
        sealed = None
        if isinstance(command, DeleteSession):
            sealed = await self._sealed(session_id)
        said = False

        def decide(standing: Standing) -> Saying | None:
            nonlocal said
            saying = self._decide(command, delivery, by, standing, sealed)
            said = saying is not None
            return saying

        standing = await self._book.say(session_id, decide, identity)
        if not said:
            await self._book.tell_again(session_id, standing, identity, delivery.command_id)
        await self._finish(command, delivery, identity)

    async def _finish(
        self, command: RetentionCommand, delivery: Delivery, identity: Identity
    ) -> None:
        await self._gate.accepted(identity, delivery, command.session_id)
        if isinstance(command, DeleteSession):
            self._ordered()

    async def _carried_out(self, command: RetentionCommand, delivery: Delivery) -> bool:
        """Whether just this command was carried out, and only its answer may be missing.

        It comes again because a worker died with it in hand; by now its token may have run out.
        """
        session_id = command.session_id
        statements = await asyncio.to_thread(self._book.files.statements, session_id)
        if not any(_is_of(signed.statement.says, command, delivery) for signed in statements):
            return False
        identity = await self._gate.signer(delivery)
        await self._book.say(session_id, lambda _: None, identity)
        await self._finish(command, delivery, identity)
        return True

    async def _sealed(self, session_id: str) -> SealedSession | None:
        """The session, if all that a deletion stands behind is there."""
        logged = self._book.known.find(session_id, EntryKind.SEAL)
        if logged is not None:
            return await asyncio.to_thread(read_sealed, self._store, session_id, logged)
        seal = keys.blob_key(session_id, keys.SEAL)
        if await asyncio.to_thread(self._store.size, seal) is not None:
            raise OutOfOrderError(
                f"session {session_id}: sealed, and its seal is not in the log of sessions yet"
            )
        return None

    def _decide(
        self,
        command: RetentionCommand,
        delivery: Delivery,
        by: str,
        standing: Standing,
        sealed: SealedSession | None,
    ) -> Saying | None:
        if isinstance(command, DeleteSession):
            return self._deletion(command, delivery, by, standing, sealed)
        if standing.deletion is not None:
            raise _refused(
                expected="a session of which nothing was removed",
                got=f"one that {standing.deletion.by or 'somebody'} has deleted",
                hint="its records and its tombstone stay, whatever is asked for",
            )
        held, hold = command.name in standing.holds, isinstance(command, HoldSession)
        if not hold and not held and command.name not in standing.released:
            raise RefusedError(
                field="name",
                expected=f"a hold that there is: {_names(standing)}",
                got=command.name,
                hint="holds are released one by one, by their names",
            )
        if hold is held:
            return None
        return (Hold if hold else Release)(
            name=command.name,
            by=by,
            reason=command.reason,
            command_id=delivery.command_id,
            wall_ns=self._clock.wall_ns(),
        )

    def _deletion(
        self,
        command: DeleteSession,
        delivery: Delivery,
        by: str,
        standing: Standing,
        sealed: SealedSession | None,
    ) -> Deletion | None:
        if standing.deletion is not None:
            return None
        if standing.holds:
            name, hold = next(iter(standing.holds.items()))
            raise _refused(
                expected="a session that is not under hold",
                got=f"one under hold {name!r}, by {hold.by or 'nobody named'}: {hold.reason}",
                hint=f"release it first: {_names(standing)}",
            )
        if sealed is None:
            raise _refused(
                expected="a sealed session",
                got="one that is being recorded, or of which nothing is stored here",
                hint="stop it, and send this again behind session.sealed",
            )
        return deletion_of(
            sealed,
            by=by,
            reason=command.reason,
            rule=Rule.COMMAND,
            command_id=delivery.command_id,
            now_ns=self._clock.wall_ns(),
        )


def _is_of(says: Saying, command: RetentionCommand, delivery: Delivery) -> bool:
    """Whether a statement was made for just this command."""
    return (
        isinstance(says, EFFECTS[type(command)])
        and (says.command_id, says.reason) == (delivery.command_id, command.reason)
        and getattr(says, "name", "") == getattr(command, "name", "")
    )


def _refused(*, expected: str, got: str, hint: str) -> RefusedError:
    return RefusedError(field="session_id", expected=expected, got=got, hint=hint)


def _names(standing: Standing) -> str:
    return ", ".join(repr(name) for name in standing.holds) or "none is in force"
