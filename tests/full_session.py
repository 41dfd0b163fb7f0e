"""Sessions in which everything happens that a client can see, and every message that they left."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
from nats.js.errors import NotFoundError
from running_recorder import DEADLINE_S, POLL_S, RunningRecorder, settings_in
from time_stamp_authority import Tsa
from videos import cut, file_source, write_video

from recorder_worker.bus.connection.broker import Login
from recorder_worker.bus.dead_letters.letter_client import DeadLetterClient
from recorder_worker.core.events import (
    BeatCaptured,
    EpochCaptured,
    SessionQuality,
    SessionRetention,
)
from recorder_worker.core.subjects import Fact, without_owner
from recorder_worker.service.settings.pictures import QualitySettings
from recorder_worker.service.settings.storage import StorageSettings
from recorder_worker.service.settings.tree import AnchorSettings, CaptureSettings, Settings

NODE = "desk-7"
SESSION = "0190a2b4-7c1e-7d2f-8a3b-5c6d7e8f9a0b"
LOST = "0190a2b4-7c1e-7d2f-8a3b-5c6d7e8f9a0c"
GARBAGE = b'{"type": "film"}'
"""What becomes a dead letter."""
STORED_ONLY = {"Nats-Sequence", "Nats-Stream", "Nats-Subject", "Nats-Time-Stamp"}
"""Headers that the server adds where a stored message is read."""
DESKTOP = {"kind": "pattern", "width": 320, "height": 240}


class Message(msgspec.Struct, frozen=True):
    """One message of a stream, as it is stored."""

    stream: str
    subject: str
    headers: dict[str, str]
    data: bytes

    @property
    def name(self) -> str:
        """Its subject without owner, session or stage."""
        subject = without_owner(self.subject)
        if self.settles:
            return str(Fact.AUDIT_SETTLED)
        for known in (*Fact, "session.dead"):
            if subject == known or subject.startswith(f"{known}."):
                return str(known)
        return subject

    @property
    def settles(self) -> bool:
        """Whether it says beside a dead letter what became of that."""
        return self.subject.startswith("session.dead.") and self.subject.count(".") == 3

    @property
    def copied(self) -> bool:
        """Whether it is a copy for the owner of its session."""
        return without_owner(self.subject) != self.subject

    @property
    def channel(self) -> str:
        """The channel of the AsyncAPI document that it is on."""
        if self.settles:
            return "session.dead.settled"
        return f"client.{self.name}" if self.copied else self.name


@asynccontextmanager
async def recorder_in(folder: Path) -> AsyncIterator[RunningRecorder]:
    """A recorder that signs and changes keys often and, where there is openssl, is time-stamped.

    Its recordings are copied to a second store, and their chunks leave the first one.
    """
    (folder / "second").mkdir()
    settings = msgspec.structs.replace(
        settings_in(
            folder / "recorder-data",
            storage=StorageSettings(
                kind="directory",
                directory=str(folder / "second"),
                keep_local="after_seal",
                keep_local_s=0.0,
                sweep_s=0.2,
            ),
            # The pattern stands still for two seconds of every five.
            quality=QualitySettings(look_s=0.1, frozen_s=0.3, display_conditions=("frozen",)),
            capture=CaptureSettings(segment_s=0.25, checkpoint_s=1.0, epoch_s=1.0, retry_s=0.0),
        ),
        node=NODE,
    )
    if shutil.which("openssl") is None:
        async with RunningRecorder(settings) as running:
            yield running
        return
    (folder / "tsa").mkdir()
    async with Tsa(folder / "tsa").served() as served:
        stamped: Settings = msgspec.structs.replace(
            settings, anchors=AnchorSettings(tsa_url=served.url)
        )
        async with RunningRecorder(stamped) as running:
            yield running


async def run(recorder: RunningRecorder, folder: Path) -> None:
    """Every command, obeyed and refused; a session that is stopped, and one that fails."""
    await _stopped(recorder)
    await _refused(recorder)
    await _failed(recorder, folder)
    await recorder.jetstream.publish(Fact.CAPTURED.of(SESSION), GARBAGE, stream="SESSIONS")
    async with asyncio.timeout(DEADLINE_S):
        while not await recorder.dead_letter_count():
            await asyncio.sleep(POLL_S)
        while recorder.settings.anchors.tsa_url and not await _count(recorder, "anchor.receipt"):
            await asyncio.sleep(POLL_S)
        while await _count(recorder, "storage.offloaded") < 1:
            await asyncio.sleep(POLL_S)
    await _dropped(recorder)
    await recorder.nothing_is_left()


async def _dropped(recorder: RunningRecorder) -> None:
    """Somebody looks into the dead letter."""
    async with DeadLetterClient.connect(Login(servers=(recorder.url,))) as client:
        (seen, *_) = await client.all()
        await client.drop(seen.letter.letter, by="alice", why="no event of ours: a test of the bus")


async def _stopped(recorder: RunningRecorder) -> None:
    client = recorder.client
    async with asyncio.timeout(DEADLINE_S), client.follow(SESSION, history=False) as facts:
        await client.start(
            DESKTOP,
            session_id=SESSION,
            fps=20,
            owner="alice",
            labels={"ticket": "4711"},
            masks=[{"x": 0, "y": 0, "width": 64, "height": 16}],
        )
        await recorder.captured(SESSION)
        await client.mark(SESSION, "valve 7 opened", by="alice", data={"valve": "7"})
        await client.mask(SESSION, [{"x": 0, "y": 0, "width": 64, "height": 24}], by="alice")
        await client.pause(SESSION, by="alice")
        await client.resume(SESSION, by="alice")
        seen: set[type] = set()
        async for one in facts:
            seen.add(type(one.event))
            if {BeatCaptured, EpochCaptured, SessionQuality} <= seen:
                break
        await client.stop(SESSION, by="alice")
        await recorder.sealed(SESSION)
        await client.hold(SESSION, "incident 4711 is looked into", name="incident", by="alice")
        await client.release(SESSION, "it is closed", name="incident", by="alice")
        await client.delete(SESSION, "the operator asked for it", by="alice")
        async for one in facts:
            if isinstance(one.event, SessionRetention) and one.event.kind == "tombstone":
                break


async def _refused(recorder: RunningRecorder) -> None:
    await recorder.rejections("session.start", b'{"source": {"kind": "film"}}')
    command = json.dumps({"session_id": SESSION}).encode()
    await recorder.rejections("session.stop", command, session_id=SESSION)


async def _failed(recorder: RunningRecorder, folder: Path) -> None:
    """A video of which less is there than it declares."""
    video = cut(write_video(folder / "talk.avi", "MJPG"))
    await recorder.client.start(file_source(video), session_id=LOST)
    await recorder.sealed(LOST)


async def _count(recorder: RunningRecorder, name: str) -> int:
    info = await recorder.jetstream.stream_info(
        "INTEGRATION", subjects_filter=f"integration.{name}"
    )
    return sum((info.state.subjects or {}).values())


async def messages(recorder: RunningRecorder) -> list[Message]:
    """Every message of every stream, in the order of each stream."""
    found = []
    for stream in await recorder.jetstream.streams_info():
        name = stream.config.name or ""
        if name.startswith("KV_"):  # a bucket holds values, not messages of ours
            continue
        for sequence in range(max(1, stream.state.first_seq), stream.state.last_seq + 1):
            try:
                message = await recorder.jetstream.get_msg(name, seq=sequence, direct=True)
            except NotFoundError:
                continue
            headers = {k: v for k, v in (message.headers or {}).items() if k not in STORED_ONLY}
            found.append(Message(name, message.subject or "", headers, message.data or b""))
    return found
