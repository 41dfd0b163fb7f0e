"""Lets everybody in, as NATS does where nobody is authorised, and puts it on record."""

from __future__ import annotations

import uuid

from recorder_worker.core.events import Audited, RecordingExported, RecordingViewed
from recorder_worker.core.ids import event_key
from recorder_worker.core.subjects import UNKNOWN_SESSION, Fact
from recorder_worker.ports import Admission, Asked, Clock, EventLog

EXPORTS = frozenset({"proof"})
"""What is given away to be kept."""
UNRECORDED = frozenset({"stats"})
"""What says nothing of any recording."""


class OpenGate:
    """A `RequestGate` that refuses nobody."""

    def __init__(self, events: EventLog, clock: Clock, node: str) -> None:
        self._events = events
        self._clock = clock
        self._node = node

    async def admit(self, asked: Asked) -> Admission:
        """Let a request in. Raises BusUnavailableError: nothing is told without a record."""
        if asked.action in UNRECORDED:
            return Admission()
        session_id = asked.session_id or UNKNOWN_SESSION
        fact = Fact.AUDIT_EXPORTED if asked.action in EXPORTS else Fact.AUDIT_VIEWED
        # Every look is a fact of its own, however often the same thing is looked at.
        key = event_key(fact.value, uuid.uuid4().hex)
        await self._events.emit(fact, session_id, self._fact(asked, session_id), key=key)
        return Admission()

    def _fact(self, asked: Asked, session_id: str) -> Audited:
        wall_ns = self._clock.wall_ns()
        if asked.action not in EXPORTS:
            return RecordingViewed(
                actor="",
                role="",
                session_id=session_id,
                node=self._node,
                wall_ns=wall_ns,
                what=asked.action,
            )
        return RecordingExported(
            actor="",
            role="",
            session_id=session_id,
            node=self._node,
            wall_ns=wall_ns,
            what=asked.action,
            detail=asked.detail,
        )
