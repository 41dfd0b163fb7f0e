"""Looks every few seconds at what no handler counts, for the gauges and for `/status`.

Beside the watch that readiness depends on, not in it: a server that answers one of these questions
late, or not at all, must not make readiness late.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import msgspec
import structlog

from recorder_worker.bus.background import Background
from recorder_worker.bus.bus import Backlog, Bus, StreamFill
from recorder_worker.bus.rights.stage_rights import WATCHED_STAGES, WATCHED_STREAMS
from recorder_worker.bus.sessions.roster import LogSeen, SessionSeen, SessionState
from recorder_worker.core.errors import BusUnavailableError, StoreError
from recorder_worker.core.keys import SEGMENTS, blob_key
from recorder_worker.core.pipeline import MERKLE
from recorder_worker.ports import BlobStore, Clock
from recorder_worker.service.observing.health import Health
from recorder_worker.service.observing.metrics import Metrics
from recorder_worker.service.settings.tree import Settings

log = structlog.get_logger(__name__)

SAMPLE_S = 5.0
FRESH_NS = 3_000_000_000
"""A page that is looked at shows nothing older than this, and asks no oftener."""
WATCHED_NS = 30_000_000_000
"""So long after somebody looked, sessions go on to be looked at closely."""
UNANSWERED_NS = 60_000_000_000
"""What got no answer is asked again after this."""
ANSWER_S = 3.0
"""How long the book of dead letters may take; it goes on from there at the next look."""
SPOOL_SEGMENTS_MAX = 20_000
"""No more are counted: so many are trouble enough, and the count must not be."""


class Sample(msgspec.Struct, frozen=True, kw_only=True):
    """What was found. `missing` says what the server did not answer; the rest may be older.

    `dead_letters` are those that nobody has dealt with, by stage; None where nobody here may look.
    """

    taken_ns: int = 0
    sessions: tuple[SessionSeen, ...] = ()
    log_head: LogSeen | None = None
    streams: dict[str, StreamFill] = {}
    backlogs: dict[str, Backlog] = {}
    spool_segments: int = 0
    spool_bytes: int = 0
    dead_letters: dict[str, int] | None = None
    missing: tuple[str, ...] = ()


class Sampler:
    """Takes samples; `always` also while nobody looks: for the process that sets these gauges."""

    def __init__(
        self,
        bus: Bus,
        store: BlobStore,
        clock: Clock,
        metrics: Metrics,
        health: Health,
        *,
        always: bool,
    ) -> None:
        self._bus = bus
        self._store = store
        self._clock = clock
        self._gauges = metrics.gauges
        self._health = health
        self._always = always
        self._wanted = asyncio.Event()
        self._taken = asyncio.Event()
        self._looked_ns = -WATCHED_NS
        self._not_before_ns: dict[str, int] = {}
        self._reconnects = 0
        self._background = Background(self._look_for_ever)
        self.sample = Sample()

    def start(self) -> None:
        """Begin to look."""
        self._background.start()

    async def stop(self) -> None:
        """Look no more."""
        await self._background.stop()

    async def fresh(self, wait_s: float) -> Sample:
        """A sample that is not old, else the last one if the server takes longer than `wait_s`."""
        now_ns = self._clock.monotonic_ns()
        unwatched = now_ns - self._looked_ns > WATCHED_NS
        self._looked_ns = now_ns
        if unwatched or self._clock.wall_ns() - self.sample.taken_ns > FRESH_NS:
            self._taken.clear()
            self._wanted.set()
            try:
                async with asyncio.timeout(wait_s):
                    await self._taken.wait()
            except TimeoutError:
                pass
        return self.sample

    async def _look_for_ever(self) -> None:
        while True:
            self._wanted.clear()
            try:
                if await self._look():
                    self._taken.set()
            except Exception as error:  # what is shown must not end for a defect
                log.warning("SampleFailed", error=repr(error), exc_info=error)
            if not self._background.running:
                return
            try:
                async with asyncio.timeout(SAMPLE_S):
                    await self._wanted.wait()
            except TimeoutError:
                pass

    async def _look(self) -> bool:
        """Everything once; whether it was closely. What gets no answer keeps its last value."""
        self._gauges.bus(connected=self._bus.connected, reconnects=self._bus.reconnects)
        if self._bus.reconnects != self._reconnects or not self._bus.connected:
            self._reconnects = self._bus.reconnects
            self._not_before_ns.clear()  # what the outage left unanswered
        closely = self._clock.monotonic_ns() - self._looked_ns < WATCHED_NS
        found = msgspec.structs.asdict(self.sample) | {"missing": ()}
        if not self._bus.connected:
            found["missing"] = ("NATS",)
        elif closely or self._always:
            await self._ask(found, "sessions", self._bus.roster.look(closely=closely))
            await self._ask(found, "log_head", self._bus.roster.log_head())
            for stream in WATCHED_STREAMS:
                await self._ask(found, stream, self._bus.fill(stream), into="streams")
            for stage in WATCHED_STAGES:
                await self._ask(found, stage, self._bus.backlog(stage), into="backlogs")
            if self._always:  # of the processes that settle them: no others may read them
                await self._ask(found, "dead_letters", self._dead_letters())
            await self._measure_spool(found)
        found["taken_ns"] = self._clock.wall_ns()
        self.sample = Sample(**found)
        self._tell()
        return closely

    async def _ask(
        self,
        found: dict[str, Any],
        what: str,
        question: Coroutine[Any, Any, Any],
        into: str | None = None,
    ) -> None:
        now_ns = self._clock.monotonic_ns()
        if now_ns < self._not_before_ns.get(what, now_ns):
            question.close()
            found["missing"] = (*found["missing"], what)
            return
        try:
            answer = await question
        except (TimeoutError, LookupError) as error:
            log.debug("SampleMissed", what=what, error=str(error))
            found["missing"] = (*found["missing"], what)
            # A login that may not ask this waits for seconds, and would do so each time.
            self._not_before_ns[what] = self._clock.monotonic_ns() + UNANSWERED_NS
            return
        if into is None:
            found[what] = answer
        else:
            found[into] = found[into] | {what: answer}

    async def _dead_letters(self) -> dict[str, int]:
        try:
            async with asyncio.timeout(ANSWER_S):
                return await self._bus.dead_letters.waiting()
        except BusUnavailableError as error:
            raise TimeoutError(str(error)) from error

    async def _measure_spool(self, found: dict[str, Any]) -> None:
        unsealed = [s for s in found["sessions"] if s.state is not SessionState.SEALED]
        try:
            measured = await asyncio.to_thread(
                spool_size, self._store, [seen.session_id for seen in unsealed]
            )
        except StoreError as error:
            log.debug("SampleMissed", what="spool", error=str(error))
            return
        found["spool_segments"], found["spool_bytes"] = measured

    def _tell(self) -> None:
        sample, now_ns = self.sample, self._clock.wall_ns()
        self._gauges.sessions(sample.sessions, now_ns)
        self._gauges.log_head(sample.log_head, now_ns)
        self._gauges.streams(sample.streams)
        for stage, backlog in sample.backlogs.items():
            self._gauges.backlog(stage, backlog, now_ns)
        self._gauges.spool(sample.spool_segments, sample.spool_bytes)
        if sample.dead_letters is not None:
            self._gauges.dead_letters(sample.dead_letters)
        self._gauges.checks(self._health.ready()[1])


def spool_size(store: BlobStore, session_ids: list[str]) -> tuple[int, int]:
    """How many segments of these sessions there are, and their bytes; blocking, and bounded."""
    count = size = 0
    for session_id in session_ids:
        for key in store.keys(blob_key(session_id, SEGMENTS)):
            if count >= SPOOL_SEGMENTS_MAX:
                return count, size
            count += 1
            size += store.size(key) or 0
    return count, size


def sampler_of(
    settings: Settings,
    bus: Bus,
    store: BlobStore,
    clock: Clock,
    metrics: Metrics,
    health: Health,
) -> Sampler:
    """The sampler of a process.

    Those that sign also look while nobody watches: it is their work whose age is measured, and more
    processes would find the same.
    """
    return Sampler(bus, store, clock, metrics, health, always=MERKLE.name in settings.stages)
