"""The audit trail: facts about who did what, each under a key that a repetition has too."""

from __future__ import annotations

from typing import Any

from blake3 import blake3

from recorder_worker.core.access.identity import Identity
from recorder_worker.core.errors import Refusal
from recorder_worker.core.events import (
    CommandAccepted,
    CommandDenied,
    RecordingExported,
    RecordingViewed,
)
from recorder_worker.core.ids import event_key
from recorder_worker.core.subjects import Fact
from recorder_worker.ports import Clock, Delivery, EventLog


class AuditTrail:
    """Publishes audit facts; every method raises BusUnavailableError.

    What is published under a key that the stream has seen within its duplicate window is dropped
    by the server; behind that window the copy has the same `Nats-Msg-Id`: readers count it once.
    """

    def __init__(self, log: EventLog, clock: Clock, node: str) -> None:
        self._log = log
        self._clock = clock
        self._node = node

    async def accepted(self, identity: Identity, delivery: Delivery, session_id: str) -> None:
        """A command is allowed, and is carried out."""
        event = CommandAccepted(
            **self._who(identity, session_id),
            command=delivery.command.value,
            command_id=delivery.command_id,
            command_blake3=blake3(delivery.body).hexdigest(),
        )
        key = _key(Fact.AUDIT_ACCEPTED, delivery)
        await self._log.emit(Fact.AUDIT_ACCEPTED, session_id, event, key=key)

    async def denied(
        self, identity: Identity, delivery: Delivery, session_id: str, refusal: Refusal
    ) -> None:
        """A command is refused."""
        event = CommandDenied(
            **self._who(identity, session_id),
            command=delivery.command.value,
            command_id=delivery.command_id,
            command_blake3=blake3(delivery.body).hexdigest(),
            field=refusal.field,
            reason=_reason(refusal),
        )
        key = _key(Fact.AUDIT_DENIED, delivery)
        await self._log.emit(Fact.AUDIT_DENIED, session_id, event, key=key)

    async def denied_request(
        self, identity: Identity, *, request: str, session_id: str, refusal: Refusal, key: str
    ) -> None:
        """A request to the gateway is refused. `key` as in `viewed`."""
        event = CommandDenied(
            **self._who(identity, session_id),
            command=request,
            command_id=key,
            field=refusal.field,
            reason=_reason(refusal),
        )
        full_key = event_key(Fact.AUDIT_DENIED.value, "request", key)
        await self._log.emit(Fact.AUDIT_DENIED, session_id, event, key=full_key)

    async def viewed(self, identity: Identity, *, session_id: str, what: str, key: str) -> None:
        """Somebody is shown what is known of a session, or of all: `session_id` is `unknown` then.

        Args:
            identity: who.
            session_id: the session.
            what: in a word or two, such as `get` or `list`.
            key: the same for the same request, and for no other.
        """
        event = RecordingViewed(**self._who(identity, session_id), what=what)
        full_key = event_key(Fact.AUDIT_VIEWED.value, key)
        await self._log.emit(Fact.AUDIT_VIEWED, session_id, event, key=full_key)

    async def exported(
        self, identity: Identity, *, session_id: str, what: str, key: str, detail: str = ""
    ) -> None:
        """Somebody is given bytes or proofs of a recording to keep; as `viewed`."""
        event = RecordingExported(**self._who(identity, session_id), what=what, detail=detail)
        full_key = event_key(Fact.AUDIT_EXPORTED.value, key)
        await self._log.emit(Fact.AUDIT_EXPORTED, session_id, event, key=full_key)

    def _who(self, identity: Identity, session_id: str) -> dict[str, Any]:
        """What every audit fact carries."""
        return {
            "actor": identity.actor,
            "role": identity.role,
            "token_id": identity.token_id,
            "session_id": session_id,
            "node": self._node,
            "wall_ns": self._clock.wall_ns(),
        }


def _reason(refusal: Refusal) -> str:
    return f"expected {refusal.expected}, got {refusal.got}; {refusal.hint}"


def _key(fact: Fact, delivery: Delivery) -> str:
    """One for each message that came.

    The id alone would not do: a client names it, and could have the second of two commands
    dropped from the trail by giving it the id of the first.
    """
    return event_key(fact.value, delivery.command.value, delivery.sequence, delivery.command_id)
