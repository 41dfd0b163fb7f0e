"""Makes the demo's recordings: a real worker, real commands, real events."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from recorder_worker.bus.client import RecorderClient
from recorder_worker.cli.demo import desktop
from recorder_worker.cli.demo.board import Board
from recorder_worker.cli.demo.checklist import CheckFailedError, Checklist
from recorder_worker.cli.demo.painter import Painter
from recorder_worker.cli.demo.tally import Tally
from recorder_worker.cli.demo.watcher import Watcher
from recorder_worker.cli.output import size
from recorder_worker.core import keys
from recorder_worker.core.errors import SourceError
from recorder_worker.core.events import SessionSealed
from recorder_worker.service.settings.disk import DiskSettings
from recorder_worker.service.settings.tree import (
    ChunkSettings,
    NatsSettings,
    Settings,
    SidecarSettings,
)
from recorder_worker.service.worker import Worker

CLIP, DESKTOP = "clip", "desktop"
MARK_KIND = "demo"
SEGMENTS_BEFORE_PAUSE, SEGMENTS_IN_ALL = 4, 8
PAUSE_S = 1.0
READY_S = 30.0


@dataclass(frozen=True)
class Recording:
    """A recording that was made, and what its seal said on the bus."""

    name: str
    folder: Path
    sealed: SessionSealed


def settings_of(folder: Path) -> Settings:
    """Everything below one folder, free ports, and chunks short enough to see several."""
    return Settings(
        data_dir=str(folder),
        nats=NatsSettings(port=-1),
        sidecar=SidecarSettings(port=0),
        chunk=ChunkSettings(duration_s=3.0),
        disk=DiskSettings(floor_bytes=64 * 1024 * 1024),
    )


class Recorder:
    """One demo's recorder: makes recordings below a folder, and shows how on a board."""

    def __init__(self, folder: Path, board: Board, checklist: Checklist) -> None:
        self._folder = folder
        self._board = board
        self._checklist = checklist
        self._watcher = Watcher(board)

    async def record(self, clip: Path, *, with_desktop: bool) -> list[Recording]:
        """Record the clip and, where it can be had, a live desktop.

        Raises:
            RecorderError: something did not go as it must; the worker is stopped all the same.
        """
        async with AsyncExitStack() as stack:
            # Before the worker, so that it outlives what records it.
            display = await self._display(stack) if with_desktop else None
            client = await stack.enter_async_context(self._running_worker())
            self._board.heading("the events, as any client sees them")
            stack.enter_context(self._board)
            await stack.enter_async_context(self._watcher.following(client))
            recordings = [await self._record_clip(client, clip)]
            if display is not None:
                recordings.append(await self._record_desktop(client, display))
            return recordings

    async def _display(self, stack: AsyncExitStack) -> str | None:
        if not desktop.can_be_started():
            self._board.line("no live desktop: Xvfb is not installed (Debian: apt install xvfb)")
            return None
        try:
            return await stack.enter_async_context(desktop.x_server())
        except SourceError as error:
            self._board.line(f"no live desktop: {error}", style="yellow")
            return None

    @asynccontextmanager
    async def _running_worker(self) -> AsyncIterator[RecorderClient]:
        worker = Worker(settings_of(self._folder))
        try:
            await worker.start()
            url = worker.nats_urls[0]
            self._board.line(f"nats-server at {url}, all four stages, data in {self._folder}")
            await self._check_ready(worker.sidecar.port)
            async with RecorderClient.connect(url) as client:
                yield client
        finally:
            await worker.stop()

    async def _check_ready(self, port: int) -> None:
        url, body = f"http://127.0.0.1:{port}/readyz", ""
        try:
            async with asyncio.timeout(READY_S), aiohttp.ClientSession() as http:
                while True:
                    async with http.get(url) as answer:
                        body = await answer.text()
                        if answer.status == 200:
                            break
                    await asyncio.sleep(0.1)
        except (TimeoutError, aiohttp.ClientError) as error:
            body = body or repr(error)
            self._checklist.demand("the sidecar is ready", f"{url}: {body}", ok=False)
        self._checklist.demand("the sidecar is ready", url, ok=True)

    async def _record_clip(self, client: RecorderClient, clip: Path) -> Recording:
        source = {"kind": "file", "uri": str(clip), "pace": "fast"}
        return await self._sealed(await self._started(client, CLIP, source))

    async def _record_desktop(self, client: RecorderClient, display: str) -> Recording:
        until = self._watcher.until
        with Painter(display):
            tally = await self._started(client, DESKTOP, {"kind": "x11", "uri": display}, fps=10.0)
            session = tally.session_id
            await until(tally, "is recorded", lambda t: t.segments >= SEGMENTS_BEFORE_PAUSE)
            await client.mark(session, "a pause comes now", type=MARK_KIND, by="recorder demo")
            await until(tally, "takes a mark", lambda t: t.marks > 0)
            await client.pause(session, by="recorder demo")
            await until(tally, "pauses", lambda t: t.state == "paused")
            await asyncio.sleep(PAUSE_S)  # so that the gap has a length; nothing waits for it
            await client.resume(session, by="recorder demo")
            await until(tally, "goes on", lambda t: t.state == "recording")
            await until(tally, "is recorded on", lambda t: t.segments >= SEGMENTS_IN_ALL)
            await client.stop(session, by="recorder demo")
            return await self._sealed(tally)

    async def _started(
        self,
        client: RecorderClient,
        name: str,
        source: dict[str, Any],
        **options: Any,  # noqa: ANN401  (the fields of session.start)
    ) -> Tally:
        tally = Tally(name=name, session_id=str(uuid.uuid4()))
        self._board.tallies[tally.session_id] = tally
        await client.start(
            source,
            session_id=tally.session_id,
            owner="recorder demo",
            labels={"demo": name},
            **options,
        )
        return tally

    async def _sealed(self, tally: Tally) -> Recording:
        await self._watcher.until(tally, "is sealed", lambda t: t.sealed is not None)
        sealed = tally.sealed
        if sealed is None or tally.failure:
            raise CheckFailedError(f"{tally.name}: sealed", tally.failure)
        found = (
            f"root {sealed.root_hash}, {sealed.frame_count} frames in {sealed.chunk_count} chunks, "
            f"{size(sealed.raw_bytes)} of pixels in {size(sealed.stored_bytes)}"
        )
        self._checklist.add(f"{tally.name}: sealed", found, ok=sealed.chunk_count > 0)
        folder = self._folder / keys.session_prefix(tally.session_id)
        await self._logged(tally, folder / keys.PROOF_SEAL)
        return Recording(tally.name, folder, sealed)

    async def _logged(self, tally: Tally, proof: Path) -> None:
        """Wait for the seal to stand in the log of sessions: a moment behind the seal itself."""
        try:
            async with asyncio.timeout(READY_S):
                while True:
                    if await asyncio.to_thread(proof.is_file):
                        return
                    await asyncio.sleep(0.1)
        except TimeoutError as error:
            raise CheckFailedError(
                f"{tally.name}: is in the log of sessions",
                f"expected the proof {proof}, found none after {READY_S:g} s",
            ) from error
