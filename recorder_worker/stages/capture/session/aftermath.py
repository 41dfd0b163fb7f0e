"""What is left to say once a session's last captured event stands in the log."""

from __future__ import annotations

import asyncio

from recorder_worker.core import keys
from recorder_worker.core.errors import RefusedError
from recorder_worker.core.events import Control, EndCaptured, SessionFailed
from recorder_worker.core.ids import event_key
from recorder_worker.core.lifecycle import State, allowed
from recorder_worker.core.model import EndReason
from recorder_worker.core.subjects import Command, Fact
from recorder_worker.ports import BlobStore, EventLog
from recorder_worker.stages.capture.services import CaptureServices
from recorder_worker.stages.own_seal import is_sealed

ENDED_AGAINST_WISH = frozenset(
    {EndReason.SOURCE_LOST, EndReason.WORKER_LOST, EndReason.DISK_FULL, EndReason.POLICY}
)
COMMANDS = frozenset(command.value.removeprefix("session.") for command in Command)


async def tell_aftermath(services: CaptureServices, end: EndCaptured) -> None:
    """Tell clients of a failure, and answer the commands that came too late for the end.

    Harmless when repeated: a lease that comes back behind its end does it again, because nobody
    knows how far the worker before had come.

    Raises:
        BusUnavailableError: try again.
    """
    if end.reason in ENDED_AGAINST_WISH:
        failed = SessionFailed(
            session_id=end.session_id,
            reason=end.reason,
            detail=end.detail,
            wall_ns=end.wall_ns,
        )
        key = event_key(Fact.FAILED.value, end.session_id)
        await services.log.emit(Fact.FAILED, end.session_id, failed, key=key)
    async for logged in services.log.read(Fact.CONTROL, end.session_id):
        control = logged.event
        if isinstance(control, Control) and control.ordinal >= end.controls:
            await refuse_control(services, control, State.STOPPING)


async def leave_spool(event_log: EventLog, store: BlobStore, session_id: str) -> None:
    """What a holder wrote that has lost its lease, where the seal came before its last segment.

    The seal removes the whole spool, and stands before it does: where there is none yet, what was
    written until now goes with it. Before that nothing is touched: the new holder's is there too.
    Nor is it where the seal is not the session's own.

    Raises:
        BusUnavailableError, StoreError: it was not removed.
    """
    if await is_sealed(event_log, store, session_id):
        await asyncio.to_thread(store.delete_below, keys.blob_key(session_id, keys.SEGMENTS))


async def refuse_control(services: CaptureServices, control: Control, state: State) -> None:
    """Answer a command that the session's state has no row for."""
    triggers = ", ".join(t.value for t in allowed(state) if t.value in COMMANDS)
    await _refuse(
        services,
        control,
        RefusedError(
            field="session_id",
            expected=f"a session that can {control.command.removeprefix('session.')}",
            got=f"one that is {state.value}",
            hint=f"in this state it takes: {triggers or 'no command'}",
        ),
    )


async def refuse_mask(services: CaptureServices, control: Control) -> None:
    """Answer a mask for a session of the profile `copy`."""
    await _refuse(
        services,
        control,
        RefusedError(
            field="session_id",
            expected="a session of pictures",
            got="one of copied packets",
            hint="they are never decoded, so nothing in them can be blacked out; record with "
            "profile screen",
        ),
    )


async def _refuse(services: CaptureServices, control: Control, error: RefusedError) -> None:
    await services.rejections.publish(
        error,
        command=control.command,
        command_id=control.command_id,
        session_id=control.session_id,
    )
