"""A recorder on a real nats-server for the tests of a module, and a session that runs beside."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio
from running_recorder import RunningRecorder, settings_in
from worker_process import WorkerProcess


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def recorder(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningRecorder]:
    """One for all tests of a module: they must leave it as they found it."""
    async with RunningRecorder(settings_in(tmp_path_factory.mktemp("recorder"))) as running:
        yield running


@pytest.fixture(scope="module")
def worker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WorkerProcess]:
    """As `recorder`, in a process of its own."""
    with WorkerProcess(tmp_path_factory.mktemp("worker")) as running:
        yield running
