"""A small async client: start, stop, follow and wait, over plain subjects as any client would."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import msgspec
import nats.errors
from nats.aio.client import Client
from nats.js import JetStreamContext
from nats.js.errors import APIError, NoStreamResponseError, NotFoundError, ServiceUnavailableError

from recorder_worker.bus.answers import digest_of, refused
from recorder_worker.bus.connection.broker import Login
from recorder_worker.bus.connection.client_connection import Denials, connect_client
from recorder_worker.bus.event_log import MESSAGE_ID
from recorder_worker.bus.fact_stream import FactSeen, first_of, seen_in
from recorder_worker.bus.following import Following
from recorder_worker.bus.rights.bearer import bearer_header
from recorder_worker.bus.streams.topology import (
    CLIENTS_STREAM,
    COMMANDS_STREAM,
    SESSIONS_STREAM,
    STREAM_OF,
)
from recorder_worker.core.command_parsing import check_session_id
from recorder_worker.core.errors import RefusedError
from recorder_worker.core.events import Event, SessionRejected, SessionSealed, SessionStarted
from recorder_worker.core.subjects import UNKNOWN_SESSION, Command, Fact, copy_for, session_of

PUBLISH_TIMEOUT_S = 5.0

UNANSWERED = (
    NotFoundError,
    NoStreamResponseError,
    ServiceUnavailableError,
    nats.errors.NoRespondersError,
    nats.errors.TimeoutError,
)
"""No stream of that name, no JetStream, or no right to ask: the server does not tell them apart."""


class RecorderClient:
    """Talks to recorders over a connection; make one with `connect`."""

    def __init__(self, client: Client, login: Login, denials: Denials, *, bearer: str = "") -> None:
        self._client = client
        self._owner = login.owner
        self._denials = denials
        self._authorization = bearer_header(bearer)
        self._jetstream: JetStreamContext = client.jetstream(
            timeout=PUBLISH_TIMEOUT_S, prefix=login.api_prefix
        )

    @classmethod
    @asynccontextmanager
    async def connect(
        cls, login: Login | str, *, bearer: str = ""
    ) -> AsyncIterator[RecorderClient]:
        """A connected client for the length of an `async with`.

        Args:
            login: where NATS is and who we are there, or its URL alone.
            bearer: the token (a JWT) that is sent with every command, where the recorder asks for
                one. It is not what NATS asks for: that is in the login.

        Raises:
            BusUnavailableError: no server, or it refuses the login.
            RefusedError: the token cannot be sent.
        """
        if isinstance(login, str):
            login = Login(servers=(login,))
        denials = Denials()
        client = await connect_client(login, denials)
        try:
            yield cls(client, login, denials, bearer=bearer)
        finally:
            await client.close()

    # --- commands -------------------------------------------------------------------------------

    async def start(
        self,
        source: dict[str, Any],
        *,
        session_id: str | None = None,
        timeout_s: float = 30.0,
        **options: Any,  # noqa: ANN401  (the fields of session.start)
    ) -> SessionStarted:
        """Start a session and wait until a worker records it.

        Args:
            source: as in `session.start`, for example `{"kind": "x11", "uri": ":10"}`.
            session_id: a UUID; made here where none is given.
            timeout_s: how long to wait for a free worker, in seconds. The command stays queued
                behind a timeout: start again with the same id, or stop it.
            options: more fields of `session.start`: fps, masks, max_duration_s, owner, labels …

        Raises:
            RefusedError: the command was refused; its `refusal` says why.
            BusUnavailableError: no answer from NATS, or no worker took the session in time.
        """
        session_id = session_id or str(uuid.uuid4())
        body = {"session_id": session_id, "source": source, **options}
        if self._owner:
            body.setdefault("owner", self._owner)
        sent = await self._send(Command.START, body)
        digest = digest_of(body)

        def settles(seen: FactSeen) -> bool:
            event = seen.event
            if isinstance(event, SessionStarted):
                return digest == event.command_digest
            return isinstance(event, SessionRejected) and event.command_id == sent

        async with self.follow(session_id) as facts:
            event = await first_of(facts, settles, session_id, timeout_s)
        if isinstance(event, SessionStarted):
            return event
        raise refused(event)

    async def stop(self, session_id: str, *, by: str = "") -> str:
        """Ask for the end of a session; gives the command's id. Raises BusUnavailableError."""
        return await self._send(Command.STOP, {"session_id": session_id, "by": by})

    async def pause(self, session_id: str, *, by: str = "") -> str:
        """Ask to record nothing until `resume`; as `stop`."""
        return await self._send(Command.PAUSE, {"session_id": session_id, "by": by})

    async def resume(self, session_id: str, *, by: str = "") -> str:
        """Ask to go on after a pause; as `stop`."""
        return await self._send(Command.RESUME, {"session_id": session_id, "by": by})

    async def mark(self, session_id: str, text: str, **fields: Any) -> str:  # noqa: ANN401  (the fields of session.mark)
        """Put an event on the session's timeline; as `stop`."""
        return await self._send(Command.MARK, {"session_id": session_id, "text": text, **fields})

    async def mask(self, session_id: str, masks: Sequence[Mapping[str, int]], **fields: Any) -> str:  # noqa: ANN401  (as above)
        """Black out these rectangles from now on, and no others; as `stop`."""
        return await self._send(Command.MASK, {"session_id": session_id, "masks": masks, **fields})

    async def hold(self, session_id: str, reason: str, *, name: str = "hold", by: str = "") -> str:
        """Let nothing of a session be removed until a hold of this name is released; as `stop`."""
        body = {"session_id": session_id, "reason": reason, "name": name, "by": by}
        return await self._send(Command.HOLD, body)

    async def release(
        self, session_id: str, reason: str, *, name: str = "hold", by: str = ""
    ) -> str:
        """Lift the hold of this name; as `stop`."""
        body = {"session_id": session_id, "reason": reason, "name": name, "by": by}
        return await self._send(Command.RELEASE, body)

    async def delete(self, session_id: str, reason: str, *, by: str = "") -> str:
        """Remove the bytes of a sealed session, for ever; as `stop`."""
        body = {"session_id": session_id, "reason": reason, "by": by}
        return await self._send(Command.DELETE, body)

    # --- facts ----------------------------------------------------------------------------------

    async def events(
        self, session_id: str = "*", *, history: bool = True
    ) -> AsyncIterator[FactSeen]:
        """Facts about one session or all, for ever: what is stored first, then what comes.

        Raises:
            BusUnavailableError: the streams are not there: no worker has run on this NATS.
        """
        async with self.follow(session_id, history=history) as facts:
            async for seen in facts:
                yield seen

    @asynccontextmanager
    async def follow(
        self, session_id: str = "*", *, history: bool = True, fact: Fact | None = None
    ) -> AsyncIterator[AsyncIterator[FactSeen]]:
        """As `events`; inside the `async with` nothing that is published is missed.

        With `fact`, of this kind alone: whoever waits for one thing is spared all the others. A
        client who reads copies gets other kinds too.
        """
        if session_id not in ("*", UNKNOWN_SESSION):
            check_session_id(session_id)
        following = Following(self._client, self._jetstream, session_id, fact)
        async with AsyncExitStack() as stack:
            try:
                opened = following.facts(self._owner, history=history)
                facts = await stack.enter_async_context(opened)
            except UNANSWERED as error:
                raise self._denials.explain() from error
            yield facts

    async def last(self, fact: Fact, session_id: str) -> Event | None:
        """The newest fact of a kind about a session; None where there is none."""
        stream, subject = STREAM_OF[fact], fact.of(session_id)
        if self._owner:
            stream, subject = CLIENTS_STREAM, copy_for(self._owner, fact, session_id)
        try:
            message = await self._jetstream.get_last_msg(stream, subject, direct=True)
        except NotFoundError:
            return None
        except UNANSWERED as error:
            raise self._denials.explain() from error
        seen = seen_in(message)
        return seen.event if seen else None

    async def sessions(self) -> list[str]:
        """The ids of all sessions that the stream remembers, sorted.

        Raises:
            RefusedError: this client may read those alone that it owns, and has to know them.
        """
        if self._owner:
            raise RefusedError(
                field="nats.owner",
                expected="a user who may read all facts",
                got=self._owner,
                hint="log in as one, such as observer, and leave nats.owner empty",
            )
        try:
            info = await self._jetstream.stream_info(
                SESSIONS_STREAM, subjects_filter=Fact.STARTED.wildcard
            )
        except UNANSWERED as error:
            raise self._denials.explain() from error
        return sorted(session_of(subject) for subject in info.state.subjects or {})

    async def wait_sealed(self, session_id: str, timeout_s: float | None = None) -> SessionSealed:
        """Wait for the seal of a session. Raises TimeoutError, BusUnavailableError."""
        async with self.follow(session_id, fact=Fact.SEALED) as seals:
            seal = await first_of(
                seals, lambda seen: seen.fact is Fact.SEALED, session_id, timeout_s
            )
        assert isinstance(seal, SessionSealed)  # noqa: S101  (the only type of that fact)
        return seal

    async def effect(
        self,
        send: Callable[[], Awaitable[str]],
        session_id: str,
        shows: Callable[[FactSeen], bool],
        timeout_s: float | None = None,
    ) -> Event:
        """Send a command and wait for the fact that shows its effect.

        A fact that was there before counts too where it is final: a seal.

        Raises:
            RefusedError: the command was refused.
            BusUnavailableError: nothing happened in time.
        """
        check_session_id(session_id)
        sealed = await self.last(Fact.SEALED, session_id)
        async with self.follow(session_id, history=False) as facts:
            sent = await send()
            if sealed is not None and shows(FactSeen(Fact.SEALED, session_id, sealed)):
                return sealed

            def settles(seen: FactSeen) -> bool:
                event = seen.event
                if isinstance(event, SessionRejected):
                    return event.command_id == sent
                return shows(seen)

            event = await first_of(facts, settles, session_id, timeout_s)
        if isinstance(event, SessionRejected):
            raise refused(event)
        return event

    # --- inside ---------------------------------------------------------------------------------

    async def _send(self, command: Command, body: dict[str, Any]) -> str:
        """Publish a command and wait for JetStream's ack; gives the command's id."""
        check_session_id(str(body["session_id"]))
        data = msgspec.json.encode(body)
        limit = self._client.max_payload
        if len(data) > limit:
            raise RefusedError(
                field="$",
                expected=f"at most {limit} bytes",
                got=f"{len(data)} bytes",
                hint="this NATS server takes no larger message",
            )
        # The id makes a publish that is repeated after a lost answer one command.
        command_id = str(uuid.uuid4())
        try:
            await self._jetstream.publish(
                command.value,
                data,
                stream=COMMANDS_STREAM,
                headers={MESSAGE_ID: command_id} | self._authorization,
            )
        except (APIError, *UNANSWERED) as error:
            raise self._denials.explain() from error
        return command_id
