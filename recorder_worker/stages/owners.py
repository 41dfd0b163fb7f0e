"""Owners: copies what becomes of a session to its owner, who may read no other session's facts.

On the server a client has the right to hear `client.<its name>.>`, and that is all it hears. A
session is somebody's because its start says so: whoever names another as the owner tells that one
of a session, and learns nothing himself.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Awaitable, Callable

from recorder_worker.core.events import SessionRejected, SessionStarted
from recorder_worker.core.subjects import Fact, is_owner_name
from recorder_worker.ports import Copies, FactMessage, Logged

Last = Callable[[Fact, str], Awaitable[Logged | None]]
"""`EventLog.last`: no more of the log is needed here."""

REMEMBERED = 4096
"""Owners of so many sessions are kept in memory; of others they are looked up again."""


class OwnersStage:
    """Handles facts about sessions, one at a time."""

    def __init__(self, last: Last, copies: Copies) -> None:
        self._last = last
        self._copies = copies
        self._owners: OrderedDict[str, str] = OrderedDict()

    async def handle(self, message: FactMessage) -> None:
        """Copy a fact to the owner of its session, where there is one that can hear it.

        Raises:
            BusUnavailableError: try again.
        """
        owner = await self._owner(message)
        if is_owner_name(owner):
            await self._copies.publish(owner, message)

    async def _owner(self, message: FactMessage) -> str:
        event = message.event
        if isinstance(event, SessionStarted):
            return self._remember(message.session_id, event.owner)
        if isinstance(event, SessionRejected) and event.owner:
            # Of the start that was refused. The session of that id may be another's.
            return event.owner
        known = self._owners.get(message.session_id)
        if known is not None:
            return known
        started = await self._last(Fact.STARTED, message.session_id)
        if started is None or not isinstance(started.event, SessionStarted):
            return ""  # nothing was ever recorded
        return self._remember(message.session_id, started.event.owner)

    def _remember(self, session_id: str, owner: str) -> str:
        self._owners[session_id] = owner
        if len(self._owners) > REMEMBERED:
            self._owners.popitem(last=False)
        return owner
