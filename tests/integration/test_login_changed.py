"""What becomes of a worker whose connection the server ends, as after a changed password."""

from __future__ import annotations

import asyncio
import json
import signal
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from ports import free_port
from running_recorder import until
from secured_nats import ServerProcess
from worker_process import WorkerProcess

from recorder_worker import __version__
from recorder_worker.bus.bus import Bus, BusSettings
from recorder_worker.bus.connection.broker import Login
from recorder_worker.bus.disposition import RetryLimits
from recorder_worker.bus.streams.consumers import ConsumerLimits
from recorder_worker.bus.streams.topology import StreamLimits
from recorder_worker.bus.subscriptions import decode_command
from recorder_worker.core.errors import BusUnavailableError
from recorder_worker.service.observing.metrics import Metrics

USER = "recorder"
OLD, NEW = "password-of-yesterday", "password-of-today"
STOP_S = 60.0
"""An orderly stop takes 8 s at most; of a machine that has other things to do, some more."""


def configure(conf: Path, port: int, password: str) -> None:
    """A server with one user."""
    conf.write_text(
        f"listen: 127.0.0.1:{port}\n"
        f"jetstream {{ store_dir: {json.dumps(str(conf.parent / 'store'))} }}\n"
        f"authorization {{ user: {USER}, password: {password} }}\n",
        encoding="utf-8",
    )


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ServerProcess]:
    conf, port = tmp_path / "nats-server.conf", free_port()
    configure(conf, port, OLD)
    with ServerProcess(conf, port) as running:
        yield running


def worker(server: ServerProcess, password: str) -> WorkerProcess:
    return WorkerProcess(
        server.conf.parent,
        env={
            "RECORDER_NATS__URL": f"nats://127.0.0.1:{server.port}",
            "RECORDER_NATS__USER": USER,
            "RECORDER_NATS__PASSWORD": password,
        },
    )


def ready(process: WorkerProcess) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{process.sidecar_port}/readyz", timeout=30):
            return True
    except urllib.error.HTTPError:
        return False


async def started_bus(server: ServerProcess) -> Bus:
    """With one stage that takes messages."""
    login = Login(servers=(f"nats://127.0.0.1:{server.port}",), user=USER, password=OLD)
    bus = Bus(
        BusSettings(
            login=login,
            node="test",
            streams=StreamLimits(
                replicas=1, max_age_s=3600, max_bytes=10_000_000, duplicate_window_s=60
            ),
            consumers=ConsumerLimits(
                lease_s=1, chunk_ack_wait_s=1, compress_ack_wait_s=1, merkle_ack_wait_s=1
            ),
            retry=RetryLimits(backoff_s=(0.05, 0.1), max_deliver=3),
        ),
        Metrics(version=__version__, node="test"),
    )

    async def handle(_delivery: object) -> None:
        """No message comes."""

    bus.register("capture", handle, decode=decode_command, workers=1, progressed=lambda: None)
    await bus.start()
    return bus


async def test_a_worker_whose_password_was_changed_goes_on_trying(server: ServerProcess) -> None:
    with worker(server, OLD) as process:
        configure(server.conf, server.port, NEW)
        server.reload()
        process.logged("BusLost")
        assert "Authorization Violation" in process.logged("BusLoginRefused")["error"]
        assert not ready(process)

        configure(server.conf, server.port, OLD)
        server.reload()
        await until(lambda: ready(process))
        process.logged("BusBack")
        refusals = [line for line in process.lines if line.get("event") == "BusLoginRefused"]
        assert len(refusals) < 5, "not one for each attempt"
        assert process.terminate() == 0, process.text


def test_a_worker_whose_password_was_changed_can_be_stopped(server: ServerProcess) -> None:
    with worker(server, OLD) as process:
        configure(server.conf, server.port, NEW)
        server.reload()
        process.logged("BusLoginRefused")
        process.signal(signal.SIGTERM)
        assert process.wait(STOP_S) == 0, process.text


async def test_the_end_of_the_connection_is_told_and_nothing_else_stands_still(
    server: ServerProcess,
) -> None:
    """nats-py closes its client for good at an -ERR that is no refused login."""
    bus = await started_bus(server)
    lost = asyncio.create_task(bus.until_lost())
    await bus.client._process_err("'user authentication expired'")
    with pytest.raises(BusUnavailableError, match="user authentication expired"):
        await asyncio.wait_for(lost, STOP_S)
    began_s = time.process_time()
    for _ in range(100):
        await asyncio.sleep(0.01)
    assert time.process_time() - began_s < 0.8, "the pull loop takes every turn"
    with suppress(BusUnavailableError):
        await bus.stop()


async def test_an_end_that_was_asked_for_is_no_loss(server: ServerProcess) -> None:
    bus = await started_bus(server)
    lost = asyncio.create_task(bus.until_lost())
    await bus.stop()
    await asyncio.sleep(0.1)
    assert not lost.done()
    lost.cancel()
