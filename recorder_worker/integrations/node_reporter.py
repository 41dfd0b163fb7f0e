"""Tells the node manager that this worker is there, every few seconds how it is, and that it goes.

Nothing waits for it: what cannot be told is logged and told anew with the next heartbeat. A worker
that nobody manages costs a kilobyte every few seconds.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import structlog

from recorder_worker.bus.background import Background
from recorder_worker.core.events import (
    NodeDraining,
    NodeFact,
    NodeHeartbeat,
    NodeLoad,
    NodeRegistered,
)
from recorder_worker.core.ids import event_key
from recorder_worker.core.subjects import Fact
from recorder_worker.ports import Clock, EventLog

log = structlog.get_logger(__name__)


class NodeAbout(msgspec.Struct, frozen=True, kw_only=True):
    """What does not change while the worker runs; as in `NodeFact`."""

    worker: str
    node: str
    stages: tuple[str, ...]
    software: str
    capacity: int
    heartbeat_s: float


class Throughput(msgspec.Struct, frozen=True, kw_only=True):
    """Counts since the worker started."""

    frames: int = 0
    raw_bytes: int = 0
    stored_bytes: int = 0
    messages: int = 0


class NodeReporter:
    """`start` registers and begins to beat; `draining` is the last word.

    Args:
        sessions: those whose leases the worker holds now.
        load: measures; it may block for a moment.
        throughput: counts since the start.
    """

    def __init__(
        self,
        events: EventLog,
        clock: Clock,
        about: NodeAbout,
        *,
        sessions: Callable[[], tuple[str, ...]],
        load: Callable[[], NodeLoad],
        throughput: Callable[[], Throughput],
    ) -> None:
        self._events = events
        self._clock = clock
        self._about = about
        self._sessions = sessions
        self._load = load
        self._throughput = throughput
        self._beat = 0
        self._before = (clock.monotonic_ns(), throughput())
        self._background = Background(self._beat_for_ever)

    def start(self) -> None:
        """Begin to tell."""
        self._background.start()

    async def draining(self) -> None:
        """Beat no more, and say that this worker gives its sessions back. Never raises."""
        await self.stop()
        await self._try(self._drain)

    async def stop(self) -> None:
        """Beat no more."""
        await self._background.stop()

    async def _beat_for_ever(self) -> None:
        await self._try(self._register)
        # nats-py may swallow a cancellation that comes together with an answer: so it is asked.
        while self._background.running:
            await asyncio.sleep(self._about.heartbeat_s)
            await self._try(self._tell_beat)

    async def _try(self, tell: Callable[[], Awaitable[None]]) -> None:
        try:
            await tell()
        except Exception as error:  # noqa: BLE001  (whatever it was, the next heartbeat is due)
            log.warning("NodeFactNotTold", error=repr(error), worker=self._about.worker)

    async def _register(self) -> None:
        load = await asyncio.to_thread(self._load)
        await self._tell(Fact.NODE_REGISTERED, NodeRegistered(**self._common(), load=load))

    async def _tell_beat(self) -> None:
        load = await asyncio.to_thread(self._load)
        now_ns, counts = self._clock.monotonic_ns(), self._throughput()
        then_ns, before = self._before
        self._beat += 1
        beat = NodeHeartbeat(
            **self._common(),
            beat=self._beat,
            load=load,
            since_s=(now_ns - then_ns) / 1e9,
            frames=counts.frames - before.frames,
            raw_bytes=counts.raw_bytes - before.raw_bytes,
            stored_bytes=counts.stored_bytes - before.stored_bytes,
            messages=counts.messages - before.messages,
        )
        await self._tell(Fact.NODE_HEARTBEAT, beat, self._beat)
        # Only what was told is over: what was counted meanwhile goes into the next one.
        self._before = (now_ns, counts)

    async def _drain(self) -> None:
        await self._tell(Fact.NODE_DRAINING, NodeDraining(**self._common()))

    async def _tell(self, fact: Fact, event: NodeFact, *number: int) -> None:
        key = event_key(fact.value, self._about.worker, *number)
        await self._events.emit(fact, self._about.worker, event, key=key)

    def _common(self) -> dict[str, Any]:
        return {
            **msgspec.structs.asdict(self._about),
            "sessions": self._sessions(),
            "wall_ns": self._clock.wall_ns(),
        }
