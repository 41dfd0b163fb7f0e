"""Answers requests as a NATS service ("micro"): discovery over `$SRV`, a queue group, error codes.

Every replica answers under the same name; NATS gives each request to one of them. A request is
handled by itself: what one raises is its answer, and touches nothing else.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Any

import msgspec
import nats.errors
import structlog
from nats import micro
from nats.aio.client import Client
from nats.micro.request import Request
from nats.micro.service import Service

from recorder_worker.core.errors import (
    BlobMissingError,
    PermanentError,
    RecorderError,
    Refusal,
    RefusedError,
    RequestRefusedError,
    TransientError,
)
from recorder_worker.core.gateway_messages import GatewayError

log = structlog.get_logger(__name__)


class Served(msgspec.Struct, frozen=True, kw_only=True):
    """An endpoint: its name and subject, the type of its request, and what answers it in bytes."""

    name: str
    subject: str
    request: Any
    answer: Callable[[Any, Mapping[str, str]], Awaitable[bytes]]
    metadata: dict[str, str] = msgspec.field(default_factory=dict)


class MicroService:
    """A named service with endpoints; `start` announces it, `stop` takes it back."""

    def __init__(
        self, name: str, version: str, description: str, endpoints: tuple[Served, ...]
    ) -> None:
        self._name = name
        self._version = version
        self._description = description
        self._endpoints = endpoints
        self._service: Service | None = None

    async def start(self, client: Client) -> None:
        """Answer on a connection; across reconnects by itself."""
        self._service = await micro.add_service(
            client, name=self._name, version=self._version, description=self._description
        )
        for endpoint in self._endpoints:
            await self._service.add_endpoint(
                name=endpoint.name,
                subject=endpoint.subject,
                handler=self._handler(endpoint, client),
                metadata=endpoint.metadata,
            )

    async def stop(self) -> None:
        """Take no more requests."""
        service, self._service = self._service, None
        if service is not None:
            with suppress(nats.errors.Error, OSError):
                await service.stop()

    def _handler(self, endpoint: Served, client: Client) -> Callable[[Request], Awaitable[None]]:
        decoder = msgspec.json.Decoder(endpoint.request)

        async def handle(request: Request) -> None:
            try:
                asked = _decoded(decoder, request.data)
                data = await endpoint.answer(asked, request.headers or {})
                _check_size(len(data), client.max_payload)
            except Exception as error:  # noqa: BLE001  (whatever it is, the client gets an answer)
                await _respond_error(endpoint, request, error)
                return
            if request._msg.reply:  # noqa: SLF001  (a publish by mistake: nobody waits for an answer)
                await request.respond(data)

        return handle


def _decoded(decoder: msgspec.json.Decoder[Any], data: bytes) -> Any:  # noqa: ANN401  (the endpoint's)
    try:
        return decoder.decode(data or b"{}")
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise RequestRefusedError(
            400,
            field="$",
            expected="JSON of the endpoint's request, see schemas/ or docs/integrations.md",
            got=str(error)[:500],
            hint="correct the request; an empty message is an empty request",
        ) from error


def _check_size(size: int, limit: int) -> None:
    if size > limit:
        raise RequestRefusedError(
            413,
            field="$",
            expected=f"an answer of at most {limit} bytes, the largest message of this NATS server",
            got=f"one of {size} bytes",
            hint="ask for less; `recorder proof` makes a proof of any size from the folder",
        )


async def _respond_error(endpoint: Served, request: Request, error: Exception) -> None:
    """Say what is wrong: the code and a sentence as headers, the parts of it as the body."""
    body = error_of(error)
    if body.code == 500:
        log.error("RequestFailed", endpoint=endpoint.name, error=repr(error), exc_info=error)
    else:
        log.info("RequestRefused", endpoint=endpoint.name, code=body.code, error=str(error))
    # A header is one line.
    text = " ".join(f"{body.field}: expected {body.expected}, got {body.got}".split())[:400]
    if request._msg.reply:  # noqa: SLF001  (as above)
        await request.respond_error(str(body.code), text, data=msgspec.json.encode(body))


def error_of(error: Exception) -> GatewayError:
    """What a client is told of an error."""
    if isinstance(error, RefusedError):
        code = error.code if isinstance(error, RequestRefusedError) else 403
        return _body(code, error.refusal)
    if isinstance(error, TransientError | TimeoutError):
        # Not in its own words: whoever asks may be nobody, and they name files and servers.
        return _told(503, "the store and the bus to answer", "no answer", "ask again later")
    if isinstance(error, BlobMissingError):
        return _told(404, "what was asked for to be in the store", str(error), "see `list`")
    if isinstance(error, RecorderError | PermanentError):
        return _told(
            409, "a recording that is whole", str(error), "run recorder verify on its folder"
        )
    return _told(500, "an answer", type(error).__name__, "see the log of the worker")


def _body(code: int, refusal: Refusal) -> GatewayError:
    return msgspec.convert({"code": code, **msgspec.structs.asdict(refusal)}, GatewayError)


def _told(code: int, expected: str, got: str, hint: str) -> GatewayError:
    return _body(code, Refusal(field="$", expected=expected, got=got[:500], hint=hint))
