"""A whole recorder as an operator runs it: nats-server and four stages, a process each."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Self

import nats
from nats_process import NatsProcess
from worker_process import WorkerProcess

from recorder_worker.adapters.folder import FolderRecording
from recorder_worker.bus import codec
from recorder_worker.client import Login, RecorderClient
from recorder_worker.core.cipher.session_cipher import SessionCipher
from recorder_worker.core.events import Event, SessionSealed
from recorder_worker.core.subjects import Fact
from recorder_worker.core.verify.report import GapFound, Report
from recorder_worker.core.verify.verifier import verify
from recorder_worker.service.replaying import replay_session
from recorder_worker.service.settings.loading import load
from recorder_worker.stages.replay import ReplayResult

STAGES = ("capture", "chunk", "compress", "merkle")
SEAL_TIMEOUT_S = 90.0
LEASE_S = "5"
"""Heartbeats come three times as fast: who stands still for three seconds still has it."""
ACK_WAIT_S = "2"
"""Short, so that no test waits long for a redelivery: what is worked on twice is there once."""


def is_stall(detail: str) -> bool:
    """Whether a gap is of a display that was not read for a second, for the machine stood still."""
    return detail.startswith("nothing was read for")


def gaps_of(report: Report) -> list[GapFound]:
    """The gaps of a recording, but for those that a machine makes that stands still."""
    return [gap for gap in report.gaps if not is_stall(gap.detail)]


class Plant:
    """Processes that share a data directory and a nats-server; `env` are more settings of all."""

    def __init__(self, folder: Path, env: dict[str, str] | None = None) -> None:
        self.folder = folder
        self.nats = NatsProcess(folder / "nats")
        self.env = {
            "RECORDER_NATS__URL": self.nats.url,
            "RECORDER_DATA_DIR": str(folder / "data"),
            "RECORDER_CAPTURE__CAPACITY": "4",
            "RECORDER_CAPTURE__LEASE_S": LEASE_S,
            "RECORDER_CAPTURE__SEGMENT_S": "0.5",
            "RECORDER_CAPTURE__RETRY_S": "5",
            "RECORDER_CHUNK__DURATION_S": "1",
            "RECORDER_CHUNK__ACK_WAIT_S": ACK_WAIT_S,
            "RECORDER_COMPRESS__ACK_WAIT_S": ACK_WAIT_S,
            "RECORDER_MERKLE__ACK_WAIT_S": ACK_WAIT_S,
            "RECORDER_DISK__FLOOR_BYTES": "0",
            "RECORDER_LOAD__LATE_HIGH": "1",  # a busy machine must not lower a display's rate
            # The server keeps room for every stream: five of the default size are 50 GiB.
            "RECORDER_NATS__MAX_BYTES": "1000000000",
        } | (env or {})
        self.workers: dict[str, list[WorkerProcess]] = {}
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        self._stack.enter_context(self.nats)
        for stage in STAGES:
            self.add(stage)
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def add(self, stage: str) -> WorkerProcess:
        """Start one more worker of a stage."""
        number = len(self.workers.get(stage, []))
        folder = self.folder / f"{stage}-{number}"
        folder.mkdir()
        worker = self._stack.enter_context(WorkerProcess(folder, stage, env=self.env))
        self.workers.setdefault(stage, []).append(worker)
        return worker

    def kill(self, target: str) -> None:
        """SIGKILL the nats-server or every worker of a stage."""
        if target == "nats":
            self.nats.kill()
        for worker in self.workers.get(target, []):
            worker.kill()

    def start_again(self, target: str) -> None:
        """Start again what was killed."""
        if target == "nats":
            self.nats.start()
        for worker in self.workers.get(target, []):
            worker.start()

    @asynccontextmanager
    async def client(self) -> AsyncIterator[RecorderClient]:
        """A connected client."""
        async with AsyncExitStack() as stack:
            yield await stack.enter_async_context(RecorderClient.connect(self.nats.url))

    async def start_session(self, source: dict[str, Any], **options: Any) -> str:  # noqa: ANN401  (as the client)
        """Start a session and wait until it is being recorded."""
        async with self.client() as client:
            started = await client.start(source, timeout_s=SEAL_TIMEOUT_S, **options)
        return started.session_id

    async def until(self, session_id: str, fact: Fact, count: int) -> None:
        """Wait for the n-th fact of a kind."""
        async with self.client() as client, client.follow(session_id) as facts:
            async for seen in facts:
                count -= seen.fact is fact
                if count == 0:
                    return

    async def sealed(self, session_id: str) -> SessionSealed:
        """Wait for the seal."""
        async with self.client() as client:
            return await client.wait_sealed(session_id, SEAL_TIMEOUT_S)

    async def last(self, stream: str, fact: Fact) -> Event:
        """The newest fact of a kind."""
        bus = await nats.connect(self.nats.url)
        try:
            message = await bus.jetstream().get_last_msg(stream, fact.wildcard)
            return codec.decode(fact, message.data or b"")
        finally:
            await bus.close()

    def recording(self, session_id: str) -> Path:
        """The recording's folder."""
        return self.folder / "data" / "sessions" / session_id

    def verify(self, session_id: str) -> Report:
        """Verify the recording as an auditor would."""
        return verify(FolderRecording(self.recording(session_id)))

    async def replay(self, session_id: str, cipher: SessionCipher | None = None) -> ReplayResult:
        """Make the recording again from the stream; `cipher` is that of an encrypted one."""
        settings, _ = load(self._settings_file())
        target = self.folder / f"replay-{session_id}"
        login = Login(servers=(self.nats.url,))
        return await replay_session(settings, login, session_id, target, cipher)

    def _settings_file(self) -> Path:
        """The workers' settings as a file, for what runs in this process."""
        path = self.folder / "settings.yaml"
        path.write_text(
            f"data_dir: {self.folder / 'data'}\n"
            f"capture: {{segment_s: 0.5}}\nchunk: {{duration_s: 1.0}}\n"
        )
        return path
