"""`recorder run`: a worker with all stages, or some."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Coroutine
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer

from recorder_worker.adapters.c_heap import share_arenas
from recorder_worker.cli.ending import Ending
from recorder_worker.cli.settings_option import ConfigOption, load_settings

if TYPE_CHECKING:
    from recorder_worker.service.settings.tree import Settings


class StageName(StrEnum):
    """The stages that can be run alone."""

    CAPTURE = "capture"
    CHUNK = "chunk"
    COMPRESS = "compress"
    MERKLE = "merkle"


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command("run")(run)


def run(
    stages: Annotated[
        list[StageName] | None,
        typer.Argument(help="The stages to run in this process; none means those of the settings."),
    ] = None,
    config: ConfigOption = None,
) -> None:
    """Run a worker until SIGTERM or Ctrl-C.

    With `nats.url` empty, all stages together bring an embedded nats-server along, which listens
    on loopback at `nats.port`, so that `nats pub` just works beside it. Single stages connect to
    127.0.0.1 at `nats.port`.

    Examples:
    - `recorder run`: everything in one process

    - `recorder run capture`: one stage; start as many as you like

    - `RECORDER_NATS__URL=nats://hub:4222 recorder run compress merkle`
    """
    ending = Ending()
    share_arenas()
    settings = load_settings(config)
    if stages:
        settings = msgspec.structs.replace(settings, stages=tuple(s.value for s in stages))
    asyncio.run(serve(settings))
    ending.well()


async def serve(settings: Settings) -> None:
    """Run a worker until it is told to stop.

    Raises:
        BusUnavailableError: NATS ended the connection for good.
    """
    from recorder_worker.service.observing import logs  # noqa: PLC0415  (only this command logs)
    from recorder_worker.service.worker import Worker  # noqa: PLC0415  (loads everything)

    logs.configure(settings.log)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    worker = Worker(settings)
    try:
        await worker.start()
        await _first_of(stop.wait(), worker.until_lost())
    finally:
        await worker.stop()


async def _first_of(*waits: Coroutine[Any, Any, object]) -> None:
    """Wait for one of them, and raise what it raises."""
    tasks = [asyncio.create_task(wait) for wait in waits]
    done, others = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in others:
        task.cancel()
    for task in done:
        task.result()
