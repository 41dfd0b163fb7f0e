"""The first opening of a source in a lease: waited for until it is there, or the worker stops."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

from recorder_worker.core.errors import LeaseReleasedError
from recorder_worker.ports import FrameSource, PacketSource
from recorder_worker.stages.capture.reading.opening import Opening

S = TypeVar("S", bound=FrameSource | PacketSource)

TAKEN_WITHIN_S = 5.0
"""What the opener has returned is there at once; this only bounds a defect."""


async def first_opened(opener: Callable[[int], S], unit: int, release: asyncio.Event) -> S:
    """What `opener` gives for a unit.

    In a thread of its own, which nobody waits for when the process ends: cameras that do not answer
    must hold up neither other sessions nor a worker that stops.

    Raises:
        LeaseReleasedError: `release` came first. What the try still brings is closed.
    """
    loop, over = asyncio.get_running_loop(), asyncio.Event()

    def opened(at: int) -> S:
        try:
            return opener(at)
        finally:
            with suppress(RuntimeError):  # the loop has ended, and with it whoever waited
                loop.call_soon_threadsafe(over.set)

    opening = Opening(opened, unit)
    waits = [asyncio.ensure_future(event.wait()) for event in (over, release)]
    try:
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        source = opening.result(TAKEN_WITHIN_S) if over.is_set() else None
        if source is None:
            raise LeaseReleasedError(
                "this worker is shutting down while the source is opened; another one goes on"
            )
        return source
    finally:
        for wait in waits:
            wait.cancel()
        opening.abandon()
