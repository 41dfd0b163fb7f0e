"""A plain connection for clients: fails fast at first, reconnects for ever afterwards."""

from __future__ import annotations

import asyncio
from typing import Any

import nats
import nats.errors
from nats.aio.client import Client

from recorder_worker.bus.broker import Login
from recorder_worker.core.errors import BusUnavailableError


async def connect_client(login: Login) -> Client:
    """Connect.

    Raises:
        BusUnavailableError: no server, or it refuses the login.
    """
    options: dict[str, Any] = {
        "name": login.name,
        "connect_timeout": max(1, int(login.connect_timeout_s)),
        "max_reconnect_attempts": -1,
    }
    if login.credentials:
        options["user_credentials"] = login.credentials
    elif login.token:
        options["token"] = login.token
    elif login.user:
        options |= {"user": login.user, "password": login.password}
    try:
        async with asyncio.timeout(login.connect_timeout_s):
            return await nats.connect(list(login.servers), error_cb=_fail_fast, **options)
    except (TimeoutError, nats.errors.NoServersError, OSError) as error:
        raise BusUnavailableError(
            f"no NATS server answers at {login.shown}; start a recorder "
            "(recorder run) or set nats.url (RECORDER_NATS__URL)"
        ) from error
    except nats.errors.Error as error:
        raise BusUnavailableError(
            f"NATS at {login.shown} refuses us: {error}; check the login"
        ) from error


async def _fail_fast(error: Exception) -> None:
    """End the first connection attempt when the server refuses the login."""
    if "authorization" in str(error).lower():
        raise error
