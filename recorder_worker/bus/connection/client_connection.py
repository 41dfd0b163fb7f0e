"""A plain connection for clients: fails fast at first, reconnects for ever afterwards."""

from __future__ import annotations

import asyncio
from typing import Any

import nats
import nats.errors
from nats.aio.client import Client

from recorder_worker.bus.connection.broker import (
    OUTSTANDING_PINGS,
    PING_INTERVAL_S,
    RECONNECT_WAIT_S,
    Login,
    is_denial,
    unreachable,
)
from recorder_worker.bus.connection.tls import tls_advice
from recorder_worker.core.errors import BusUnavailableError


class Denials:
    """What the server has refused this user since it connected; the newest is the likeliest cause.

    A refused publish has no answer: whoever waits for one gets a timeout, and the reason is here.
    """

    def __init__(self) -> None:
        self.newest = ""

    def explain(self) -> BusUnavailableError:
        """Why nothing answered: no right to ask, or nobody has made the recorder's streams here."""
        if self.newest:
            return BusUnavailableError(
                f"NATS refuses this user: {self.newest}; log in as one who may, with "
                "nats.api_prefix and nats.owner as in that user's file (of recorder nats-conf)"
            )
        return BusUnavailableError(
            "NATS answers, but the recorder's streams are not there or do not answer; "
            "start a worker: recorder run"
        )

    async def report(self, error: Exception) -> None:
        """For nats-py: ends the first attempt where no other could be better."""
        if is_denial(error):
            self.newest = str(error).removeprefix("nats: ")
        if tls_advice(error) or "authorization" in str(error).lower():
            raise error

    async def reconnected(self) -> None:
        """For nats-py: the connection was lost, and is back."""


async def connect_client(login: Login, denials: Denials, **more: Any) -> Client:  # noqa: ANN401  (nats-py's own options)
    """Connect, with more options of nats-py than are the same for all clients.

    Raises:
        SettingsError: a certificate cannot be read.
        BusUnavailableError: no server, or it refuses the login.
    """
    options: dict[str, Any] = {
        "name": login.name,
        "connect_timeout": max(1, int(login.connect_timeout_s)),
        "max_reconnect_attempts": -1,
        "reconnect_time_wait": RECONNECT_WAIT_S,
        # A server that stands still says nothing: only its silence tells.
        "ping_interval": PING_INTERVAL_S,
        "max_outstanding_pings": OUTSTANDING_PINGS,
        "reconnected_cb": denials.reconnected,
        **more,
    }
    if login.credentials:
        options["user_credentials"] = login.credentials
    elif login.token:
        options["token"] = login.token
    elif login.user:
        options |= {"user": login.user, "password": login.password}
    tls = login.tls.context()
    if tls is not None:
        options["tls"] = tls
    try:
        async with asyncio.timeout(login.connect_timeout_s):
            return await nats.connect(list(login.servers), error_cb=denials.report, **options)
    except (TimeoutError, OSError, nats.errors.Error) as error:
        raise unreachable(error, login) from error


async def reach_server(client: Client, timeout_s: float) -> None:
    """Wait until the server has handled all that was sent to it, subscriptions among it.

    `flush` of nats-py sends its PING ahead of what is pending. So the first one sees that sent, and
    the second is behind it.

    Raises:
        nats.errors.Error: the connection is closed, or no answer in time.
    """
    for _ in range(2):
        await client.flush(max(1, round(timeout_s)))
