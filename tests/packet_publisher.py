"""A program that publishes the packets of a film, as tests need one."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import av
import msgspec
from films import opened
from frame_publisher import DEADLINE_S, FramePublisher
from nats.aio.client import Client

from recorder_worker.core.frame_messages import FrameAnswer, FrameStatus

KINDS = {"h264": "video/H264", "hevc": "video/H265", "mjpeg": "image/jpeg"}


class Unit(msgspec.Struct, frozen=True):
    """One picture as an encoder made it, its times in nanoseconds of the film."""

    kind: str
    data: bytes
    keyframe: bool
    dts_ns: int
    pts_ns: int

    @property
    def sample(self) -> bytes:
        """As MP4 has it: a length in the place of each start code."""
        if self.kind == "image/jpeg":
            return self.data
        units = [each for each in re.split(rb"\x00?\x00\x00\x01", self.data) if each]
        return b"".join(len(each).to_bytes(4) + each for each in units)


def units_of(film: Path) -> list[Unit]:
    """The pictures of a film, in the order in which they are decoded; Annex B."""
    with opened(film) as container:
        video = container.streams.video[0]
        codec = video.codec_context.codec.canonical_name
        filtered: Any = container.demux(video)
        if codec != "mjpeg":
            annex_b = av.BitStreamFilterContext(f"{codec}_mp4toannexb", video)
            filtered = (
                each for packet in container.demux(video) for each in annex_b.filter(packet)
            )
        return [
            Unit(
                kind=KINDS[codec],
                data=bytes(packet),
                keyframe=packet.is_keyframe,
                dts_ns=round(packet.dts * packet.time_base * 10**9),
                pts_ns=round(packet.pts * packet.time_base * 10**9),
            )
            for packet in filtered
            if packet.size
        ]


class PacketPublisher(FramePublisher):
    """Publishes pictures of films, which are of a moment ago; waits for what becomes of each."""

    def __init__(self, client: Client, subject: str, wait_s: float = DEADLINE_S) -> None:
        super().__init__(client, subject, wait_s)
        self.begin_ns = time.time_ns()

    def headers(self, unit: Unit, **more: str) -> dict[str, str]:
        given = {f"Recorder-{name.capitalize()}": value for name, value in more.items()}
        return {
            "Content-Type": unit.kind,
            "Recorder-Time": str(self.begin_ns + unit.dts_ns),
            "Recorder-Presentation-Time": str(self.begin_ns + unit.pts_ns),
            **given,
        }

    async def packet(self, unit: Unit, **more: str) -> FrameAnswer:
        return await self.send(unit.data, self.headers(unit, **more))

    async def packets(self, *units: Unit) -> list[FrameStatus]:
        return [(await self.packet(unit)).status for unit in units]

    async def at_once(self, *units: Unit) -> list[FrameAnswer]:
        """Publish without waiting for answers, and then wait for all of them."""
        inbox, answers = self.client.new_inbox(), list[FrameAnswer]()

        async def heard(message: Any) -> None:  # noqa: ANN401  (of nats-py)
            answers.append(msgspec.json.decode(message.data, type=FrameAnswer))

        heard_all = await self.client.subscribe(inbox, cb=heard)
        for unit in units:
            headers = self.headers(unit)
            await self.client.publish(self.subject, unit.data, reply=inbox, headers=headers)
        async with asyncio.timeout(30):
            while len(answers) < len(units):
                await asyncio.sleep(0.02)
        await heard_all.unsubscribe()
        return answers

    @asynccontextmanager
    async def until_recorded_of(self, unit: Unit, **more: str) -> AsyncIterator[None]:
        """Publish a keyframe until the source that is opened meanwhile has taken it."""

        async def go() -> None:
            while (await self.packet(unit, **more)).status is not FrameStatus.ACCEPTED:
                await asyncio.sleep(0.02)

        task = asyncio.create_task(go())
        try:
            yield
            await task
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
