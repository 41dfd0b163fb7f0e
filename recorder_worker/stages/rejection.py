"""How a refused command is answered: `session.rejected.<id>`."""

from __future__ import annotations

import structlog

from recorder_worker.core.errors import RefusedError
from recorder_worker.core.events import SessionRejected
from recorder_worker.core.ids import event_key
from recorder_worker.core.subjects import Fact
from recorder_worker.ports import Clock, EventLog, StageMetrics

log = structlog.get_logger(__name__)


class Rejections:
    """Publishes refusals. The command is acknowledged afterwards: it will never be right."""

    def __init__(self, log: EventLog, clock: Clock, metrics: StageMetrics) -> None:
        self._log = log
        self._clock = clock
        self._metrics = metrics

    async def publish(
        self,
        error: RefusedError,
        *,
        command: str,
        command_id: str,
        session_id: str,
        owner: str = "",
    ) -> None:
        """Tell the client what was wrong; `owner` is that of a start.

        Raises:
            BusUnavailableError: try again.
        """
        refusal = error.refusal
        event = SessionRejected(
            session_id=session_id,
            command=command,
            command_id=command_id,
            field=refusal.field,
            expected=refusal.expected,
            got=refusal.got,
            hint=refusal.hint,
            owner=owner,
            wall_ns=self._clock.wall_ns(),
        )
        key = event_key(Fact.REJECTED.value, session_id, command, command_id)
        await self._log.emit(Fact.REJECTED, session_id, event, key=key)
        self._metrics.rejected(command)
        log.warning("CommandRejected", command=command, session_id=session_id, reason=str(error))
