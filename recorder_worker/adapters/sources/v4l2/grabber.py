"""A thread that takes frames from a V4L2 device as they come, by OpenCV.

OpenCV waits for a driver as long as the driver likes. So nobody waits for OpenCV: it has a thread
of its own, and who wants a frame waits for that thread, and no longer than he wants. A thread that
hangs in a driver is left behind; it ends when the driver lets it go.
"""

from __future__ import annotations

import math
import os
import threading
import time
from collections import deque
from pathlib import Path
from typing import Final

import cv2
import msgspec
import numpy as np

from recorder_worker.adapters.sources.decoding import as_bgr
from recorder_worker.core.errors import FormatError
from recorder_worker.core.sources.kinds import V4l2Source
from recorder_worker.ports import Frame

MOST_FRAMES: Final = 8
"""What is kept until the reader takes it: about a quarter of a second of a camera."""
STOP_S: Final = 0.5
MOST_UNREADABLE: Final = 30
"""Frames in a row that cannot be decoded."""
_SECOND_NS: Final = 1_000_000_000
_CLOCK: Final = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


class DeviceFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What a device gives, whatever was wished for; a rate of 0 where it does not say."""

    width: int
    height: int
    frame_rate: float
    fourcc: str


class Grabber:
    """Grabs until it is told to stop, or cannot any more; then `failure` says why."""

    def __init__(self, source: V4l2Source, path: str, fps: float | None, max_pixels: int) -> None:
        self._source = source
        self._path = path
        self._fps = fps
        self._max_pixels = max_pixels
        self._changed = threading.Condition()
        self._frames: deque[Frame] = deque()
        self._dropped = self._unreadable = 0
        self._held = self._stopped = False
        self._due_ns = 0
        self.failure = ""
        self.facts: DeviceFacts | None = None
        self._thread = threading.Thread(target=self._run, name="v4l2", daemon=True)
        self._thread.start()

    # --- for the reader -------------------------------------------------------------------------

    def wait(self, wait_s: float) -> bool:
        """Whether a frame is there, or the device has failed; waits so long for that."""
        with self._changed:
            return bool(
                self._changed.wait_for(
                    lambda: self._frames or self.failure or self._stopped, wait_s
                )
            )

    def take(self) -> Frame | None:
        """The oldest frame."""
        with self._changed:
            return self._frames.popleft() if self._frames else None

    def lost(self) -> tuple[int, int]:
        """Frames since the last call that had no room, and that could not be decoded."""
        with self._changed:
            counts = self._dropped, self._unreadable
            self._dropped = self._unreadable = 0
            return counts

    def hold(self, *, held: bool) -> None:
        """Whether frames that come are thrown away, for nobody wants them now."""
        with self._changed:
            self._held = held

    def stop(self) -> None:
        """Let go of the device; one that does not let go of the thread is not waited for.

        But for a moment: one that comes out of OpenCV while Python ends takes the process down.
        """
        with self._changed:
            self._stopped = True
            self._frames.clear()
            self._changed.notify_all()
        self._thread.join(STOP_S)

    # --- the thread -----------------------------------------------------------------------------

    def _run(self) -> None:
        capture: cv2.VideoCapture | None = None
        try:
            capture = open_device(self._path)
            if not capture.isOpened():
                self._fail(why_not_opened(self._path))
                return
            self._wish(capture)
            self._grab(capture)
        except (cv2.error, OSError, FormatError) as error:
            self._fail(f"found {error}")
        finally:
            if capture is not None:
                capture.release()

    def _wish(self, capture: cv2.VideoCapture) -> None:
        """The kind of pixels first, for sizes and rates depend on it."""
        source = self._source
        wishes = {
            cv2.CAP_PROP_FOURCC: source.fourcc and cv2.VideoWriter.fourcc(*source.fourcc),
            cv2.CAP_PROP_FRAME_WIDTH: source.width,
            cv2.CAP_PROP_FRAME_HEIGHT: source.height,
            cv2.CAP_PROP_FPS: self._fps,
        }
        for name, value in wishes.items():
            if value:
                capture.set(name, value)

    def _grab(self, capture: cv2.VideoCapture) -> None:
        unreadable = 0
        while not self._stopped and unreadable < MOST_UNREADABLE:
            if not capture.grab():
                self._fail("found that it has gone, or gives none any more")
                return
            t_ns = time.clock_gettime_ns(_CLOCK)
            if self.facts is not None and not self._is_due(t_ns):
                continue
            decoded, picture = capture.retrieve()
            if not decoded or picture is None:
                unreadable += 1
                with self._changed:
                    self._unreadable += not self._held
                continue
            unreadable = 0
            if self.facts is None:
                self.facts = self._describe(capture, np.asarray(picture))
            # A copy where it is one already costs little: the capture's own memory is used again.
            self._put(Frame(picture=as_bgr(np.asarray(picture)).copy(), t_ns=t_ns))
        if not self._stopped:
            self._fail(f"found {MOST_UNREADABLE} frames in a row that OpenCV cannot decode")

    def _describe(self, capture: cv2.VideoCapture, picture: np.ndarray) -> DeviceFacts:
        height, width = picture.shape[:2]
        if width * height > self._max_pixels:
            raise FormatError(
                f"{width}x{height}, more than {self._max_pixels} pixels (sources.max_pixels)"
            )
        rate = capture.get(cv2.CAP_PROP_FPS)
        code = int(capture.get(cv2.CAP_PROP_FOURCC)).to_bytes(8, "little", signed=True)[:4]
        return DeviceFacts(
            width=width,
            height=height,
            frame_rate=rate if math.isfinite(rate) and rate > 0 else 0.0,
            fourcc="".join(chr(byte) for byte in code if 32 < byte < 127),
        )

    def _is_due(self, t_ns: int) -> bool:
        """Whether a frame is the first at or behind a multiple of the rate that was asked for."""
        if self._fps is None or (self.facts and 0 < self.facts.frame_rate <= self._fps):
            return True
        if t_ns < self._due_ns:
            return False
        period = math.floor(t_ns * self._fps / _SECOND_NS) + 1
        self._due_ns = math.ceil(period * _SECOND_NS / self._fps)
        return True

    def _put(self, frame: Frame) -> None:
        with self._changed:
            if self._held or self._stopped:
                return
            if len(self._frames) >= MOST_FRAMES:
                self._dropped += 1
                return
            self._frames.append(frame)
            self._changed.notify_all()

    def _fail(self, why: str) -> None:
        with self._changed:
            self.failure = why
            self._changed.notify_all()


def open_device(path: str) -> cv2.VideoCapture:
    """OpenCV's capture of a device, which may be none."""
    before = cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    try:
        return cv2.VideoCapture(path, cv2.CAP_V4L2)
    finally:
        cv2.utils.logging.setLogLevel(before)


def why_not_opened(path: str) -> str:
    """What a person has to know: OpenCV says only that it did not."""
    if not Path(path).exists():
        here = sorted(str(found) for found in Path("/dev").glob("video*"))
        return f"found nothing there; devices of this machine: {', '.join(here) or 'none'}"
    if not os.access(path, os.R_OK | os.W_OK):
        return (
            f"found that user id {os.geteuid()} may not read and write it; add it to the group "
            "of the device, mostly `video`"
        )
    return "found one that gives no pictures, or that another program has; see v4l2-ctl --all"
