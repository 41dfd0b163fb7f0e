"""Threads that decode the same type for the first time at once: no process may die of it."""

from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAM = """
import sys, threading
sys.setswitchinterval(1e-6)
from recorder_worker.core.errors import RecorderError
from {module} import {function}

together = threading.Barrier(4)

def decode():
    together.wait()
    try:
        {function}({arguments})
    except (RecorderError, ValueError):
        pass

threads = [threading.Thread(target=decode) for _ in range(4)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
"""
CASES = [
    (
        "recorder_worker.stages.capture.session.manifest",
        "decode_manifest",
        """b'{"command":{"source":{"kind":"pattern"}},"source":{},"policy":{},"encryption":{}}'""",
    ),
    ("recorder_worker.core.cipher.declared", "declared_encryption", """b'{"encryption":{}}'"""),
]


@pytest.mark.parametrize(("module", "function", "arguments"), CASES)
def test_the_first_one_may_be_several(module: str, function: str, arguments: str) -> None:
    program = PROGRAM.format(module=module, function=function, arguments=arguments)
    for _ in range(3):
        ended = subprocess.run([sys.executable, "-c", program], capture_output=True, check=False)
        assert ended.returncode == 0, ended.stderr.decode()
