"""A whole recorder in this process, on a real nats-server, with what tests ask of it."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import uuid
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Self

import msgspec
import nats
import numpy as np
from nats.aio.client import Client
from nats.js import JetStreamContext
from nats.js.api import RawStreamMsg
from nats.js.errors import NotFoundError
from numpy.typing import NDArray

from recorder_worker.adapters.folder import FolderRecording
from recorder_worker.adapters.sources.pattern import PatternDesktop
from recorder_worker.bus import codec
from recorder_worker.bus.client import RecorderClient
from recorder_worker.bus.streams import topology
from recorder_worker.bus.streams.topology import (
    COMMANDS_STREAM,
    DEAD_STREAM,
    INTEGRATION_STREAM,
    SESSIONS_STREAM,
)
from recorder_worker.core.errors import RefusedError
from recorder_worker.core.events import (
    Captured,
    Event,
    SegmentCaptured,
    SessionRejected,
    SessionSealed,
)
from recorder_worker.core.reading.film import recording_film
from recorder_worker.core.reading.frames import recording_frames
from recorder_worker.core.sources.kinds import PatternSource
from recorder_worker.core.subjects import UNKNOWN_SESSION, Fact
from recorder_worker.core.verify.report import Report
from recorder_worker.core.verify.verdicts import Verdict
from recorder_worker.core.verify.verifier import verify
from recorder_worker.service.settings.disk import DiskSettings
from recorder_worker.service.settings.group import Group
from recorder_worker.service.settings.tree import (
    AuditSettings,
    CaptureSettings,
    NatsSettings,
    Settings,
    SidecarSettings,
)
from recorder_worker.service.worker import Worker

DEADLINE_S = 60.0
POLL_S = 0.02
LIVE = {"kind": "pattern", "width": 64, "height": 48}
STREAM_OF = {
    "control": COMMANDS_STREAM,
    "capture": COMMANDS_STREAM,
    "chunk": SESSIONS_STREAM,
    "compress": SESSIONS_STREAM,
    "merkle": SESSIONS_STREAM,
    "owners": SESSIONS_STREAM,
    "log": SESSIONS_STREAM,
    "retention": COMMANDS_STREAM,
    "receipts": INTEGRATION_STREAM,
    "storage": SESSIONS_STREAM,
    "table": SESSIONS_STREAM,
}


def settings_in(folder: Path, **groups: Group) -> Settings:
    """Settings of a recorder with everything in a folder, on free ports, in small steps."""
    small = Settings(
        data_dir=str(folder),
        nats=NatsSettings(port=-1),
        sidecar=SidecarSettings(port=0),
        capture=CaptureSettings(segment_s=0.25, retry_s=1.0),
        disk=DiskSettings(floor_bytes=1),
        # No entry of the audit trail comes between those that a test counts.
        audit=AuditSettings(digest_s=3600),
    )
    return msgspec.structs.replace(small, **groups)


class RunningRecorder:
    """A worker with all stages and the embedded server; `async with` runs it."""

    client: RecorderClient
    bus: Client

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._worker = Worker(settings)
        self._open = AsyncExitStack()

    async def __aenter__(self) -> Self:
        self._open.push_async_callback(self._worker.stop)
        try:
            await self._worker.start()
            self.bus = await nats.connect(self.url)
            self._open.push_async_callback(self.bus.close)
            self.client = await self._open.enter_async_context(RecorderClient.connect(self.url))
        except BaseException:
            await self._open.aclose()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._open.aclose()

    @property
    def url(self) -> str:
        return self._worker.nats_urls[0]

    @property
    def sidecar_port(self) -> int:
        return self._worker.sidecar.port

    def metric(self, name: str, **labels: str) -> float:
        """The value of one of its metrics now."""
        return self._worker.metrics.registry.get_sample_value(name, labels) or 0.0

    @property
    def jetstream(self) -> JetStreamContext:
        return self.bus.jetstream()

    def folder(self, session_id: str) -> Path:
        return self.settings.data_path / "sessions" / session_id

    # --- what became of a session -------------------------------------------------------------

    async def sealed(self, session_id: str) -> SessionSealed:
        return await self.client.wait_sealed(session_id, DEADLINE_S)

    def report(self, session_id: str) -> Report:
        return verify(FolderRecording(self.folder(session_id)))

    def export(self, session_id: str, target: Path, *options: object) -> tuple[int, str]:
        """As a person calls `recorder export`: its exit code, and what it said."""
        program = Path(sys.executable).parent / "recorder"
        command = [program, "export", self.folder(session_id), target, *options]
        ended = subprocess.run(list(map(str, command)), check=False, capture_output=True, text=True)
        return ended.returncode, ended.stdout + ended.stderr

    def pictures(self, session_id: str) -> list[NDArray[np.uint8]]:
        recording = FolderRecording(self.folder(session_id))
        return [frame.picture.copy() for frame in recording_frames(recording)]

    def chunks(self, session_id: str) -> list[bytes]:
        """The plain bytes of each chunk of copied packets, behind a head."""
        recording = FolderRecording(self.folder(session_id))
        return [b"".join(pieces) for _, pieces in recording_film(recording)]

    async def record(self, source: dict[str, Any], **options: Any) -> tuple[str, Report]:  # noqa: ANN401  (fields of session.start)
        """Record a source that ends by itself; its id and what the verifier says."""
        started = await self.client.start(source, **options)
        await self.sealed(started.session_id)
        return started.session_id, self.report(started.session_id)

    async def facts(self, fact: Fact, session_id: str) -> list[Event]:
        """Every fact of a kind about a session, oldest first."""
        stored = await self._stored(topology.STREAM_OF[fact], fact.of(session_id))
        return [codec.decode(fact, message.data or b"") for message in stored]

    async def captured(self, session_id: str, beyond_ns: int = 0) -> SegmentCaptured:
        """The next segment that reaches beyond a session time."""
        async with asyncio.timeout(DEADLINE_S), self.client.follow(session_id) as facts:
            async for seen in facts:
                event = seen.event
                if isinstance(event, SegmentCaptured) and event.cursor.t_ns > beyond_ns:
                    return event
        raise AssertionError("facts never end")

    # --- refusals -----------------------------------------------------------------------------

    async def refusal(self, source: dict[str, Any], **options: Any) -> RefusedError:  # noqa: ANN401  (as above)
        """The refusal of a start that must be refused."""
        try:
            started = await self.client.start(source, timeout_s=DEADLINE_S, **options)
        except RefusedError as error:
            return error
        raise AssertionError(f"expected a refusal, found {started}")

    async def rejections(
        self, subject: str, *bodies: bytes, session_id: str = UNKNOWN_SESSION
    ) -> list[SessionRejected]:
        """Publish raw commands; the refusal of each, in the order of the commands."""
        keys = [uuid.uuid4().hex for _ in bodies]
        found: dict[str, SessionRejected] = {}
        async with asyncio.timeout(DEADLINE_S):
            async with self.client.follow(session_id, history=False) as facts:
                for key, body in zip(keys, bodies, strict=True):
                    await self.jetstream.publish(subject, body, headers={"Nats-Msg-Id": key})
                async for seen in facts:
                    if isinstance(seen.event, SessionRejected) and seen.event.command_id in keys:
                        found[seen.event.command_id] = seen.event
                    if len(found) == len(keys):
                        break
        return [found[key] for key in keys]

    # --- the others go on ---------------------------------------------------------------------

    @asynccontextmanager
    async def bystander(self) -> AsyncIterator[str]:
        """A session that runs meanwhile: it must go on behind the block, and seal COMPLETE."""
        started = await self.client.start(
            {"kind": "pattern", "width": 64, "height": 48, "seed": 7}, fps=20
        )
        session_id = started.session_id
        yield session_id
        await self.captured(session_id)
        before = await self.client.last(Fact.CAPTURED, session_id)
        assert isinstance(before, Captured)
        await self.captured(session_id, before.cursor.t_ns)
        await self.client.stop(session_id)
        sealed = await self.sealed(session_id)
        report = self.report(session_id)
        assert (report.verdict, sealed.reason.value) == (Verdict.COMPLETE, "stopped")
        frames = assert_pattern(self, session_id, width=64, height=48, seed=7)
        assert frames == sealed.frame_count > 0

    async def nothing_is_left(self) -> None:
        """Wait until every consumer has handled, and acknowledged, all it was given."""
        async with asyncio.timeout(DEADLINE_S):
            while left := await self._left():
                await asyncio.sleep(POLL_S)
        assert not left

    async def _left(self) -> dict[str, tuple[int, int]]:
        found = {}
        for stage, stream in STREAM_OF.items():
            info = await self.jetstream.consumer_info(stream, stage)
            counts = (info.num_pending or 0, info.num_ack_pending or 0)
            if any(counts):
                found[stage] = counts
        return found

    async def commands_are_handled(self) -> None:
        """Wait until no command waits for an answer; a lease is un-acked while it is held."""
        async with asyncio.timeout(DEADLINE_S):
            while "control" in (left := await self._left()) or left.get("capture", (0, 0))[0]:
                await asyncio.sleep(POLL_S)

    async def dead_letter_count(self) -> int:
        return (await self.jetstream.stream_info(DEAD_STREAM)).state.messages

    async def dead_letters(self, stage: str, subject: str, data: bytes) -> list[RawStreamMsg]:
        """The dead letters of a stage made of one message, once there are any."""
        async with asyncio.timeout(DEADLINE_S):
            while True:
                stored = await self._stored(DEAD_STREAM, f"session.dead.{stage}")
                found = [
                    message
                    for message in stored
                    if (message.headers or {})["Recorder-Subject"] == subject
                    and message.data == data
                ]
                if found:
                    return found
                await asyncio.sleep(POLL_S)

    async def _stored(self, stream: str, subject: str) -> list[RawStreamMsg]:
        found: list[RawStreamMsg] = []
        while True:
            after = found[-1].seq or 0 if found else 0
            try:
                found.append(
                    await self.jetstream.get_msg(stream, seq=after + 1, subject=subject, next=True)
                )
            except NotFoundError:
                return found


def assert_pattern(recorder: RunningRecorder, session_id: str, **source: object) -> int:
    """Hold every pixel of a recorded pattern against the pattern itself; how many frames."""
    wanted = PatternDesktop(msgspec.convert({"kind": "pattern", **source}, PatternSource), fps=10)
    recorded = recorder.pictures(session_id)
    for picture in recorded:
        frame = wanted.read()
        assert frame is not None
        np.testing.assert_array_equal(picture, frame.picture)
    return len(recorded)


async def begun(recorder: RunningRecorder, **options: Any) -> str:  # noqa: ANN401  (fields of session.start)
    """A session of `LIVE` that runs and has recorded something."""
    session_id = (await recorder.client.start(LIVE, fps=20, **options)).session_id
    await recorder.captured(session_id)
    return session_id


def only(events: Sequence[Any]) -> Any:  # noqa: ANN401  (whatever kind it is)
    """The one of them that there is."""
    assert len(events) == 1, events
    return events[0]


async def until(condition: Callable[[], bool]) -> None:
    """Poll a condition of another process or thread."""
    async with asyncio.timeout(DEADLINE_S):
        while not condition():
            await asyncio.sleep(POLL_S)
