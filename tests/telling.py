"""Of an event log what those need who only tell."""

from __future__ import annotations

from recorder_worker.core.events import Event
from recorder_worker.core.subjects import Fact


class Telling:
    """Keeps what it was told, in order; each under some id."""

    def __init__(self) -> None:
        self.told: list[Event] = []

    async def emit(self, _fact: Fact, _session_id: str, event: Event, *, key: str) -> None:
        assert key
        self.told.append(event)
