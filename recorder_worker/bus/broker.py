"""FastStream's broker with what a recorder needs of a connection: it never gives up, and says so.

Two faults of the libraries are mended here and nowhere else (docs/bus.md says how they show):
an `-ERR` during a *re*connect must not kill the reconnect task, and `fetch` of nats-py may raise
a bare `asyncio.TimeoutError` that FastStream's pull loop does not expect.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import faststream.nats.subscriber.usecases.stream_pull_subscriber as pull_subscriber
import msgspec
import structlog
from fast_depends.msgspec import MsgSpecSerializer
from faststream.nats import NatsBroker, NatsCredentials, NatsToken, NatsUserPassword
from nats.errors import Error as NatsError
from nats.errors import NoServersError
from nats.js import JetStreamContext

from recorder_worker.core.errors import BusUnavailableError

if TYPE_CHECKING:
    from faststream.security import BaseSecurity
    from nats.aio.client import Client

log = structlog.get_logger(__name__)

RECONNECT_WAIT_S = 0.2
PING_INTERVAL_S = 2
OUTSTANDING_PINGS = 2
"""A frozen server is noticed after interval times pings, plus one interval."""

setattr(pull_subscriber, "TimeoutError", asyncio.TimeoutError)  # noqa: B010  (as above)


class Login(msgspec.Struct, frozen=True, kw_only=True):
    """Where NATS is and who we are there."""

    servers: tuple[str, ...]
    user: str = ""
    password: str = ""
    token: str = ""
    credentials: str = ""
    connect_timeout_s: float = 5.0
    name: str = "recorder"

    def __repr__(self) -> str:
        return f"Login(servers={self.shown!r}, user={self.user!r})"

    @property
    def shown(self) -> str:
        """The servers without what a URL may carry of a login: for messages and logs."""
        return ", ".join(_without_login(server) for server in self.servers)

    def security(self) -> BaseSecurity | None:
        """FastStream's form of the login; never in the URL, which a cluster does not pass on."""
        if self.credentials:
            return NatsCredentials.from_file(self.credentials)
        if self.token:
            return NatsToken(self.token)
        if self.user:
            return NatsUserPassword(self.user, self.password)
        return None


def _without_login(url: str) -> str:
    scheme, sign, rest = url.rpartition("://")
    return f"{scheme}{sign}{rest.rpartition('@')[2]}"


class RecorderBroker(NatsBroker):
    """A broker that fails fast on its first connection and never afterwards."""

    def _log_connection_broken(self, error_cb: Any = None) -> Any:  # noqa: ANN401  (FastStream's own type is private)
        inner = super()._log_connection_broken(error_cb)

        async def report(error: Exception) -> None:
            try:
                await inner(error)
            except Exception:
                if not self.config.connection_state:
                    raise
                log.warning("BusLoginRefused", error=str(error))

        return report

    @property
    def client(self) -> Client:
        """The connection itself, for what FastStream does not cover."""
        client: Client = self.config.connection_state.connection
        return client

    @property
    def jetstream(self) -> JetStreamContext:
        """JetStream on this connection."""
        context: JetStreamContext = self.config.connection_state.stream
        return context


def make_broker(login: Login, middlewares: Sequence[Any] = ()) -> RecorderBroker:
    """A broker that is not connected yet."""
    return RecorderBroker(
        list(login.servers),
        security=login.security(),
        name=login.name,
        connect_timeout=max(1, int(login.connect_timeout_s)),
        max_reconnect_attempts=-1,
        reconnect_time_wait=RECONNECT_WAIT_S,  # type: ignore[arg-type] # nats-py takes a float
        ping_interval=PING_INTERVAL_S,
        max_outstanding_pings=OUTSTANDING_PINGS,
        apply_types=False,
        serializer=MsgSpecSerializer(),
        middlewares=middlewares,
        logger=None,
    )


async def connect(broker: RecorderBroker, login: Login) -> None:
    """Make the first connection.

    Raises:
        BusUnavailableError: nobody answers, or the server refuses the login.
    """
    try:
        async with asyncio.timeout(login.connect_timeout_s):
            await broker.connect()
    except (TimeoutError, NoServersError, OSError) as error:
        raise BusUnavailableError(
            f"no NATS server answers at {login.shown}; start one, or set nats.url "
            "(RECORDER_NATS__URL)"
        ) from error
    except NatsError as error:
        raise BusUnavailableError(
            f"NATS at {login.shown} refuses us: {error}; check nats.user, "
            "nats.password, nats.token or nats.credentials"
        ) from error
