"""Frames that another program publishes: decoded, and held against what they say."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import cv2
import numpy as np

from recorder_worker.adapters.sources.decoding import as_bgr, decode_picture, refused
from recorder_worker.adapters.sources.inbox import Inbox
from recorder_worker.core.errors import FormatError
from recorder_worker.core.frame_messages import FORMATS, FrameHeaders, frame_headers
from recorder_worker.core.frames.pictures import Picture
from recorder_worker.core.model import SourceClock, SourceFacts
from recorder_worker.core.sources.kinds import NatsSource
from recorder_worker.ports import Frame, FrameFeed

AGAIN_WAIT_S: Final = 1.0
_LOOK_S: Final = 0.1
_TO_BGR: Final = {
    "RGB": cv2.COLOR_RGB2BGR,
    "RGBA": cv2.COLOR_RGBA2BGR,
}


class PublishedFrames:
    """A subject on which frames come. Satisfies `ports.ArrivingSource`.

    Every frame is recorded, answered and counted, or missing with a reason: malformed, too many at
    once, or skipped in the publisher's own count (`Recorder-Sequence`).
    """

    def __init__(
        self,
        source: NatsSource,
        feed: FrameFeed,
        *,
        fps: float,
        max_pixels: int,
        again: bool = False,
    ) -> None:
        """Subscribe, and wait for the first frame.

        `again`: the source was there before. Whoever opens it tries for a while, and hears commands
        between, so that it is not waited for long; and it may have come to its end meanwhile.

        Raises:
            SourceError: the bus does not let us, or no frame that can be recorded came in time.
        """
        self._max_pixels = max_pixels
        self._inbox = Inbox(
            source, feed, noun="frame", headers=self._read_headers, make=self._frame
        )
        try:
            wait_s = min(source.timeout_s, AGAIN_WAIT_S) if again else source.timeout_s
            first = self._inbox.wait_for_first(wait_s, again=again)
        except BaseException:
            self.close()
            raise
        height, width = (0, 0) if first is None else first.picture.shape[:2]
        self._facts = SourceFacts(
            kind="nats",
            uri=source.uri,
            description=f"frames published on {source.uri}, the first {width}x{height}",
            width=width,
            height=height,
            clock=SourceClock.LIVE,
            frame_rate=fps,
        )

    @property
    def facts(self) -> SourceFacts:
        """The size is that of the first frame; the rate is the one that was asked for."""
        return self._facts

    def arrived(self, wait_s: float) -> bool:
        """Whether there is a frame, its end, a loss to be told, or silence that is too long."""
        return self._inbox.arrived(wait_s)

    def read(self) -> Frame | None:
        """The next frame; None behind the last, which its publisher has told.

        Raises:
            SourceLostError: silence, too many malformed frames, or the source is closed.
            UnitsMissingError: frames are missing here.
        """
        while not self._inbox.arrived(_LOOK_S):
            pass  # silence that is too long is something, too
        return self._inbox.read()

    def hold(self) -> None:
        """As the port."""
        self._inbox.hold()

    def go_on(self) -> None:
        """As the port."""
        self._inbox.go_on()

    def close(self) -> None:
        """Tell whoever still publishes that nobody records it."""
        self._inbox.close()

    def _read_headers(self, headers: Mapping[str, str], size: int) -> FrameHeaders:
        return frame_headers(headers, size, self._max_pixels)

    def _frame(self, headers: FrameHeaders, data: bytes, t_ns: int) -> Frame:
        return Frame(picture=self._picture(headers, data), t_ns=t_ns)

    def _picture(self, headers: FrameHeaders, data: bytes) -> Picture:
        if headers.content_type:
            try:
                return decode_picture(data, self._max_pixels)
            except FormatError as error:
                raise refused(error) from error
        shape = (headers.height, headers.width, FORMATS[headers.format])
        pixels = np.frombuffer(data, np.uint8).reshape(shape)
        conversion = _TO_BGR.get(headers.format)
        if conversion is not None:
            pixels = np.asarray(cv2.cvtColor(pixels, conversion), dtype=np.uint8)
        return as_bgr(pixels)
