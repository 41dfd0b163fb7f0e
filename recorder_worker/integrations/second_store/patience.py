"""Waits for a second store that is away, full or refuses: for an hour, or for a month.

The message stays in our hand meanwhile, with its heartbeat, and is not given back: so the store is
asked by as many as there are workers, at the last wait of `storage.backoff_s`, and not once for
each message that waits. What waits is in the stream, and its bytes are on the disk here.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, TypeVar

import structlog

from recorder_worker.core.errors import SecondStoreError
from recorder_worker.ports import Clock, CopyMetrics

log = structlog.get_logger(__name__)

AGAIN_S = 600.0
"""The same trouble is logged again after this."""
SECOND_NS = 1_000_000_000

T = TypeVar("T")


class Troubles:
    """What is wrong with the second store now, and since when. On the event loop alone."""

    def __init__(self, clock: Clock, metrics: CopyMetrics) -> None:
        self._clock = clock
        self._metrics = metrics
        self._found: dict[str, str] = {}
        self._since_ns = 0
        self._said_ns: dict[str, int] = {}

    @property
    def text(self) -> str:
        """The newest trouble, with its age; empty where there is none."""
        if not self._found:
            return ""
        age_s = (self._clock.monotonic_ns() - self._since_ns) // SECOND_NS
        return f"{list(self._found.values())[-1]} (for {age_s} s; copies wait, and are not lost)"

    def failed(self, name: str, error: Exception) -> None:
        """Some work failed; `name` is what it was about."""
        text, now_ns = str(error), self._clock.monotonic_ns()
        if not self._found:
            self._since_ns = now_ns
            self._said_ns.clear()
        self._found.pop(name, None)
        self._found[name] = text
        self._metrics.second_store(ok=False)
        self._metrics.copy_failed()
        if now_ns - self._said_ns.get(text, -int(AGAIN_S * SECOND_NS)) >= AGAIN_S * SECOND_NS:
            self._said_ns[text] = now_ns
            log.warning("SecondStoreFailed", what=name, error=text)

    def worked(self, name: str) -> None:
        """Some work was done."""
        if self._found.pop(name, None) is not None and not self._found:
            log.info(
                "SecondStoreWorks",
                after_s=(self._clock.monotonic_ns() - self._since_ns) // SECOND_NS,
            )
        self._metrics.second_store(ok=not self._found)

    def given_up(self, name: str) -> None:
        """Some work is nobody's any more."""
        self._found.pop(name, None)
        self._metrics.second_store(ok=not self._found)


class Patience:
    """Does blocking work until the second store has let it, or this worker stops."""

    def __init__(self, troubles: Troubles, backoff_s: Sequence[float]) -> None:
        self.troubles = troubles
        self._backoff_s = backoff_s
        self._stopping = asyncio.Event()

    def stop(self) -> None:
        """Wait no more: what waits raises what it last met."""
        self._stopping.set()

    async def until_done(self, name: str, work: Callable[[], T]) -> T:
        """What the work gives.

        Raises:
            SecondStoreError: it failed, and this worker stops.
        """
        tries = 0
        while True:
            try:
                done = await self._unless_stopping(name, work)
            except SecondStoreError as error:
                self.troubles.failed(name, error)
                if self._stopping.is_set():
                    raise
            except BaseException:
                self.troubles.given_up(name)
                raise
            else:
                self.troubles.worked(name)
                return done
            wait_s = self._backoff_s[min(tries, len(self._backoff_s) - 1)]
            tries += 1
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), wait_s)

    async def _unless_stopping(self, name: str, work: Callable[[], T]) -> T:
        """A request that hangs holds up no stop: its thread is left behind."""
        working = asyncio.ensure_future(in_daemon(work))
        stopping = asyncio.ensure_future(self._stopping.wait())
        try:
            await asyncio.wait({working, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if not working.done():
                raise SecondStoreError(f"{name}: this worker stops; it is copied later")
            return working.result()
        finally:
            working.cancel()
            stopping.cancel()


async def in_daemon(work: Callable[[], T]) -> T:
    """Run blocking work in a thread that keeps no process alive.

    A request to a store that does not answer may take longer than a worker has for its end. What it
    leaves there is nothing under the name of a blob.
    """
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()

    def tell(setter: Callable[[Any], None], value: object) -> None:
        if not done.done():
            setter(value)

    def run() -> None:
        setter: Callable[[Any], None] = done.set_result
        value: object
        try:
            value = work()
        except BaseException as error:  # noqa: BLE001  (told to whoever waits)
            setter, value = done.set_exception, error
        with suppress(RuntimeError):  # the loop has ended, and nobody waits
            loop.call_soon_threadsafe(tell, setter, value)

    threading.Thread(target=run, name="copy", daemon=True).start()
    return await done
