"""`recorder nats-conf`: every user can do its work, and nothing else. On that very server."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, ExitStack
from pathlib import Path

import pytest
import pytest_asyncio
from nats.aio.client import Client
from secured_nats import SecuredNats
from worker_process import WorkerProcess, run_recorder

from recorder_worker.adapters.folder import FolderRecording
from recorder_worker.bus import permissions
from recorder_worker.bus.client import RecorderClient
from recorder_worker.core.verify.verdicts import Verdict
from recorder_worker.core.verify.verifier import verify

DEADLINE_S = 60.0
PATTERN = {"kind": "pattern", "width": 32, "height": 32, "frames": 20, "pace": "fast"}


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecuredNats]:
    folder = tmp_path_factory.mktemp("secured")
    with SecuredNats(folder, "--client", "alice", "--client", "bob") as nats:
        nats.apply_streams()
        yield nats


@pytest.fixture(scope="module")
def workers(secured: SecuredNats) -> Iterator[dict[str, WorkerProcess]]:
    """Four processes, each with the user of its stage."""
    with ExitStack() as stack:
        yield {
            stage: stack.enter_context(
                WorkerProcess(
                    secured.folder,
                    stage,
                    env=secured.variables(stage) | {"RECORDER_CAPTURE__SEGMENT_S": "0.25"},
                )
            )
            for stage in permissions.workers()
        }


async def test_every_stage_works_with_the_rights_of_its_user(
    secured: SecuredNats, workers: dict[str, WorkerProcess]
) -> None:
    async with RecorderClient.connect(secured.login("admin")) as client:
        started = await client.start(PATTERN, timeout_s=DEADLINE_S)
        sealed = await client.wait_sealed(started.session_id, DEADLINE_S)
        assert started.session_id in await client.sessions()
    report = verify(FolderRecording(workers["merkle"].data_dir / "sessions" / started.session_id))
    assert report.verdict is Verdict.COMPLETE
    assert sealed.frame_count == 20
    assert "Violation" not in secured.server.log
