"""The network between a worker and a server: a proxy that can be cut, stalled, slowed down."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Self

PIECE = 65536


class Proxy:
    """Listens on a free port of the loopback; `async with` runs it.

    Attributes:
        delay_s: how much later every piece comes, in both directions.
    """

    def __init__(self, server_port: int) -> None:
        self._server_port = server_port
        self._server: asyncio.Server | None = None
        self._links: set[asyncio.Task[None]] = set()
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._is_cut = False
        self.delay_s = 0.0
        self.port = 0

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self.cut()
        if self._server is not None:
            self._server.close()

    def cut(self) -> None:
        """Connections break, and new ones are closed at once."""
        self._is_cut = True
        for link in tuple(self._links):
            link.cancel()

    def stall(self) -> None:
        """Nothing is passed on any more, and nobody is told: what a firewall does that drops."""
        self._flowing.clear()

    def heal(self) -> None:
        """As it was; what was held back is passed on."""
        self._is_cut = False
        self.delay_s = 0.0
        self._flowing.set()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        link = asyncio.current_task()
        assert link is not None
        self._links.add(link)
        try:
            if not self._is_cut:
                await self._join(reader, writer)
        except asyncio.CancelledError:
            pass  # it was cut; nobody waits for this task
        finally:
            self._links.discard(link)
            writer.transport.abort()

    async def _join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there, back = await asyncio.open_connection("127.0.0.1", self._server_port)
        except OSError:
            return
        ways = [
            asyncio.create_task(self._pass_on(reader, back)),
            asyncio.create_task(self._pass_on(there, writer)),
        ]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            back.transport.abort()

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while piece := await reader.read(PIECE):
                if self.delay_s:
                    await asyncio.sleep(self.delay_s)
                await self._flowing.wait()
                writer.write(piece)
                await writer.drain()
