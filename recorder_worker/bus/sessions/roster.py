"""The sessions of a recorder as the bus tells of them: looked at now and then, kept in between.

Nothing is subscribed to and nobody is asked: the numbers of sessions stand in REGISTER, which is
read on from where the last look ended, and of every session that is not sealed the newest
checkpoint is read, one message each. What is sealed never changes and is not read again.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from enum import StrEnum
from typing import Any

import msgspec
import nats.errors
from nats.js import JetStreamContext
from nats.js.api import RawStreamMsg
from nats.js.errors import APIError, NotFoundError

from recorder_worker.bus import codec
from recorder_worker.bus.streams.topology import STREAM_OF
from recorder_worker.core.errors import NewerVersionError
from recorder_worker.core.events import (
    Captured,
    Checkpoint,
    EndCaptured,
    Event,
    SessionIncident,
    SessionLogged,
    SessionNumbered,
    SessionSealed,
    SessionStarted,
)
from recorder_worker.core.load.words import load_words
from recorder_worker.core.pipeline import MERKLE
from recorder_worker.core.subjects import Fact, session_of

KEPT_SESSIONS = 500
"""At the first look the newest so many are found, and no more are kept."""
KEPT_SEALED = 50
"""Of those that are sealed, which nobody waits for any more."""
ENTRIES_OF_A_SESSION = 3
"""In REGISTER: its number, its begin and its seal in the log of sessions."""
SUSPICIOUS_NS = 15_000_000_000
"""A session whose newest checkpoint is older than this may have an incident: that is looked up."""

ROSTER_READS_ON = Fact.NUMBERED
ROSTER_FACTS = (
    Fact.NUMBERED,
    Fact.LOGGED,
    Fact.CHECKPOINT,
    Fact.INCIDENT,
    Fact.STARTED,
    Fact.SEALED,
    Fact.CAPTURED,
)
"""What is asked for the newest event: a right of every worker (stage_rights.py)."""

FORGOTTEN = "unknown"
"""The kind of a source whose start the stream has no more."""

_UNANSWERED = (nats.errors.Error, OSError)


class SessionState(StrEnum):
    """What a session is doing, as far as the bus tells."""

    STARTING = "starting"
    RECORDING = "recording"
    PAUSED = "paused"
    ARMED = "armed"
    SEALING = "sealing"
    SEALED = "sealed"
    INCIDENT = "incident"


READ = (SessionState.RECORDING, SessionState.ARMED)
"""The states in which a session's source is read, so that load can be in the way."""


class SessionSeen(msgspec.Struct, frozen=True, kw_only=True):
    """One session as of the last look.

    `signed_ns` is when the newest signed checkpoint was published, 0 before the first one; what is
    counted is under it, but for `units`, which are captured. `load` says in words whether it is
    held, or read at a lower rate than its own; empty: neither.
    """

    session_id: str
    number: int
    state: SessionState = SessionState.STARTING
    load: str = ""
    numbered_ns: int = 0
    signed_ns: int = 0
    tree_size: int = 0
    units: int = 0
    frames: int = 0
    gaps: int = 0
    lost_units: int = 0
    stored_bytes: int = 0
    source_kind: str = ""
    source_uri: str = ""
    node: str = ""
    reason: str = ""
    incident: str = ""


class LogSeen(msgspec.Struct, frozen=True):
    """The head of the log of sessions: how many entries, its root, and when it was appended to."""

    size: int
    root_hash: str
    appended_ns: int


