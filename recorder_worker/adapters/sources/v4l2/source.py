"""A camera or grabber, by OpenCV's V4L2."""

from __future__ import annotations

import time
from typing import Final

from recorder_worker.adapters.sources.losses import Losses
from recorder_worker.adapters.sources.v4l2.grabber import DeviceFacts, Grabber
from recorder_worker.core.errors import SourceError, SourceLostError
from recorder_worker.core.model import GapReason, SourceClock, SourceFacts
from recorder_worker.core.sources.kinds import V4l2Source
from recorder_worker.ports import Frame

_LOOK_S: Final = 0.1
_CLOCK: Final = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


class V4l2Device:
    """Every frame that the device gives, or those of a lower rate. An `ports.ArrivingSource`."""

    def __init__(
        self, source: V4l2Source, *, path: str, fps: float | None, max_pixels: int
    ) -> None:
        """Open the device and wait for its first frame, for `timeout_s` in all.

        Raises:
            SourceError: it cannot be opened, or gave no frame in time.
        """
        self._path = path
        self._timeout_s = source.timeout_s
        self._losses = Losses()
        self._closed = self._held = False
        self._grabber = Grabber(source, path, fps, max_pixels)
        self._heard_ns = time.clock_gettime_ns(_CLOCK)
        self._grabber.wait(source.timeout_s)
        found = self._grabber.facts
        if found is None:
            self.close()
            raise SourceError(
                f"device {path}: expected a device that gives pictures, "
                + (self._grabber.failure or f"found no frame within {source.timeout_s:g} s")
            )
        self._facts = _facts(source, fps, found)

    @property
    def facts(self) -> SourceFacts:
        """What the device gives, whatever was wished for."""
        return self._facts

    def arrived(self, wait_s: float) -> bool:
        """Whether there is a frame, a loss to be told, or an end of it."""
        if self._closed or self._grabber.wait(wait_s):
            return True
        return self._tells(time.clock_gettime_ns(_CLOCK)) or bool(self._silence())

    def read(self) -> Frame:
        """The next frame.

        Raises:
            SourceLostError: the device has gone or gives nothing, or the source is closed.
            UnitsMissingError: frames came faster than they were read, or could not be decoded.
        """
        while not self.arrived(_LOOK_S):
            pass  # silence that is too long is something, too
        if self._closed:
            raise SourceLostError(f"device {self._path}: expected it open, found it closed")
        now_ns = time.clock_gettime_ns(_CLOCK)
        if self._tells(now_ns):
            raise self._losses.told(now_ns, now_ns)
        frame = self._grabber.take()
        if frame is None:
            why = self._grabber.failure or self._silence()
            raise SourceLostError(f"device {self._path}: expected frames, {why}")
        self._heard_ns = now_ns
        return frame

    def hold(self) -> None:
        """Throw away what comes; the device stays open."""
        self._held = True
        self._grabber.hold(held=True)

    def go_on(self) -> None:
        """Take what comes again."""
        self._held = False
        self._heard_ns = time.clock_gettime_ns(_CLOCK)
        self._grabber.hold(held=False)

    def close(self) -> None:
        """Let go of the device."""
        self._closed = True
        self._grabber.stop()

    def _tells(self, now_ns: int) -> bool:
        dropped, unreadable = self._grabber.lost()
        self._losses.add(
            GapReason.BACK_PRESSURE, dropped, "frames came faster than they are recorded"
        )
        self._losses.add(
            GapReason.SOURCE_LOST, unreadable, "frames of the device that OpenCV could not decode"
        )
        return self._losses.due(now_ns, at_once=self._held or bool(self._grabber.failure))

    def _silence(self) -> str:
        silent_s = (time.clock_gettime_ns(_CLOCK) - self._heard_ns) / 1e9
        if self._held or silent_s <= self._timeout_s:
            return ""
        return f"found none for {self._timeout_s:g} s; see whether it still has a signal"


def _facts(source: V4l2Source, fps: float | None, found: DeviceFacts) -> SourceFacts:
    rate = min(fps, found.frame_rate) if fps and found.frame_rate else fps or found.frame_rate
    wished = [
        *(
            [f"{source.width or '?'}x{source.height or '?'}"]
            if source.width or source.height
            else []
        ),
        *([source.fourcc] if source.fourcc else []),
        *([f"{fps:g} fps"] if fps else []),
    ]
    text = f"V4L2 device, {found.fourcc or 'unknown pixels'}, {found.width}x{found.height}"
    text += f" at {found.frame_rate:g} fps" if found.frame_rate else ", of unknown rate"
    return SourceFacts(
        kind="v4l2",
        uri=source.uri,
        description=text + (f"; wished for: {' '.join(wished)}" if wished else ""),
        width=found.width,
        height=found.height,
        clock=SourceClock.LIVE,
        frame_rate=rate,
    )
