"""Admission: whether a start begins a session, repeats one, or is refused."""

from __future__ import annotations

import structlog

from recorder_worker.core import keys
from recorder_worker.core.access.identity import NOBODY
from recorder_worker.core.commands import StartSession, start_digest
from recorder_worker.core.errors import (
    NoRoomError,
    RecorderError,
    RefusedError,
    SourceError,
    SourceForbiddenError,
)
from recorder_worker.core.events import SessionStarted
from recorder_worker.core.ids import event_key
from recorder_worker.core.load.disk_ladder import Rung
from recorder_worker.core.model import SourceFacts
from recorder_worker.core.sources.urls import shown
from recorder_worker.core.subjects import Fact
from recorder_worker.ports import BlobStore, Delivery
from recorder_worker.stages.capture.services import CaptureServices

log = structlog.get_logger(__name__)

SECOND_NS = 1_000_000_000


class DuplicateStartError(RecorderError):
    """Another message has started this session already, with the same parameters."""


class Admission:
    """Decides about starts by what `session.started.<id>` says."""

    def __init__(self, services: CaptureServices) -> None:
        self._services = services
        self._identity = NOBODY
        self._owner = ""

    async def started(
        self, session_id: str, command: StartSession, delivery: Delivery
    ) -> SessionStarted | None:
        """The start of this session by this very message; None where it has not been started.

        A message that a client repeats is another message, whatever id it gave it: only the
        sequence under which JetStream stored it tells a redelivery from a repetition. A message
        that has started the session was asked for its token then; every other one is asked now.

        Raises:
            DuplicateStartError: another message has started just this session.
            RefusedError: he who asks may not, or the session exists and was asked for differently.
            TransientError: nothing is known of who asks.
        """
        logged = await self._services.log.last(Fact.STARTED, session_id)
        event = logged.event if logged else None
        if isinstance(event, SessionStarted) and is_of(event, delivery):
            return event
        gate = self._services.gate
        self._identity = await gate.ask(delivery)
        self._owner = gate.owner_of_start(self._identity, command.owner)
        if not isinstance(event, SessionStarted):
            return None
        same_owner = (event.owner or command.owner) == self._owner
        if same_owner and event.command_digest == start_digest(command, session_id):
            await gate.accepted(self._identity, delivery, session_id)
            raise DuplicateStartError(session_id)
        raise RefusedError(
            field="session_id",
            expected="a session id that is not in use",
            got=session_id,
            hint="this session was started with other parameters; choose a new id or leave it out",
        )

    def check_room(self, session_id: str, delivery: Delivery) -> None:
        """Take no new session where there is no room for it.

        Its start is left for other workers, who may have room, and for the room that may be made;
        who waits for an answer gets it all the same.

        Raises:
            NoRoomError: deliver it again, to whoever asks.
            RefusedError: it has waited for `disk.start_wait_s`.
        """
        disk = self._services.governor.disk
        if disk.rung < Rung.REFUSE:
            return
        waited_s = (self._services.clock.wall_ns() - delivery.received_ns) / SECOND_NS
        if waited_s < self._services.policy.start_wait_s:
            log.warning("StartLeft", session_id=session_id, detail=disk.detail)
            raise NoRoomError(disk.detail)
        raise RefusedError(
            field="data_dir",
            expected="room for a new session",
            got=disk.detail,
            hint="make room, or lower the marks of disk.*; no worker had any for "
            f"{self._services.policy.start_wait_s:g} s",
        )

    def check_wishes(self, command: StartSession) -> None:
        """Refuse a new session that asks for more than this recorder does."""
        most = self._services.policy.max_fps
        if command.fps is not None and command.fps > most:
            raise RefusedError(
                field="fps",
                expected=f"at most {most:g} frames a second",
                got=f"{command.fps:g}",
                hint="ask for fewer, or raise capture.max_fps",
            )

    async def start(
        self, session_id: str, command: StartSession, delivery: Delivery, facts: SourceFacts
    ) -> SessionStarted:
        """Publish `session.started`, once `started` has found none.

        Of two starts that race, the fence lets one win.

        Raises:
            FencedError: another message was faster.
        """
        event = SessionStarted(
            session_id=session_id,
            command_id=delivery.command_id,
            command_digest=start_digest(command, session_id),
            command_sequence=delivery.sequence,
            command_received_ns=delivery.received_ns,
            owner=self._owner,
            identity=self._identity,
            source=facts,
            node=self._services.identity.node,
            wall_ns=self._services.clock.wall_ns(),
        )
        key = event_key(Fact.STARTED.value, session_id, delivery.command_id, delivery.sequence)
        await self._services.log.append(Fact.STARTED, session_id, event, key=key, after=0)
        self._services.metrics.session_started()
        return event


def is_of(event: SessionStarted, delivery: Delivery) -> bool:
    """Whether a session was started by just this message.

    The time counts too, where it is known: a COMMANDS stream that was lost and made anew hands out
    the same sequences again.
    """
    sent = (event.command_id, event.command_sequence)
    at_ns = event.command_received_ns or delivery.received_ns
    return (*sent, at_ns) == (delivery.command_id, delivery.sequence, delivery.received_ns)


def is_used(store: BlobStore, session_id: str) -> bool:
    """Whether the folder of an id that no event speaks of has an earlier recording. Blocking.

    Of an encrypted one that was deleted there is no `session.json`. A new one among its statements
    would be removed by them, and its records would stand behind another seal.
    """
    left = (keys.MANIFEST, keys.SEAL, keys.RECORDS, keys.statement(1), keys.note(1))
    return any(store.size(keys.blob_key(session_id, name)) is not None for name in left)


def id_in_use(session_id: str) -> RefusedError:
    """The refusal of a start whose id names a recording that the stream has forgotten."""
    return RefusedError(
        field="session_id",
        expected="a session id that is not in use",
        got=session_id,
        hint="the data directory holds a recording of this id; choose a new id or leave it out",
    )


def bad_source(command: StartSession, error: SourceError) -> RefusedError:
    """The refusal of a start whose source cannot be opened, or must not be."""
    if isinstance(error, SourceForbiddenError):
        return RefusedError(
            field=error.field,
            expected="a source that this worker may record",
            got=f"{command.source.__struct_config__.tag} {shown(command.source.uri)}",
            hint=str(error),
        )
    return RefusedError(
        field="source.uri",
        expected="a source that can be opened",
        got=shown(command.source.uri),
        hint=str(error),
    )
