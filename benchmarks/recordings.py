"""Makes the recordings that a benchmark reads, by a whole worker."""

from __future__ import annotations

import asyncio
from pathlib import Path

import cv2
import numpy as np

from recorder_worker.client import RecorderClient
from recorder_worker.service.settings.disk import DiskSettings
from recorder_worker.service.settings.tree import (
    NatsSettings,
    Settings,
    SidecarSettings,
)
from recorder_worker.service.worker import Worker

WIDTH, HEIGHT = 1920, 1080
DESKTOP_FRAMES, MOTION_FRAMES = 1200, 200
REGION = (slice(300, 660), slice(600, 1240))


def desktop_recording(folder: Path, frames: int = DESKTOP_FRAMES) -> Path:
    """The folder of a synthetic desktop, two minutes of it, which zstd shrinks to nearly nothing.

    Ten frames a second.
    """
    source = {"kind": "pattern", "width": WIDTH, "height": HEIGHT, "frames": frames}
    return asyncio.run(_recorded(folder, source | {"pace": "fast"}))


def motion_recording(folder: Path) -> Path:
    """The folder of a desktop in which a 640x360 film plays, which nothing shrinks."""
    film = film_of_noise(folder / "film.avi", MOTION_FRAMES)
    return asyncio.run(_recorded(folder, {"kind": "file", "uri": str(film), "pace": "fast"}))


def film_of_noise(path: Path, frames: int) -> Path:
    """A video of a grey desktop, ten frames a second, with noise in one region of it."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10.0, (WIDTH, HEIGHT))
    rng = np.random.default_rng(0)
    picture = np.full((HEIGHT, WIDTH, 3), 90, np.uint8)
    for _ in range(frames):
        picture[REGION] = rng.integers(0, 256, picture[REGION].shape, np.uint8)
        writer.write(picture)
    writer.release()
    return path


async def _recorded(folder: Path, source: dict[str, object]) -> Path:
    settings = Settings(
        data_dir=str(folder),
        nats=NatsSettings(port=-1),
        sidecar=SidecarSettings(port=-1),
        disk=DiskSettings(floor_bytes=0),
    )
    worker = Worker(settings)
    await worker.start()
    try:
        async with RecorderClient.connect(worker.nats_urls[0]) as client:
            started = await client.start(source)
            await client.wait_sealed(started.session_id, 600)
            return folder / "sessions" / started.session_id
    finally:
        await worker.stop()
