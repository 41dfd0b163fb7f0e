"""Threads share glibc's arenas, as far as the operator says nothing else."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest
from worker_process import WorkerProcess

MOST = 2
COUNT_ARENAS = f"""
import ctypes
import os
from xml.etree import ElementTree

os.cpu_count = lambda: {MOST}


def count_arenas():
    libc = ctypes.CDLL(None)
    libc.open_memstream.restype = ctypes.c_void_p
    libc.fclose.argtypes = [ctypes.c_void_p]
    libc.malloc_info.argtypes = [ctypes.c_int, ctypes.c_void_p]
    text, size = ctypes.c_char_p(), ctypes.c_size_t()
    stream = libc.open_memstream(ctypes.byref(text), ctypes.byref(size))
    libc.malloc_info(0, stream)
    libc.fclose(stream)
    return len(ElementTree.fromstring(text.value).findall("heap"))
"""
"""malloc_info(3), as if with so few cores that there are always more threads than arenas.

What /proc/PID/maps has can't be told from stacks that begin where an arena may.
"""
FORTY_THREADS = """
import sys
from threading import Barrier, Thread

from recorder_worker.adapters.c_heap import share_arenas

if sys.argv[1] == "shared":
    share_arenas()
barrier = Barrier(40)


def take():
    ctypes.CDLL(None).malloc(100_000)
    barrier.wait()


threads = [Thread(target=take) for _ in range(40)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(count_arenas())
"""
TELL_AT_THE_END = """
import atexit
from pathlib import Path

atexit.register(lambda: Path(os.environ["ARENAS_FILE"]).write_text(str(count_arenas())))
"""


def arenas(how: str, **environment: str) -> int:
    ended = subprocess.run(
        [sys.executable, "-c", COUNT_ARENAS + FORTY_THREADS, how],
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
    )
    return int(ended.stdout)


def arenas_of_a_worker(folder: Path, **environment: str) -> int:
    """How many a worker had behind its start and its end."""
    hook, told = folder / "hook", folder / "arenas"
    hook.mkdir(parents=True)
    (hook / "sitecustomize.py").write_text(COUNT_ARENAS + TELL_AT_THE_END)
    hooked = {"PYTHONPATH": str(hook), "ARENAS_FILE": str(told)}
    with WorkerProcess(folder, env=hooked | environment) as worker:
        assert worker.terminate() == 0, worker.text
    return int(told.read_text())


pytestmark = pytest.mark.skipif(
    platform.libc_ver(sys.executable)[0] != "glibc", reason="arenas are glibc's"
)


def test_forty_threads_share_an_arena_for_each_core() -> None:
    assert arenas("shared") <= MOST < arenas("as it is")


def test_what_the_operator_has_set_stands() -> None:
    assert arenas("shared", MALLOC_ARENA_MAX="7") == arenas("as it is", MALLOC_ARENA_MAX="7") == 7


def test_a_worker_shares_them(tmp_path: Path) -> None:
    assert arenas_of_a_worker(tmp_path / "shared") <= MOST
    assert arenas_of_a_worker(tmp_path / "as it is", MALLOC_ARENA_MAX="16") > MOST
