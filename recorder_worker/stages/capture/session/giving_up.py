"""The ends that nobody wished: of a recording that failed, and of a start that is given up.

A session that has begun is ended, so that it is sealed with what it has. One of which nothing was
captured yet has nothing to seal: its client is told, and its start may be tried again as a dead
letter.
"""

from __future__ import annotations

import structlog

from recorder_worker.core.command_parsing import parse_command
from recorder_worker.core.commands import StartSession
from recorder_worker.core.errors import RefusedError
from recorder_worker.core.events import Captured, EndCaptured, SessionFailed, SessionStarted
from recorder_worker.core.ids import event_key, session_id_for
from recorder_worker.core.model import EndReason
from recorder_worker.core.subjects import Fact
from recorder_worker.ports import Delivery
from recorder_worker.stages.capture.services import CaptureServices
from recorder_worker.stages.capture.session.admission import is_of
from recorder_worker.stages.capture.session.aftermath import tell_aftermath
from recorder_worker.stages.capture.session.journal import CapturedJournal

log = structlog.get_logger(__name__)

DETAIL_CHARACTERS = 500
RETRY = "it is kept as a dead letter of capture: correct the cause, then `recorder dead retry`"


async def end_lost(services: CaptureServices, journal: CapturedJournal, detail: str) -> None:
    """A defect must not leave a session that nobody ends: it is sealed with its reason.

    Raises:
        LeaseLostError: another worker goes on with it.
        BusUnavailableError: try again.
    """
    if journal.last is not None:
        journal.cursor = journal.last.cursor  # what failed on its way to the log is not in it
    end = EndCaptured(
        **journal.place(),  # type: ignore[arg-type]
        t_ns=journal.cursor.t_ns,
        reason=EndReason.WORKER_LOST,
        detail=detail[:DETAIL_CHARACTERS],
    )
    await journal.append(end)
    await tell_aftermath(services, end)


async def give_up(services: CaptureServices, delivery: Delivery, reason: str) -> None:
    """What is done about a start in front of its dead letter. Harmless when repeated.

    Raises:
        LeaseLostError: another worker goes on with its session.
        TransientError: try again.
    """
    try:
        command = parse_command(delivery.command, delivery.body)
    except RefusedError:
        return  # nobody ever started anything by it
    if not isinstance(command, StartSession):
        return
    session_id = command.session_id or session_id_for(delivery.command_id, delivery.received_ns)
    logged = await services.log.last(Fact.STARTED, session_id)
    started = logged.event if logged else None
    with structlog.contextvars.bound_contextvars(session_id=session_id):
        if not isinstance(started, SessionStarted):
            await services.gate.refuse(_not_recorded(reason), delivery, session_id)
        elif is_of(started, delivery):
            await _end(services, delivery, session_id, reason)


async def _end(services: CaptureServices, delivery: Delivery, session_id: str, reason: str) -> None:
    last = await services.log.last(Fact.CAPTURED, session_id)
    event = last.event if last else None
    if isinstance(event, EndCaptured):
        await tell_aftermath(services, event)
    elif isinstance(event, Captured):
        journal = CapturedJournal.of(services, session_id, delivery, last)
        await end_lost(services, journal, reason)
        log.warning("SessionGivenUp", reason=reason)
    else:
        await _tell_failed(services, session_id, reason)


async def _tell_failed(services: CaptureServices, session_id: str, reason: str) -> None:
    failed = SessionFailed(
        session_id=session_id,
        reason=EndReason.WORKER_LOST,
        detail=f"nothing was recorded: {reason[:DETAIL_CHARACTERS]}; {RETRY}",
        wall_ns=services.clock.wall_ns(),
    )
    key = event_key(Fact.FAILED.value, session_id, "unopened")
    await services.log.emit(Fact.FAILED, session_id, failed, key=key)


def _not_recorded(reason: str) -> RefusedError:
    return RefusedError(
        field="source",
        expected="a session that this recorder can begin",
        got=reason[:DETAIL_CHARACTERS],
        hint=RETRY,
    )