class SessionRoster:
    """What is known of sessions. Bounded: old sealed ones are forgotten."""

    def __init__(self, jetstream: Callable[[], JetStreamContext]) -> None:
        self._jetstream = jetstream
        self._after = -1
        self._sessions: dict[str, SessionSeen] = {}

    @property
    def sessions(self) -> tuple[SessionSeen, ...]:
        """The newest first."""
        return tuple(sorted(self._sessions.values(), key=lambda seen: -seen.number))

    async def look(self, *, closely: bool) -> tuple[SessionSeen, ...]:
        """Look again; `closely` also reads where each session comes from and what it does.

        Raises:
            TimeoutError: no answer; what was known before is still there.
        """
        try:
            await self._find_new()
            for seen in self.sessions:
                if seen.state is not SessionState.SEALED or (closely and not seen.source_kind):
                    self._sessions[seen.session_id] = await self._again(seen, closely=closely)
        except _UNANSWERED as error:
            raise TimeoutError(f"no answer about sessions: {error!r}") from error
        self._forget()
        return self.sessions

    async def log_head(self) -> LogSeen | None:
        """The head of the log of sessions; None before its first entry. Raises TimeoutError."""
        try:
            message, event = await self._last(Fact.LOGGED, Fact.LOGGED.wildcard)
        except _UNANSWERED as error:
            raise TimeoutError(f"no answer about the log of sessions: {error!r}") from error
        if message is None or not isinstance(event, SessionLogged):
            return None
        return LogSeen(event.size, event.root_hash, _stored_ns(message))

    async def _find_new(self) -> None:
        """Read the numbers that were given since the last look."""
        if self._after < 0:
            newest, _ = await self._last(Fact.NUMBERED, Fact.NUMBERED.wildcard)
            if newest is None:
                return
            self._after = max(0, (newest.seq or 0) - KEPT_SESSIONS * ENTRIES_OF_A_SESSION)
        while True:
            try:
                message = await self._jetstream().get_msg(
                    STREAM_OF[Fact.NUMBERED],
                    seq=self._after + 1,
                    subject=Fact.NUMBERED.wildcard,
                    direct=True,
                    next=True,
                )
            except NotFoundError:
                return
            self._after = message.seq or self._after + 1
            event = _event(Fact.NUMBERED, message)
            if isinstance(event, SessionNumbered):
                self._sessions.setdefault(
                    event.session_id,
                    SessionSeen(
                        session_id=event.session_id,
                        number=event.counter,
                        numbered_ns=_stored_ns(message),
                    ),
                )

    async def _again(self, seen: SessionSeen, *, closely: bool) -> SessionSeen:
        session_id = seen.session_id
        message, event = await self._last(Fact.CHECKPOINT, Fact.CHECKPOINT.of(session_id))
        if message is not None and isinstance(event, Checkpoint):
            seen = msgspec.structs.replace(
                seen,
                state=_signed_state(seen.state, event),
                signed_ns=_stored_ns(message),
                tree_size=event.tree_size,
                frames=event.totals.frame_count,
                gaps=event.totals.gap_count,
                lost_units=event.totals.lost_units,
                stored_bytes=event.totals.stored_bytes,
            )
        sealed = seen.state is SessionState.SEALED
        if not sealed and time.time_ns() - (seen.signed_ns or seen.numbered_ns) > SUSPICIOUS_NS:
            seen = await self._with_incident(seen)
            # Numbered and never signed: was it opened at all?
            closely = closely or not seen.signed_ns
        return await self._closely(seen) if closely else seen

    async def _with_incident(self, seen: SessionSeen) -> SessionSeen:
        _, event = await self._last(Fact.INCIDENT, Fact.INCIDENT.of(seen.session_id))
        if not isinstance(event, SessionIncident):
            return seen
        # One of the log of sessions stops no recording.
        state = SessionState.INCIDENT if event.stage == MERKLE.name else seen.state
        return msgspec.structs.replace(seen, state=state, incident=event.detail)

    async def _closely(self, seen: SessionSeen) -> SessionSeen:
        found: dict[str, Any] = {}
        if not seen.source_kind:
            _, started = await self._last(Fact.STARTED, Fact.STARTED.of(seen.session_id))
            found["source_kind"] = FORGOTTEN
            if isinstance(started, SessionStarted):
                source = started.source
                found |= {"source_kind": source.kind, "source_uri": source.uri}
                found["node"] = started.node
        if seen.state is SessionState.SEALED:
            found["load"] = ""
            _, sealed = await self._last(Fact.SEALED, Fact.SEALED.of(seen.session_id))
            if isinstance(sealed, SessionSealed):
                found["reason"] = sealed.reason.value
        elif seen.state is not SessionState.INCIDENT:
            _, captured = await self._last(Fact.CAPTURED, Fact.CAPTURED.of(seen.session_id))
            found |= {"state": _doing(captured), "load": ""}
            if isinstance(captured, Captured) and found["state"] in READ:
                found["load"] = load_words(captured.slowed, held=captured.held)
            if isinstance(captured, Captured):
                found["units"] = captured.cursor.unit
        return msgspec.structs.replace(seen, **found)

    async def _last(self, fact: Fact, subject: str) -> tuple[RawStreamMsg | None, Event | None]:
        """The newest message on a subject, and the event in it where it is one of ours."""
        try:
            message = await self._jetstream().get_last_msg(STREAM_OF[fact], subject, direct=True)
        except NotFoundError:
            return None, None
        except APIError as error:
            raise nats.errors.Error(str(error)) from error
        return message, _event(fact, message)

    def _forget(self) -> None:
        ended = [seen for seen in self.sessions if seen.state is SessionState.SEALED]
        surplus = len(self._sessions) - KEPT_SESSIONS
        for seen in [*ended[KEPT_SEALED:], *(self.sessions[-surplus:] if surplus > 0 else ())]:
            self._sessions.pop(seen.session_id, None)


def _signed_state(before: SessionState, signed: Checkpoint) -> SessionState:
    if signed.sealed:
        return SessionState.SEALED
    return SessionState.RECORDING if before is SessionState.STARTING else before


def _doing(captured: Event | None) -> SessionState:
    if isinstance(captured, EndCaptured):
        return SessionState.SEALING
    if isinstance(captured, Captured):
        if captured.armed:
            return SessionState.ARMED
        return SessionState.PAUSED if captured.paused else SessionState.RECORDING
    return SessionState.STARTING


def _event(fact: Fact, message: RawStreamMsg) -> Event | None:
    """What does not decode is nobody's event; its consumer dead-letters it."""
    try:
        event = codec.decode(fact, message.data or b"")
    except (msgspec.MsgspecError, NewerVersionError):
        return None
    named = getattr(event, "session_id", None)
    return event if named == session_of(message.subject or "") else None


def _stored_ns(message: RawStreamMsg) -> int:
    return round(message.time.timestamp() * 1e9) if message.time is not None else 0
