"""FastStream's broker with what a recorder needs of a connection: it never gives up, and says so.

An `-ERR` during a *re*connect must not kill the reconnect task, which is seen to here; what is
mended inside the libraries stands in `mended.py`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any

import msgspec
import structlog
from fast_depends.msgspec import MsgSpecSerializer
from faststream.nats import NatsBroker, NatsCredentials, NatsToken, NatsUserPassword
from faststream.nats.security import NatsSecurity
from nats.errors import Error as NatsError
from nats.errors import NoServersError

from recorder_worker.bus.connection.mended import mend_libraries
from recorder_worker.bus.connection.tls import TlsFiles, tls_advice
from recorder_worker.core.errors import BusUnavailableError

if TYPE_CHECKING:
    from faststream.security import BaseSecurity
    from nats.aio.client import Client
    from nats.js import JetStreamContext

log = structlog.get_logger(__name__)

RECONNECT_WAIT_S = 0.2
PING_INTERVAL_S = 2
OUTSTANDING_PINGS = 2
"""A frozen server is noticed after interval times pings, plus one interval."""
REFUSAL_EVERY_S = 10.0

mend_libraries()

Callback = Callable[[], Awaitable[None]]


class ConnectionCallbacks(msgspec.Struct, frozen=True, kw_only=True):
    """Called when the connection is lost, when it is back, and when nats-py gave it up for good."""

    disconnected_cb: Callback
    reconnected_cb: Callback
    closed_cb: Callback


class Login(msgspec.Struct, frozen=True, kw_only=True):
    """Where NATS is and who we are there."""

    servers: tuple[str, ...]
    user: str = ""
    password: str = ""
    token: str = ""
    credentials: str = ""
    tls: TlsFiles = TlsFiles()
    api_prefix: str = "$JS.API"
    owner: str = ""
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
        tls = self.tls.context()
        if self.credentials:
            return NatsCredentials.from_file(self.credentials, ssl_context=tls)
        if self.token:
            return NatsToken(self.token, ssl_context=tls)
        if self.user:
            return NatsUserPassword(self.user, self.password, ssl_context=tls)
        return NatsSecurity(ssl_context=tls) if tls else None


def _without_login(url: str) -> str:
    scheme, sign, rest = url.rpartition("://")
    return f"{scheme}{sign}{rest.rpartition('@')[2]}"


class RecorderBroker(NatsBroker):
    """A broker that fails fast on its first connection and never afterwards."""

    _refusal_due_s = 0.0

    def _log_connection_broken(self, error_cb: Any = None) -> Any:  # noqa: ANN401  (FastStream's own type is private)
        inner = super()._log_connection_broken(error_cb)

        async def report(error: Exception) -> None:
            self._say(error)
            try:
                await inner(error)
            except Exception:
                if not self.config.connection_state:
                    raise
                self._say_refused(error)

        return report

    def _say_refused(self, error: Exception) -> None:
        """Not at each of the attempts, of which there are several in a second."""
        now_s = asyncio.get_running_loop().time()
        if now_s >= self._refusal_due_s:
            self._refusal_due_s = now_s + REFUSAL_EVERY_S
            log.warning("BusLoginRefused", error=str(error))

    def _say(self, error: Exception) -> None:
        """Fail fast where TLS fails at first; later say what nobody else would."""
        if not self.config.connection_state:
            if tls_advice(error):
                raise error
        elif is_denial(error):
            # Whoever published waits for an answer that never comes; this is the reason.
            log.error("BusPermissionDenied", error=str(error))
        elif tls_advice(error):
            log.warning("BusTlsFailed", error=str(error), advice=tls_advice(error))

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


def make_broker(
    login: Login,
    middlewares: Sequence[Any] = (),
    callbacks: ConnectionCallbacks | None = None,
) -> RecorderBroker:
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
        js_options={"prefix": login.api_prefix},
        apply_types=False,
        serializer=MsgSpecSerializer(),
        middlewares=middlewares,
        logger=None,
        **(msgspec.structs.asdict(callbacks) if callbacks else {}),
    )


async def connect(broker: RecorderBroker, login: Login) -> None:
    """Make the first connection.

    Raises:
        BusUnavailableError: nobody answers, or the server refuses the login.
    """
    try:
        async with asyncio.timeout(login.connect_timeout_s):
            await broker.connect()
    except (TimeoutError, OSError, NatsError) as error:
        raise unreachable(error, login) from error


def is_denial(error: Exception) -> bool:
    """Whether the server says that this user may not publish or subscribe there."""
    return isinstance(error, NatsError) and "permissions violation" in str(error).lower()


def unreachable(error: Exception, login: Login) -> BusUnavailableError:
    """Why there is no connection, and what to do."""
    advice = tls_advice(error)
    if advice:
        return BusUnavailableError(f"NATS at {login.shown} is not to be trusted: {advice}")
    if isinstance(error, NatsError) and not isinstance(error, NoServersError):
        return BusUnavailableError(
            f"NATS at {login.shown} refuses us: {error}; check nats.user, "
            "nats.password, nats.token or nats.credentials"
        )
    return BusUnavailableError(
        f"no NATS server answers at {login.shown}; start one (recorder run brings one along), or "
        "set nats.url (RECORDER_NATS__URL)"
    )
