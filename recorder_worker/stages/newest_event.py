"""The newest event of a log that is one: behind it may stand what somebody else wrote there."""

from __future__ import annotations

import msgspec

from recorder_worker.core.subjects import Fact
from recorder_worker.ports import EventLog, Logged


async def newest_event(log: EventLog, fact: Fact, session_id: str) -> Logged | None:
    """The last event of a session's log that decodes; None where there is none.

    For those who look. Who writes wants the last message, whatever it is: the fence is over that.

    Raises:
        BusUnavailableError: no answer.
    """
    try:
        return await log.last(fact, session_id)
    except msgspec.MsgspecError:
        newest: Logged | None = None
        async for newest in log.read(fact, session_id):  # noqa: B007  (the last one counts)
            pass
        return newest
