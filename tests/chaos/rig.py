"""What a chaos run consists of: one nats-server or three, proxies, workers of every stage."""

from __future__ import annotations

import asyncio
import signal
import sys
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Self

import nats
import nats.errors
from chaos.actors import Actor, ChaosWorker, environment
from chaos.proxy import Proxy
from chaos.wall_clock import WallClock, clock_library
from nats.aio.client import Client
from nats.js.errors import APIError, Error
from ports import free_port

from recorder_worker.adapters.nats_server.binary import find_program
from recorder_worker.bus.streams.topology import SESSIONS_STREAM

ROOT = Path(__file__).parents[2]
DEADLINE_S = 90.0
LEASE_S = 2.0
SEGMENT_S = 0.5
STAGES = ("capture", "chunk", "compress", "merkle")


class Rig:
    """Servers and workers over one data directory; `async with` starts and ends them.

    Args:
        folder: where everything is: data, configuration, logs.
        servers: one, or three that are a cluster.
        together: stages behind capture share a process, of which there are two as well.
    """

    def __init__(self, folder: Path, *, servers: int = 1, together: bool = False) -> None:
        self.folder = folder
        self.data = folder / "data"
        self.logs = folder / "logs"
        self.servers: dict[str, Actor] = {}
        self.workers: dict[str, ChaosWorker] = {}
        self.urls: tuple[str, ...] = ()
        self._count = servers
        roles = (("capture",), STAGES[1:]) if together else tuple((stage,) for stage in STAGES)
        self._roles = {f"{'+'.join(role)}-{n}": role for role in roles for n in (1, 2)}
        self._stack = AsyncExitStack()
        self.bus: Client
        self.has_clocks = False

    @property
    def worker_names(self) -> tuple[str, ...]:
        return tuple(self._roles)

    @property
    def server_names(self) -> tuple[str, ...]:
        return tuple(f"nats-{n}" for n in range(1, self._count + 1))

    async def __aenter__(self) -> Self:
        self.logs.mkdir(parents=True)
        self._stack.push_async_callback(self._end_all)
        try:
            ports = [free_port() for _ in self.server_names]
            self.urls = tuple(f"nats://127.0.0.1:{port}" for port in ports)
            self._start_servers(ports)
            await self._connect()
            await self._start_workers(ports)
            # All of them: what is done to a worker that is only just starting is another test.
            await self._until_started()
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    # --- servers --------------------------------------------------------------------------------

    def _start_servers(self, ports: list[int]) -> None:
        routes = [free_port() for _ in ports]
        name = "nats-cluster.conf" if self._count > 1 else "nats-server.conf"
        if self._count > 1:
            text = (ROOT / "config" / name).read_text(encoding="utf-8")
            # Else clients would be told of the servers themselves, and go round the proxies.
            assert "cluster {\n" in text
            text = text.replace("cluster {\n", "cluster {\n  no_advertise: true\n")
        else:
            text = (
                "listen: $NATS_LISTEN\njetstream { store_dir: $NATS_STORE, max_file_store: 4TB, "
                "sync_interval: always }\n"
            )
        for server, port, route in zip(self.server_names, ports, routes, strict=True):
            conf = self.folder / f"{server}.conf"
            conf.write_text(text, encoding="utf-8")
            variables = {
                "NATS_LISTEN": f'"127.0.0.1:{port}"',
                "NATS_STORE": f'"{self.folder / "store" / server}"',
                "NATS_NAME": server,
                "NATS_ROUTE_LISTEN": f'"127.0.0.1:{route}"',
                "NATS_ROUTES": f"[{', '.join(f'nats://127.0.0.1:{other}' for other in routes)}]",
            }
            self.servers[server] = Actor(
                server,
                [str(find_program()), "-c", str(conf)],
                environment(**variables),
                self.folder,
                self.logs / f"{server}.log",
            )
            self.servers[server].start()

    async def _connect(self) -> None:
        """A connection of our own, past the proxies, once JetStream has a leader."""
        async with asyncio.timeout(DEADLINE_S):
            while True:
                try:
                    self.bus = await nats.connect(
                        list(self.urls),
                        connect_timeout=2,
                        max_reconnect_attempts=-1,
                        reconnect_time_wait=0.2,
                        ping_interval=2,
                        error_cb=_quiet,
                    )
                    break
                except (nats.errors.Error, OSError):
                    await asyncio.sleep(0.1)
            self._stack.push_async_callback(self.bus.close)
            while True:
                try:
                    await self.bus.jetstream(timeout=1).account_info()
                except (APIError, Error, nats.errors.Error):
                    await asyncio.sleep(0.1)
                else:
                    return

    async def leader(self) -> str:
        """The server that leads the stream of facts; the only one where there is one."""
        if self._count == 1:
            return self.server_names[0]
        async with asyncio.timeout(DEADLINE_S):
            while True:
                try:
                    info = await self.bus.jetstream(timeout=1).stream_info(SESSIONS_STREAM)
                except (APIError, Error, nats.errors.Error):
                    await asyncio.sleep(0.1)
                    continue
                if info.cluster is not None and info.cluster.leader:
                    return info.cluster.leader
                await asyncio.sleep(0.1)

    # --- workers --------------------------------------------------------------------------------

    async def _start_workers(self, ports: list[int]) -> None:
        library = clock_library(self.folder)
        self.has_clocks = library is not None
        for name, stages in self._roles.items():
            proxies = [await self._stack.enter_async_context(Proxy(port)) for port in ports]
            clock = WallClock(library, self.folder / f"{name}.clock") if library else None
            self.workers[name] = ChaosWorker(
                name,
                [str(Path(sys.executable).with_name("recorder")), "run", *stages],
                environment(**self.settings(proxies)),
                self.folder,
                self.logs / f"{name}.log",
                stages=stages,
                proxies=proxies,
                clock=clock,
            )
            self.workers[name].start()

    def settings(self, proxies: list[Proxy]) -> dict[str, str]:
        """Small steps and a short lease, so that much happens in a minute."""
        return {
            "RECORDER_NATS__URL": ",".join(f"nats://127.0.0.1:{proxy.port}" for proxy in proxies),
            "RECORDER_NATS__REPLICAS": str(self._count),
            # The server keeps room for every stream.
            "RECORDER_NATS__MAX_BYTES": "1000000000",
            "RECORDER_DATA_DIR": str(self.data),
            "RECORDER_LOG__FORMAT": "json",
            "RECORDER_SIDECAR__PORT": "-1",
            "RECORDER_DISK__FLOOR_BYTES": "0",
            "RECORDER_CAPTURE__CAPACITY": "16",
            "RECORDER_CAPTURE__LEASE_S": str(LEASE_S),
            "RECORDER_CAPTURE__SEGMENT_S": str(SEGMENT_S),
            "RECORDER_CAPTURE__RETRY_S": "10",
            "RECORDER_CAPTURE__CHECKPOINT_S": "2",
            "RECORDER_CHUNK__DURATION_S": "1",
            "RECORDER_CHUNK__ACK_WAIT_S": str(LEASE_S),
            "RECORDER_COMPRESS__ACK_WAIT_S": str(LEASE_S),
            "RECORDER_MERKLE__ACK_WAIT_S": str(LEASE_S),
            "RECORDER_AUDIT__DIGEST_S": "5",
        }

    async def _until_started(self) -> None:
        async with asyncio.timeout(DEADLINE_S):
            while waiting := [
                worker.name for worker in self.workers.values() if "WorkerStarted" not in worker.log
            ]:
                await asyncio.sleep(0.1)
        assert not waiting

    async def stop_workers(self) -> None:
        """SIGTERM to all of them."""
        await asyncio.gather(
            *(worker.end(signal.SIGTERM) for worker in self.workers.values() if worker.lives)
        )

    async def _end_all(self) -> None:
        actors: list[Actor] = [*self.workers.values(), *self.servers.values()]
        await asyncio.gather(*(actor.end(signal.SIGKILL) for actor in actors if actor.lives))


async def _quiet(_: Exception) -> None:
    """A connection that breaks is what this is about."""
