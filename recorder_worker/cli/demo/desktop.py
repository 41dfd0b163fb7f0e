"""An X server without a screen, for the demo to record: Xvfb, on a display that it picks itself."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from recorder_worker.adapters.nats_server.lifeline import bound_command
from recorder_worker.core.errors import SourceError

PROGRAM = "Xvfb"
SCREEN = "800x600x24"
START_S = 30.0
STOP_S = 5.0
POLL_S = 0.02


def can_be_started() -> bool:
    """Whether Xvfb is installed."""
    return shutil.which(PROGRAM) is not None


@asynccontextmanager
async def x_server() -> AsyncIterator[str]:
    """A display's name while the `async with` lasts; the server ends with it, or when we die.

    Raises:
        SourceError: Xvfb does not come up.
    """
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    # -noreset: else the screen goes black when a client that painted it leaves.
    wanted = [PROGRAM, "-screen", "0", SCREEN, "-noreset", "-nolisten", "tcp"]
    command, before_exec = bound_command([*wanted, "-displayfd", str(writer)])
    try:
        process = await asyncio.create_subprocess_exec(
            *command,
            pass_fds=[writer],
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
            preexec_fn=before_exec,
            # Ctrl-C reaches a whole session, and we still have to end what records this one.
            start_new_session=True,
        )
    except BaseException:
        os.close(reader)
        raise
    finally:
        os.close(writer)
    try:
        yield f":{await _display(reader)}"
    finally:
        os.close(reader)
        await _end(process)


async def _display(reader: int) -> str:
    """The number that Xvfb writes once it can be connected to."""
    text = b""
    try:
        async with asyncio.timeout(START_S):
            while not text.endswith(b"\n"):
                try:
                    piece = os.read(reader, 64)
                except BlockingIOError:
                    await asyncio.sleep(POLL_S)
                    continue
                if not piece:
                    raise SourceError(
                        "Xvfb: expected it to start, found that it exited; run it by hand to see "
                        f"why: Xvfb -displayfd 1 -screen 0 {SCREEN}"
                    )
                text += piece
    except TimeoutError as error:
        raise SourceError(f"Xvfb: expected it to start within {START_S:g} s, it did not") from error
    return text.decode().strip()


async def _end(process: asyncio.subprocess.Process) -> None:
    with contextlib.suppress(ProcessLookupError):
        process.send_signal(signal.SIGTERM)
    try:
        await asyncio.wait_for(process.wait(), STOP_S)
    except TimeoutError:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
