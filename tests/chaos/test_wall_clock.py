"""A process whose time is set: its wall clock jumps, and what it waits for does not."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from chaos.wall_clock import WallClock, clock_library

PROGRAM = """
import datetime, json, sys, time
for _ in sys.stdin:
    time.sleep(0.01)
    wall = [time.time(), time.time_ns() / 1e9, datetime.datetime.now().timestamp()]
    print(json.dumps([wall, time.monotonic()]), flush=True)
"""


def test_a_jump_is_seen_on_every_wall_clock_and_on_no_other(tmp_path: Path) -> None:
    library = clock_library(tmp_path)
    if library is None:
        pytest.skip("no C compiler here, which makes the clock that can be set")
    clock = WallClock(library, tmp_path / "clock")
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM],
        env=dict(os.environ) | clock.env,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        ahead_s = 0.0
        for jump_s in (0.0, 3600.0, -7200.0):
            clock.jump(jump_s)
            ahead_s += jump_s
            before = time.time(), time.monotonic()
            process.stdin.write("\n")
            process.stdin.flush()
            walls, monotonic = json.loads(process.stdout.readline())
            after = time.time(), time.monotonic()
            for wall in walls:
                assert before[0] - 1e-3 <= wall - ahead_s <= after[0] + 1e-3
            assert before[1] <= monotonic <= after[1]
        process.stdin.close()
