"""What ties the server to this process: a lock on its folder, and a signal when we die."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import fcntl
import os
import shutil
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from recorder_worker.core.errors import SettingsError

_PR_SET_PDEATHSIG = 1
_LOCK_WAIT_S = 10.0
_POLL_S = 0.05


async def take_lock(path: Path) -> int:
    """Lock a server's folder; returns the descriptor that holds the lock.

    nats-server itself takes no lock: two of them on one folder destroy each other's streams. The
    server inherits the descriptor, so that the lock lasts until both are gone; after a
    `kill -9` of a recorder its server may live a moment longer, which is waited for.

    Raises:
        SettingsError: another recorder has it.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
    deadline = asyncio.get_running_loop().time() + _LOCK_WAIT_S
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = _holder(descriptor)
            lives = holder is not None and _is_alive(holder)
            if not lives and asyncio.get_running_loop().time() < deadline:
                await asyncio.sleep(_POLL_S)
                continue
            os.close(descriptor)
            raise SettingsError(
                f"data_dir: expected {path.parent} for ourselves, found that another recorder"
                f"{f' (process {holder})' if holder else ''} runs on it; stop that one, or set "
                f"RECORDER_DATA_DIR to another directory, or RECORDER_NATS__URL to share its server"
            ) from None
        else:
            break
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
    return descriptor


def _holder(descriptor: int) -> int | None:
    with contextlib.suppress(ValueError, OSError):
        return int(os.pread(descriptor, 32, 0))
    return None


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def bound_command(command: Sequence[str]) -> tuple[list[str], Callable[[], None] | None]:
    """A command that gets SIGTERM when this process dies, and what to run in it before exec.

    Linux sends that signal when the *thread* that started the process ends, so it is asked for in
    the main thread only; elsewhere, and on other systems, a `kill -9` leaves the server running
    and the next start waits for its lock.
    """
    if sys.platform != "linux" or threading.current_thread() is not threading.main_thread():
        return list(command), None
    setpriv = shutil.which("setpriv")
    if setpriv is not None:
        # Preferred: nothing of ours runs between fork and exec, where another thread's lock
        # would never be released.
        return [setpriv, "--pdeathsig", "TERM", "--", *command], None
    libc = ctypes.CDLL(None, use_errno=True)
    parent = os.getpid()

    def ask_for_signal() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, int(signal.SIGTERM), 0, 0, 0)
        if os.getppid() != parent:
            os._exit(1)  # it died before the signal was asked for

    return list(command), ask_for_signal
