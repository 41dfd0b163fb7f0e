"""A recorder on a real nats-server for the tests of a module, and a session that runs beside."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio
import structlog
from fresh_streams import forget_all
from nats_process import NatsProcess
from running_recorder import RunningRecorder, settings_in
from worker_process import WorkerProcess

from recorder_worker.bus.connection.broker import Login, RecorderBroker, connect, make_broker
from recorder_worker.core.verify.verdicts import Verdict
from recorder_worker.stages.capture.reading import coverage
from recorder_worker.stages.capture.reading.timeline import SECOND_NS


@pytest.fixture(scope="session", autouse=True)
def plain_logs() -> Iterator[None]:
    """One line a log event: the default draws every local variable of a traceback in colours."""
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(default=repr),
        ],
    )
    yield
    structlog.reset_defaults()


@pytest.fixture(scope="module", autouse=True)
def a_machine_that_stands_still() -> Iterator[None]:
    """Where other tests run beside, it does for a second or three: for that, no source has a gap.

    What a recorder itself holds up for longer still has one. tests/unit/test_reader.py: the rule.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(coverage, "STALL_NS", 10 * SECOND_NS)
        yield


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def recorder(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningRecorder]:
    """One for all tests of a module: they must leave it as they found it."""
    async with RunningRecorder(settings_in(tmp_path_factory.mktemp("recorder"))) as running:
        yield running


@pytest.fixture(scope="module")
def worker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WorkerProcess]:
    """As `recorder`, in a process of its own."""
    small_steps = {
        "RECORDER_CAPTURE__SEGMENT_S": "0.25",
        "RECORDER_CHUNK__DURATION_S": "0.5",
        "RECORDER_DISK__FLOOR_BYTES": "1",
    }
    with WorkerProcess(tmp_path_factory.mktemp("worker"), env=small_steps) as running:
        yield running


@pytest.fixture(scope="module")
def nats_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsProcess]:
    """A server for all tests of a module."""
    with NatsProcess(tmp_path_factory.mktemp("nats")) as running:
        yield running


@pytest_asyncio.fixture
async def broker(nats_process: NatsProcess) -> AsyncIterator[RecorderBroker]:
    """Connected to it; its streams are new, and forget message ids soon."""
    login = Login(servers=(nats_process.url,))
    made = make_broker(login)
    await connect(made, login)
    await forget_all(made)
    yield made
    await made.stop()


SMALL = {"kind": "pattern", "width": 16, "height": 16, "pace": "fast", "frames": 3}


@pytest_asyncio.fixture(loop_scope="module")
async def others_go_on(recorder: RunningRecorder) -> AsyncIterator[None]:
    """Beside every test a session runs on; behind it a good start works and nothing is left."""
    async with recorder.bystander():
        yield
    _, report = await recorder.record(SMALL)
    assert report.verdict is Verdict.COMPLETE
    await recorder.nothing_is_left()
