"""Frames that another program publishes: decoded, held against what they say, and answered."""

from __future__ import annotations

import time
from typing import Final

import cv2
import numpy as np

from recorder_worker.adapters.sources.decoding import as_bgr, decode_picture
from recorder_worker.adapters.sources.frame_order import FrameOrder
from recorder_worker.adapters.sources.losses import Losses
from recorder_worker.core.errors import (
    FormatError,
    RefusedError,
    SourceError,
    SourceLostError,
)
from recorder_worker.core.frame_messages import (
    FORMATS,
    FrameAnswer,
    FrameHeaders,
    FrameStatus,
    frame_headers,
)
from recorder_worker.core.frames.pictures import Picture
from recorder_worker.core.model import GapReason, SourceClock, SourceFacts
from recorder_worker.core.sources.kinds import NatsSource
from recorder_worker.ports import Frame, FrameFeed, PublishedFrame

MOST_REFUSED: Final = 10
"""Malformed frames in a row: then whoever publishes is no source of pictures any more."""
AGAIN_WAIT_S: Final = 1.0
_LOOK_S: Final = 0.1
_CLOCK: Final = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
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
        self._uri = source.uri
        self._max_pixels = max_pixels
        self._timeout_ns = round(source.timeout_s * 1e9)
        self._order = FrameOrder()
        self._losses = Losses()
        self._refused_in_row = 0
        self._newest = ""
        self._ahead: tuple[Frame, PublishedFrame] | None = None
        self._ended = self._held = self._closed = False
        self._lost = ""
        self._accepted = 0
        self._silent_ns = 0
        self._messages = feed.subscribe(source.uri)
        try:
            wait_s = min(source.timeout_s, AGAIN_WAIT_S) if again else source.timeout_s
            width, height = self._wait_for_first(wait_s, again=again)
        except BaseException:
            self.close()
            raise
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
        if self._closed or self._something():
            return True
        begin_ns = time.clock_gettime_ns(_CLOCK)
        message = self._messages.take(wait_s)
        # Only while somebody listens: a publisher who waits for our answer publishes nothing.
        self._silent_ns += time.clock_gettime_ns(_CLOCK) - begin_ns
        if message is not None:
            self._silent_ns = 0
            self._handle(message)
        elif not self._held and self._silent_ns > self._timeout_ns:
            self._lost = (
                f"subject {self._uri}: expected a frame within {self._timeout_ns / 1e9:g} s, found "
                "none; see whether its publisher runs, or give a longer timeout_s"
            )
        self._count_dropped()
        return self._something()

    def read(self) -> Frame | None:
        """The next frame; None behind the last, which its publisher has told.

        Raises:
            SourceLostError: silence, too many malformed frames, or the source is closed.
            UnitsMissingError: frames are missing here.
        """
        while not self.arrived(_LOOK_S):
            pass  # silence that is too long is something, too
        if self._closed:
            raise SourceLostError(f"subject {self._uri}: expected an open source, found it closed")
        now_ns = time.clock_gettime_ns(_CLOCK)
        if self._losses.due(now_ns, at_once=self._is_over()):
            raise self._losses.told(now_ns, self._ahead[0].t_ns if self._ahead else now_ns)
        if self._ahead is not None:
            (frame, message), self._ahead = self._ahead, None
            self._accepted += 1
            message.answer(FrameAnswer(status=FrameStatus.ACCEPTED, frame=self._accepted))
            return frame
        if self._lost:
            raise SourceLostError(self._lost)
        return None

    def hold(self) -> None:
        """As the port."""
        self._held = True
        self._messages.hold()

    def go_on(self) -> None:
        """As the port."""
        self._held = False
        self._silent_ns = 0
        self._messages.go_on()

    def close(self) -> None:
        """Tell whoever still publishes that nobody records it."""
        if self._ahead is not None:
            self._ahead[1].answer(FrameAnswer(status=FrameStatus.ENDED))
            self._ahead = None
        self._closed = True
        self._messages.close()

    # --- one message ----------------------------------------------------------------------------

    def _something(self) -> bool:
        now_ns = time.clock_gettime_ns(_CLOCK)
        told = self._losses.due(now_ns, at_once=self._is_over())
        return bool(self._ahead or self._ended or self._lost) or told

    def _is_over(self) -> bool:
        return self._held or self._ended or bool(self._lost)

    def _handle(self, message: PublishedFrame) -> None:
        try:
            headers = frame_headers(message.headers, len(message.data), self._max_pixels)
        except RefusedError as error:
            self._order.counted_already(1)  # its own count could not be read
            self._refuse(message, error)
            return
        try:
            if headers.end:
                self._ended = True
                message.answer(FrameAnswer(status=FrameStatus.ACCEPTED, frame=self._accepted))
                return
            if self._order.repeats(headers):
                message.answer(FrameAnswer(status=FrameStatus.DUPLICATE, frame=self._accepted))
                return
            self._count_skipped(self._order.skipped(headers))
            t_ns = self._order.time_of(headers, message.arrived_ns)
            picture = self._picture(headers, message.data)
        except RefusedError as error:
            self._refuse(message, error)
            return
        self._order.took(headers)
        self._refused_in_row = 0
        self._ahead = Frame(picture=picture, t_ns=t_ns), message

    def _picture(self, headers: FrameHeaders, data: bytes) -> Picture:
        if headers.content_type:
            try:
                return decode_picture(data, self._max_pixels)
            except FormatError as error:
                what, _, hint = str(error).removeprefix("expected ").rpartition("; ")
                expected, _, got = what.partition(", found ")
                raise RefusedError(field="$", expected=expected, got=got, hint=hint) from error
        shape = (headers.height, headers.width, FORMATS[headers.format])
        pixels = np.frombuffer(data, np.uint8).reshape(shape)
        conversion = _TO_BGR.get(headers.format)
        if conversion is not None:
            pixels = np.asarray(cv2.cvtColor(pixels, conversion), dtype=np.uint8)
        return as_bgr(pixels)

    def _refuse(self, message: PublishedFrame, error: RefusedError) -> None:
        refusal = error.refusal
        message.answer(
            FrameAnswer(
                status=FrameStatus.REFUSED,
                frame=self._accepted,
                field=refusal.field,
                expected=refusal.expected,
                got=refusal.got,
                hint=refusal.hint,
            )
        )
        self._newest = str(error)
        self._losses.add(GapReason.SOURCE_LOST, 1, f"a frame that was refused: {error}")
        self._refused_in_row += 1
        if self._refused_in_row >= MOST_REFUSED:
            self._lost = (
                f"subject {self._uri}: expected frames that can be recorded, found {MOST_REFUSED} "
                f"in a row that cannot; of the last: {error}"
            )

    def _count_skipped(self, count: int) -> None:
        text = "frames that its publisher counts and that did not arrive"
        self._losses.add(GapReason.SOURCE_LOST, count, text)

    def _count_dropped(self) -> None:
        dropped = self._messages.dropped()
        self._order.counted_already(dropped)
        text = "frames came faster than they are recorded; publish as requests, and fewer at once"
        self._losses.add(GapReason.BACK_PRESSURE, dropped, text)

    # --- the begin ------------------------------------------------------------------------------

    def _wait_for_first(self, wait_s: float, *, again: bool) -> tuple[int, int]:
        """The size of the first frame. What was wrong before it is answered, and no loss."""
        end_ns = time.clock_gettime_ns(_CLOCK) + round(wait_s * 1e9)
        while self._ahead is None:
            left_s = (end_ns - time.clock_gettime_ns(_CLOCK)) / 1e9
            if self._ended and again:
                return 0, 0
            if left_s <= 0 or self._lost or self._ended:
                raise SourceError(self._lost or self._nothing_came(wait_s))
            message = self._messages.take(left_s)
            if message is not None:
                self._handle(message)
        self._losses = Losses()
        self._messages.dropped()
        height, width, _ = self._ahead[0].picture.shape
        return width, height

    def _nothing_came(self, wait_s: float) -> str:
        refused = f"only such as are refused ({self._newest})" if self._newest else "none"
        found = "the end that its publisher tells" if self._ended else refused
        return (
            f"subject {self._uri}: expected a first frame within {wait_s:g} s, found {found}; "
            "start its publisher, or give a longer timeout_s"
        )
