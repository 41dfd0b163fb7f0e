"""Admission: whether a start begins a session, repeats one, or is refused."""

from __future__ import annotations

import structlog

from recorder_worker.core.commands import StartSession, start_digest
from recorder_worker.core.errors import FencedError, RefusedError, SourceError
from recorder_worker.core.events import SessionStarted
from recorder_worker.core.ids import event_key
from recorder_worker.core.subjects import Fact
from recorder_worker.ports import Delivery
from recorder_worker.stages.capture.manifest import Manifest
from recorder_worker.stages.capture.services import CaptureServices

log = structlog.get_logger(__name__)


class Admission:
    """Decides about starts by what `session.started.<id>` says."""

    def __init__(self, services: CaptureServices) -> None:
        self._services = services

    async def is_duplicate(
        self, session_id: str, command: StartSession, delivery: Delivery
    ) -> bool:
        """Whether this is another start of a session that one message has started already.

        Raises:
            RefusedError: the session exists and was asked for differently.
        """
        logged = await self._services.log.last(Fact.STARTED, session_id)
        if logged is None or not isinstance(logged.event, SessionStarted):
            return False
        if logged.event.command_id == delivery.command_id:
            return False
        if logged.event.command_digest == start_digest(command, session_id):
            log.info("StartRepeated", command_id=delivery.command_id)
            return True
        raise RefusedError(
            field="session_id",
            expected="a session id that is not in use",
            got=session_id,
            hint="this session was started with other parameters; choose a new id or leave it out",
        )

    def check_room(self) -> None:
        """Refuse a new session where there is no room for it."""
        free = self._services.store.free_bytes()
        floor = self._services.policy.floor_bytes
        if free is not None and free < floor:
            raise RefusedError(
                field="data_dir",
                expected=f"at least {floor} bytes free",
                got=f"{free} bytes free",
                hint="make room, or lower disk.floor_bytes; running sessions go on",
            )

    async def start(
        self, session_id: str, command: StartSession, delivery: Delivery, manifest: Manifest
    ) -> None:
        """Publish `session.started`, once. Of two starts that race, the fence lets one win."""
        if await self._services.log.last(Fact.STARTED, session_id) is not None:
            if await self.is_duplicate(session_id, command, delivery):
                raise FencedError(f"session {session_id} was started by another message meanwhile")
            return
        event = SessionStarted(
            session_id=session_id,
            command_id=delivery.command_id,
            command_digest=start_digest(command, session_id),
            command_sequence=delivery.sequence,
            source=manifest.source,
            node=self._services.identity.node,
            wall_ns=self._services.clock.wall_ns(),
        )
        key = event_key(Fact.STARTED.value, session_id, delivery.command_id)
        await self._services.log.append(Fact.STARTED, session_id, event, key=key, after=0)
        self._services.metrics.session_started()


def bad_source(command: StartSession, error: SourceError) -> RefusedError:
    """The refusal of a start whose source cannot be opened."""
    return RefusedError(
        field="source.uri",
        expected="a source that can be opened",
        got=command.source.uri,
        hint=str(error),
    )
