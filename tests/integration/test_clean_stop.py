"""A worker that is told to stop while a thread of its is in OpenCV, and stays there for long."""

from __future__ import annotations

from pathlib import Path

from worker_process import WorkerProcess

BUSY = """
import builtins, sys, threading, time


def compute():
    import cv2, numpy as np

    cv2.setNumThreads(1)
    picture = np.zeros((400, 400), np.uint8)
    while True:
        cv2.fastNlMeansDenoising(picture)


class Late:
    def __del__(self, sleep=time.sleep):
        sleep(20)  # Python ends, and the thread comes back meanwhile


if "run" in sys.orig_argv:
    builtins.late = Late()
    threading.Thread(target=compute, daemon=True).start()
"""


def test_a_clean_stop_ends_with_0(tmp_path: Path) -> None:
    hook = tmp_path / "hook"
    hook.mkdir()
    (tmp_path / "worker").mkdir()
    (hook / "sitecustomize.py").write_text(BUSY)
    with WorkerProcess(tmp_path / "worker", env={"PYTHONPATH": str(hook)}) as worker:
        assert worker.terminate() == 0, worker.text
