"""An event loop in a thread of its own, with a connection of its own, for callers that block.

Of its own, because megabytes are on their way here: they must hold up neither the leases nor the
facts of the worker. Nothing is connected before the first call, so that a server that is away stops
no start.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import TimeoutError as FutureTimeoutError
from contextlib import suppress
from typing import Any, Final, TypeVar

import msgspec
import nats.errors
from nats.aio.client import Client
from nats.js import JetStreamContext
from nats.js.errors import APIError, NotFoundError

from recorder_worker.bus.connection.broker import Login
from recorder_worker.bus.connection.client_connection import Denials, connect_client
from recorder_worker.bus.event_log import STREAM_FULL, TRANSIENT
from recorder_worker.core.errors import BusUnavailableError, StoreError, StoreFullError

CALL_S: Final = 30.0
"""For one call: a round trip, or some pieces of an object."""
PING_INTERVAL_S: Final = 2
OUTSTANDING_PINGS: Final = 2

T = TypeVar("T")


class ObjectThread:
    """Runs coroutines on its loop; thread-safe. The thread ends with its process, or by `close`."""

    def __init__(self, login: Login) -> None:
        self._login = msgspec.structs.replace(login, name=f"{login.name} objects")
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._client: Client | None = None
        self._denials = Denials()
        self._connecting = asyncio.Lock()

    @property
    def shown(self) -> str:
        """Where the server is, without a login."""
        return self._login.shown

    def call(self, work: Callable[[JetStreamContext], Coroutine[Any, Any, T]], doing: str) -> T:
        """Run one coroutine with JetStream, and wait for what it gives.

        Raises:
            StoreError: NATS is away, refuses, or has no such bucket.
        """
        running = asyncio.run_coroutine_threadsafe(self._run(work), self._started())
        try:
            return running.result(CALL_S)
        except (FutureTimeoutError, BusUnavailableError, nats.errors.Error, OSError) as error:
            running.cancel()
            raise self._fault(error, doing) from error

    def close(self) -> None:
        """Close the connection, and end the thread."""
        with self._lock:
            loop, self._loop = self._loop, None
        if loop is not None:
            ending = asyncio.run_coroutine_threadsafe(self._end(), loop)
            with suppress(FutureTimeoutError, nats.errors.Error, OSError):
                ending.result(2.0)
            loop.call_soon_threadsafe(loop.stop)

    def _started(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                threading.Thread(target=self._loop.run_forever, name="objects", daemon=True).start()
            return self._loop

    async def _run(self, work: Callable[[JetStreamContext], Coroutine[Any, Any, T]]) -> T:
        self._denials.newest = ""
        async with self._connecting:  # two calls at once: one connection is enough
            if self._client is None:
                self._client = await connect_client(
                    self._login,
                    self._denials,
                    ping_interval=PING_INTERVAL_S,
                    max_outstanding_pings=OUTSTANDING_PINGS,
                )
        return await work(self._client.jetstream(prefix=self._login.api_prefix))

    async def _end(self) -> None:
        if self._client is not None:
            await self._client.close()

    def _fault(self, error: BaseException, doing: str) -> StoreError:
        where = f"NATS at {self.shown}"
        if isinstance(error, APIError) and error.err_code == STREAM_FULL:
            return StoreFullError(
                f"cannot {doing}: the bucket is full; raise storage.nats_max_bytes, and restart"
            )
        if isinstance(error, NotFoundError):
            return StoreError(
                f"cannot {doing}: {where} has no such bucket; start a worker, or run "
                "`recorder streams apply` as the user deploy"
            )
        if self._denials.newest:
            return StoreError(f"cannot {doing}: {where} refuses this user: {self._denials.newest}")
        if isinstance(error, (*TRANSIENT, FutureTimeoutError)):
            return StoreError(
                f"cannot {doing}: no answer of {where} ({type(error).__name__}); is it running, "
                "and is the bucket of storage.bucket there?"
            )
        return StoreError(f"cannot {doing}: {error or type(error).__name__}")
