"""A program that publishes frames to be recorded, as tests need one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress

import cv2
import msgspec
import nats.errors
import numpy as np
from nats.aio.client import Client
from numpy.typing import NDArray

from recorder_worker.core.frame_messages import FrameAnswer, FrameStatus

Pixels = NDArray[np.uint8]
DEADLINE_S = 30.0


def picture_of(index: int, width: int = 48, height: int = 32) -> Pixels:
    """Noise that tells which frame it is."""
    return np.random.default_rng(index).integers(0, 256, (height, width, 3), np.uint8)


def raw_headers(picture: Pixels) -> dict[str, str]:
    height, width = picture.shape[:2]
    return {"Recorder-Width": str(width), "Recorder-Height": str(height), "Recorder-Format": "BGR"}


class FramePublisher:
    """Publishes on one subject, and waits for what becomes of each; then publishes it again."""

    def __init__(self, client: Client, subject: str, wait_s: float = DEADLINE_S) -> None:
        self.client = client
        self.subject = subject
        self._wait_s = wait_s

    async def send(self, data: bytes, headers: Mapping[str, str]) -> FrameAnswer:
        """One message as a request; while nobody listens it is sent again."""
        async with asyncio.timeout(DEADLINE_S):
            while True:
                try:
                    answer = await self.client.request(
                        self.subject, data, timeout=self._wait_s, headers=dict(headers)
                    )
                except (nats.errors.NoRespondersError, nats.errors.TimeoutError):
                    await asyncio.sleep(0.02)
                    continue
                return msgspec.json.decode(answer.data, type=FrameAnswer)

    async def raw(self, picture: Pixels, **headers: str) -> FrameAnswer:
        more = {f"Recorder-{name.capitalize()}": value for name, value in headers.items()}
        return await self.send(picture.tobytes(), raw_headers(picture) | more)

    async def png(self, picture: Pixels) -> FrameAnswer:
        done, data = cv2.imencode(".png", picture)
        assert done
        return await self.send(data.tobytes(), {"Content-Type": "image/png"})

    async def end(self) -> FrameAnswer:
        return await self.send(b"", {"Recorder-End": "1"})

    @asynccontextmanager
    async def until_recorded(self) -> AsyncIterator[None]:
        """Publish frame 0 until the source that is opened meanwhile has taken it."""

        async def go() -> None:
            while (await self.raw(picture_of(0))).status is not FrameStatus.ACCEPTED:
                await asyncio.sleep(0.02)

        task = asyncio.create_task(go())
        try:
            yield
            await task
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
