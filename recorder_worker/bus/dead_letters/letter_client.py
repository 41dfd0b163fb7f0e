"""Dead letters for people: read from the stream, settled by the recorder's desk."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import msgspec
import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js.errors import APIError

from recorder_worker.bus.client import UNANSWERED
from recorder_worker.bus.connection.broker import Login
from recorder_worker.bus.connection.client_connection import Denials, connect_client
from recorder_worker.bus.dead_letters.book import DeadLetterBook
from recorder_worker.bus.rights.bearer import bearer_header
from recorder_worker.core.dead_letters import DeadLetter, LetterSeen
from recorder_worker.core.errors import BusUnavailableError, RefusedError
from recorder_worker.core.gateway_messages import (
    DropRequest,
    GatewayError,
    RetryRequest,
    SettledAnswer,
)
from recorder_worker.core.subjects import Endpoint

ANSWER_S = 30.0
API_TIMEOUT_S = 5.0
AWAY = 503

_SETTLED_ANSWER = msgspec.json.Decoder(SettledAnswer)
_GATEWAY_ERROR = msgspec.json.Decoder(GatewayError)


class DeadLetterClient:
    """Looks at dead letters over a connection, and has the desk settle them; see `connect`."""

    def __init__(self, client: Client, login: Login, denials: Denials, bearer: str) -> None:
        self._client = client
        self._denials = denials
        self._authorization = bearer_header(bearer)
        jetstream = client.jetstream(timeout=API_TIMEOUT_S, prefix=login.api_prefix)
        self._book = DeadLetterBook(lambda: jetstream)

    @classmethod
    @asynccontextmanager
    async def connect(cls, login: Login, *, bearer: str = "") -> AsyncIterator[DeadLetterClient]:
        """A connected client for the length of an `async with`.

        Raises:
            BusUnavailableError: no server, or it refuses the login.
            RefusedError: the token cannot be sent.
        """
        denials = Denials()
        client = await connect_client(login, denials)
        try:
            yield cls(client, login, denials, bearer)
        finally:
            await client.close()

    async def all(self) -> Sequence[LetterSeen]:
        """All letters, the oldest first. Raises BusUnavailableError."""
        try:
            return await self._book.all()
        except (BusUnavailableError, APIError, *UNANSWERED) as error:
            raise self._denials.explain() from error

    async def body(self, letter: DeadLetter) -> bytes:
        """The message as it came. Raises BlobMissingError, BusUnavailableError."""
        return await self._book.body(letter)

    async def retry(self, letter: str, *, by: str, why: str) -> SettledAnswer:
        """Have a letter tried again by its stage.

        Raises:
            RefusedError: it cannot help, or he who asks may not.
            BusUnavailableError: no worker answers.
        """
        return await self._ask(Endpoint.RETRY, RetryRequest(letter=letter, by=by, why=why))

    async def drop(self, letter: str, *, by: str, why: str) -> SettledAnswer:
        """Say that nothing more is done about a letter; as `retry`."""
        return await self._ask(Endpoint.DROP, DropRequest(letter=letter, by=by, why=why))

    async def _ask(self, endpoint: Endpoint, request: RetryRequest | DropRequest) -> SettledAnswer:
        try:
            answer = await self._client.request(
                endpoint.value,
                msgspec.json.encode(request),
                timeout=ANSWER_S,
                headers=self._authorization or None,
            )
        except (nats.errors.Error, OSError) as error:
            if self._denials.newest:
                raise self._denials.explain() from error
            raise BusUnavailableError(
                f"nobody answers {endpoint.value}: {error!r}; a worker that runs merkle settles "
                "dead letters: start one"
            ) from error
        return _read(answer)


def _read(answer: Msg) -> SettledAnswer:
    if "Nats-Service-Error-Code" not in (answer.headers or {}):
        return _SETTLED_ANSWER.decode(answer.data)
    error = _GATEWAY_ERROR.decode(answer.data)
    if error.code == AWAY:
        raise BusUnavailableError(f"expected {error.expected}, got {error.got}; {error.hint}")
    raise RefusedError(field=error.field, expected=error.expected, got=error.got, hint=error.hint)
