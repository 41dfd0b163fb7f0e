"""Threads share glibc's arenas, as far as the operator says nothing else."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest
from worker_process import WorkerProcess

HEAP_BYTES = 64 * 2**20
"""What an arena of a thread begins with: reserved at a multiple of its size."""
FORTY_THREADS = """
import ctypes
import sys
from threading import Barrier, Thread
from xml.etree import ElementTree

from recorder_worker.adapters.c_heap import share_arenas

if sys.argv[1] == "shared":
    share_arenas()
libc = ctypes.CDLL(None)
libc.malloc.restype = libc.open_memstream.restype = ctypes.c_void_p
libc.fclose.argtypes = [ctypes.c_void_p]
libc.malloc_info.argtypes = [ctypes.c_int, ctypes.c_void_p]
barrier = Barrier(40)


def take():
    libc.malloc(100_000)
    barrier.wait()


threads = [Thread(target=take) for _ in range(40)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
text, size = ctypes.c_char_p(), ctypes.c_size_t()
stream = libc.open_memstream(ctypes.byref(text), ctypes.byref(size))
libc.malloc_info(0, stream)
libc.fclose(stream)
print(len(ElementTree.fromstring(text.value).findall("heap")))
"""


def arenas(how: str, **environment: str) -> int:
    ended = subprocess.run(
        [sys.executable, "-c", FORTY_THREADS, how],
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
    )
    return int(ended.stdout)


pytestmark = pytest.mark.skipif(
    platform.libc_ver(sys.executable)[0] != "glibc", reason="arenas are glibc's"
)


def test_forty_threads_share_an_arena_for_each_core() -> None:
    most = max(2, os.cpu_count() or 1)
    assert arenas("shared") <= most < arenas("as it is")


def test_what_the_operator_has_set_stands() -> None:
    assert arenas("shared", MALLOC_ARENA_MAX="7") == arenas("as it is", MALLOC_ARENA_MAX="7") == 7


def test_a_worker_shares_them(tmp_path: Path) -> None:
    with WorkerProcess(tmp_path) as worker:
        maps = Path(f"/proc/{worker.pid}/maps").read_text(encoding="ascii").splitlines()
    unnamed = [line.split()[0].split("-") for line in maps if len(line.split()) == 5]
    heaps = [begin for begin, _ in unnamed if int(begin, 16) % HEAP_BYTES == 0]
    assert 1 <= len(heaps) < max(2, os.cpu_count() or 1)
