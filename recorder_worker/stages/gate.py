"""The gate that every command passes: asked who sends it, and its answer put into the audit trail.

Answered once: a command that its stage finds carried out already, because it is delivered again, is
not asked for its token again. By then that may have run out, or be revoked.
"""

from __future__ import annotations

from recorder_worker.core.access.identity import NOBODY, Identity
from recorder_worker.core.access.rules import action_of
from recorder_worker.core.command_parsing import AnyCommand, owner_in, parse_command
from recorder_worker.core.errors import RefusedError
from recorder_worker.core.subjects import Command
from recorder_worker.ports import Delivery
from recorder_worker.stages.audit import AuditTrail
from recorder_worker.stages.authoriser import Authoriser
from recorder_worker.stages.rejection import Rejections


class CommandGate:
    """What the stages that take commands have in common."""

    def __init__(self, authoriser: Authoriser, trail: AuditTrail, rejections: Rejections) -> None:
        self._authoriser = authoriser
        self._trail = trail
        self._rejections = rejections

    async def parsed(self, delivery: Delivery) -> AnyCommand:
        """The validated command; who sends it is still to be asked.

        Raises:
            RefusedError: it is no command. Whoever may not send one is told only that he may not.
            TransientError: nothing is known of who sent it.
        """
        try:
            return parse_command(delivery.command, delivery.body)
        except RefusedError:
            await self.ask(delivery)
            raise

    async def ask(self, delivery: Delivery) -> Identity:
        """Who sends a command, if his role may; as `Authoriser.check`."""
        action = action_of(delivery.command)
        asked_ns = delivery.asked_ns or delivery.received_ns
        return await self._authoriser.check(delivery.bearer, action, asked_ns)

    async def signer(self, delivery: Delivery) -> Identity:
        """Who signed the token of a command that was carried out, whether or not it still counts.

        Raises:
            TransientError: try again.
        """
        return await self._authoriser.signer_of(delivery.bearer) if delivery.bearer else NOBODY

    def check_owner(self, identity: Identity, delivery: Delivery, owner: str) -> None:
        """Raises RefusedError where the session is none of his and he may command only those."""
        self._authoriser.check_owner(identity, action_of(delivery.command), owner)

    def owner_of_start(self, identity: Identity, asked: str) -> str:
        """Whom a new session belongs to. Raises RefusedError where he may not say so."""
        return self._authoriser.owner_of_start(identity, asked)

    def person(self, identity: Identity, said: str) -> str:
        """Who asked, for the record. Raises RefusedError where the command says another."""
        return self._authoriser.person(identity, said)

    async def accepted(self, identity: Identity, delivery: Delivery, session_id: str) -> None:
        """Put into the audit trail that a command is carried out. Raises BusUnavailableError.

        To be called when its effect is sure and before the message is acknowledged.
        """
        await self._trail.accepted(identity, delivery, session_id)

    async def refuse(self, error: RefusedError, delivery: Delivery, session_id: str) -> None:
        """Answer a command that is refused, once the audit trail has it.

        Raises:
            TransientError: try again.
        """
        identity = await self.signer(delivery)
        await self._trail.denied(identity, delivery, session_id, error.refusal)
        await self._rejections.publish(
            error,
            command=delivery.command.value,
            command_id=delivery.command_id,
            session_id=session_id,
            owner=_hears(identity, delivery),
        )


def _hears(identity: Identity, delivery: Delivery) -> str:
    """Whose the refusal of a start is: his who sent it, as far as that is known."""
    if delivery.command is not Command.START:
        return ""
    return identity.actor or owner_in(delivery.body)
