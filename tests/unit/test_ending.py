"""The end of a process that has a thread in OpenCV: in processes of their own, which really end."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

PROGRAM = """
import builtins, sys, threading, time
import cv2, numpy as np
from recorder_worker.cli.ending import Ending

ending, begun = Ending(), threading.Event()


def compute():
    begun.set()
    cv2.fastNlMeansDenoising(np.zeros((2000, 2000), np.uint8))


class Late:
    def __init__(self, thread):
        self.thread = thread

    def __del__(self, sleep=time.sleep):
        sleep(30)  # Python ends, and the thread comes back meanwhile


if "thread" in sys.argv:
    thread = threading.Thread(target=compute, daemon=True)
    builtins.late = Late(thread)
    thread.start()
    begun.wait()
print("done", end="")
if "well" in sys.argv:
    ending.well()
if "error" in sys.argv:
    sys.exit(7)
"""


def ended(*words: str) -> tuple[int, str]:
    process = subprocess.run(
        [sys.executable, "-c", PROGRAM, *words], capture_output=True, text=True, check=False
    )
    return process.returncode, process.stdout


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("thread", "well"), 0),
        (("thread",), -signal.SIGABRT),  # what it is for
        (("well",), 0),
        (("error",), 7),
    ],
)
def test_a_process_that_has_ended_well_has_no_other_end(words: tuple[str, ...], code: int) -> None:
    assert ended(*words) == (code, "done")
