"""The composition root: settings become one running worker process."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import structlog

from recorder_worker import __version__
from recorder_worker.adapters.attempt_files import FOLDER as ATTEMPTS
from recorder_worker.adapters.attempt_files import AttemptFiles
from recorder_worker.adapters.directory_store import DirectoryStore, of_record
from recorder_worker.adapters.disk import Disk
from recorder_worker.adapters.nats_server.config import NatsServerOptions
from recorder_worker.adapters.nats_server.server import NatsServer
from recorder_worker.adapters.system_clock import SystemClock
from recorder_worker.bus.bus import Bus
from recorder_worker.core.pipeline import CAPTURE, MERKLE
from recorder_worker.integrations.storage import StorageReports
from recorder_worker.service import policies
from recorder_worker.service.audit_trail import NAME as AUDIT
from recorder_worker.service.authorisation import check_network
from recorder_worker.service.integrations import Integrations
from recorder_worker.service.observing.disk_watch import NAME as DISK
from recorder_worker.service.observing.disk_watch import DiskWatch
from recorder_worker.service.observing.health import Health, bus_check
from recorder_worker.service.observing.metrics import Metrics
from recorder_worker.service.observing.pressure import WRITES, PressureWatch, writes_check
from recorder_worker.service.observing.sampling import Sampler, sampler_of
from recorder_worker.service.observing.tracing import tracing_of
from recorder_worker.service.observing.watch import BacklogWatch
from recorder_worker.service.second_store import CHECK as SECOND_STORE
from recorder_worker.service.second_store import SecondStore
from recorder_worker.service.settings.loading import node_name
from recorder_worker.service.settings.tree import Settings
from recorder_worker.service.sidecar.server import About, Sidecar
from recorder_worker.service.sidecar.status import Status, status_of
from recorder_worker.service.stages import StageSet

log = structlog.get_logger(__name__)

STOP_S = 8.0
"""For the whole stop: containers are killed 10 s after their SIGTERM."""

STOP_SAYING_S = 0.5
"""For a word that nobody needs: with the server away it must not keep the leases waiting."""

STOP_ASKING_S = 2.5
"""A request for messages runs out in a second; one to a server that stands still does not."""

STOP_LEASES_S = 5.0
STOP_BUS_S = 6.5
"""Until when, of the above, leases and bus may take: what comes behind them needs time too."""


class Worker:
    """Some or all stages, their sidecar, and the embedded NATS server where none is set."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        node = node_name(settings)
        clock = SystemClock()
        self.metrics = Metrics(version=__version__, node=node)
        self.store = DirectoryStore(
            settings.data_path, floor_bytes=settings.disk.floor_bytes, below_floor=of_record
        )
        self._node = node
        self._clock = clock
        self._health = Health()
        self._second = self._second_store() if MERKLE.name in settings.stages else None
        self._stages = StageSet(
            settings,
            node=node,
            store=self.store,
            clock=clock,
            metrics=self.metrics,
            second=self._second.late if self._second is not None else None,
        )
        self._integrations = Integrations(
            settings,
            node=node,
            worker=self._stages.identity.worker,
            store=self.store,
            clock=clock,
            metrics=self.metrics,
            sessions=lambda: self.sessions,
        )
        self._disk = DiskWatch(
            Disk(settings.data_path, policies.OWN_FOLDERS),
            self._stages.governor.disk,
            clock,
            self.metrics,
            self._stages.look_again,
        )
        self._server: NatsServer | None = None
        self._bus: Bus | None = None
        self._watch: BacklogWatch | None = None
        self._pressure: PressureWatch | None = None
        self._sampler: Sampler | None = None
        self._tracing = tracing_of(settings, node, self.metrics)
        self.nats_urls: tuple[str, ...] = ()
        self.sidecar = Sidecar(
            settings.sidecar,
            about=About(version=__version__, node=node, stages=settings.stages),
            health=self._health,
            metrics=self.metrics,
            sessions_active=lambda: len(self.sessions),
            dead_letters_waiting=self._dead_letters_waiting,
            before_scrape=self._measure_store,
            status=self._status if settings.sidecar.status else None,
        )

    @property
    def sessions(self) -> tuple[str, ...]:
        """The sessions whose lease this worker holds."""
        capture = self._stages.capture
        return capture.active_sessions if capture else ()

    async def start(self) -> None:
        """Bring everything up; the sidecar first, which says what the rest waits for.

        Raises:
            SettingsError, BusUnavailableError, TopologyError, StoreError: it cannot run so.
        """
        await self.sidecar.start()
        self.nats_urls = await self._find_nats()
        await asyncio.to_thread(check_network, self._settings, self.nats_urls)
        shown = ",".join(url.rsplit("@", 1)[-1] for url in self.nats_urls)
        settings = policies.bus_settings(self._settings, self._node, self.nats_urls)
        book = AttemptFiles(self._settings.data_path / ATTEMPTS)
        await asyncio.to_thread(book.clear_old, self._settings.nats.max_age_s)
        bus = Bus(settings, self.metrics, self._tracing, book)
        watch = BacklogWatch(bus, self._health, self.metrics, self._clock)
        self._stages.register(bus, lambda stage: watch.add(stage).handled)
        if self._second is not None:
            self._second.register(bus, StorageReports(bus.log, self._clock, self._node))
            self._health.add(SECOND_STORE, self._second.check)
        self._health.add("bus", bus_check(lambda: bus.connected, shown))
        if self._stages.capture is not None:
            self._health.add(WRITES, writes_check(self._stages.writes))
            self._pressure = PressureWatch(
                bus, self.store, self._stages.governor, lambda: self.sessions
            )
        self._health.add(DISK, self._disk.check)
        await self._disk.start()
        self._bus, self._watch = bus, watch
        await bus.start()
        watch.start()
        if self._pressure is not None:
            self._pressure.start()
        self._sampler = sampler_of(
            self._settings, bus, self.store, self._clock, self.metrics, self._health
        )
        self._sampler.start()
        await self._integrations.start(bus)
        if self._second is not None:
            self._second.start()
        trail = self._stages.audit_trail
        if trail is not None:
            self._health.add(AUDIT, trail.check)
            trail.start()
        if self._stages.keeping is not None:
            self._stages.keeping.start(self._health, self.metrics.keeping)
        log.info(
            "WorkerStarted",
            node=self._node,
            stages=list(self._settings.stages),
            nats=shown,
            sidecar_port=self.sidecar.port,
            data_dir=str(self._settings.data_path),
        )

    async def until_lost(self) -> None:
        """Wait, once started, for what ends a worker by itself.

        Raises:
            BusUnavailableError: NATS ended the connection for good; a new start may be let in.
        """
        if self._bus is not None:
            await self._bus.until_lost()

    async def stop(self) -> None:
        """Give leases to other workers, let handlers end, take everything down.

        Whatever one part does, the next one is stopped too, and all within `STOP_S`.
        """
        begin_s = asyncio.get_running_loop().time()
        # First it is said that leases come back, for whoever has to make room for them elsewhere.
        await _until(begin_s + STOP_SAYING_S, self._integrations.draining(), "node reports")
        if self._stages.capture is not None and self._bus is not None:
            # Else a lease that goes back may come straight back, and waits here for its next turn.
            asking = self._bus.take_no_more(CAPTURE.name)
            await _until(begin_s + STOP_ASKING_S, asking, "requests for starts")
        if self._stages.capture is not None:
            # Leases go back before the connection does; one that hangs comes back by time.
            await _until(begin_s + STOP_LEASES_S, self._stages.capture.release_all(), "leases")
        for part, what in (
            (self._watch, "watch"),
            (self._pressure, "pressure"),
            (self._disk, "disk watch"),
            (self._sampler, "sampler"),
            (self._integrations, "gateway"),
            (self._stages.audit_trail, "audit trail"),
            (self._stages.keeping, "retention"),
            (self._second, "second store"),
            (self._bus, "bus"),
        ):
            if part is not None:
                await _until(begin_s + STOP_BUS_S, part.stop(), what)
        if self._server is not None:
            await _until(begin_s + STOP_S, self._server.stop(), "nats-server")
        await _until(begin_s + STOP_S, self._tracing.stop(), "tracing")
        await _until(begin_s + STOP_S, self.sidecar.stop(), "sidecar")

    def _second_store(self) -> SecondStore | None:
        if self._settings.storage.kind == "none":
            return None
        return SecondStore(
            self._settings.storage,
            local=self.store,
            login=lambda: policies.login(self._settings, self.nats_urls, f"recorder {self._node}"),
            clock=self._clock,
            metrics=self.metrics,
            node=self._node,
            statements=lambda: self._stages.statements,
            anchors=self._settings.anchors,
        )

    async def _find_nats(self) -> tuple[str, ...]:
        """The servers of the settings; else, for all stages together, the embedded one."""
        settings = self._settings
        if not settings.embedded_nats:
            return tuple(url.strip() for url in settings.nats.url.split(",") if url.strip())
        if not policies.runs_all_stages(settings):
            url = f"nats://127.0.0.1:{settings.nats.port}"
            log.info("LocalNatsAssumed", url=url, why="nats.url is empty, some stages only")
            return (url,)
        self._server = NatsServer(
            NatsServerOptions(
                folder=settings.data_path / "nats",
                port=settings.nats.port,
                max_payload_bytes=settings.nats.max_payload_bytes,
                memory_bytes=settings.nats.memory_bytes,
                user=settings.nats.user,
                password=settings.nats.password,
                token=settings.nats.token,
            )
        )
        await self._server.start()
        return (self._server.url,)

    async def _measure_store(self) -> None:
        self.metrics.store_free(await asyncio.to_thread(self.store.free_bytes))
        capacity = self._settings.capture.capacity if self._stages.capture else 0
        floor_bytes = self._settings.disk.floor_bytes
        self.metrics.gauges.machine(self._clock.state(), floor_bytes, capacity)

    def _dead_letters_waiting(self) -> int | None:
        found = self._sampler.sample.dead_letters if self._sampler is not None else None
        return None if found is None else sum(found.values())

    async def _status(self) -> Status:
        return await status_of(
            about=self.sidecar.about,
            health=self._health,
            metrics=self.metrics,
            store=self.store,
            clock=self._clock,
            floor_bytes=self._settings.disk.floor_bytes,
            leases=self.sessions,
            watch=self._watch,
            sampler=self._sampler,
        )


async def _until(end_s: float, ending: Coroutine[Any, Any, None], what: str) -> None:
    """Wait for an orderly end, but not for ever: a server that is gone answers nothing.

    In a task of its own: what nats-py waits for may swallow a cancellation, and would keep us.
    """
    task = asyncio.create_task(ending)
    # However late it is, every part gets a moment: most have nothing to wait for.
    left_s = max(0.2, end_s - asyncio.get_running_loop().time())
    done, _ = await asyncio.wait({task}, timeout=left_s)
    if not done:
        task.cancel()
        log.warning("StopAbandoned", what=what, error=f"not at its end after {left_s:.1f} s")
    elif not task.cancelled() and (error := task.exception()) is not None:
        log.warning("StopAbandoned", what=what, error=repr(error))
