"""A camera or another RTSP server, decoded to pictures: the newest one whenever it is read."""

from __future__ import annotations

import threading
import time
from typing import Final

import av
import numpy as np
from av.codec.context import ThreadType
from av.video.stream import VideoStream

from recorder_worker.adapters.sources.guard import SourceGuard
from recorder_worker.adapters.sources.rtsp.input import RtspInput
from recorder_worker.core.errors import SourceError, SourceLostError
from recorder_worker.core.frames.pictures import Picture
from recorder_worker.core.model import SourceClock, SourceFacts
from recorder_worker.core.sources.kinds import RtspSource
from recorder_worker.ports import Frame

LOOK_S: Final = 0.2


class RtspPictures:
    """Satisfies `ports.FrameSource`. A thread decodes every packet; `read` takes the newest."""

    def __init__(self, source: RtspSource, guard: SourceGuard, *, fps: float) -> None:
        """Connect, and wait for the first picture.

        Raises:
            SourceForbiddenError: the rules do not allow the host.
            SourceError: there is no stream, no video, or no picture in time.
        """
        self._input = RtspInput(source, guard)
        self._stall_s = source.stall_s
        self._max_pixels = guard.max_pixels
        self._changed = threading.Condition()
        self._newest: Picture | None = None
        self._came = time.monotonic()
        self._end = ""
        self._closed = False
        threading.Thread(target=self._decode, name="rtsp pictures", daemon=True).start()
        with self._changed:
            left_s = max(0, self._input.link.left_s)
            self._changed.wait_for(lambda: self._newest is not None or self._end, left_s)
        picture, end = self._now()
        if picture is None:
            # Where time was over before FFmpeg had opened it, the link ended it, not the server.
            end = end if self._input.link.left_s > 0 else ""
            self.close()
            none = (
                f"expected a picture within {source.open_s:g} s, found none; have the camera send "
                "keyframes more often, or raise open_s"
            )
            raise SourceError(f"{self._input.name}: {end or none}")
        height, width, _ = picture.shape
        self._facts = SourceFacts(
            kind="rtsp",
            uri=self._input.uri,
            description=f"RTSP, decoded, {width}x{height}",
            width=width,
            height=height,
            clock=SourceClock.LIVE,
            frame_rate=fps,
        )

    @property
    def facts(self) -> SourceFacts:
        """The size is that of the first picture, the rate the one that was asked for."""
        return self._facts

    def read(self) -> Frame:
        """The newest picture.

        Raises:
            SourceLostError: the server is gone, or sent nothing for `stall_s`.
        """
        picture, end = self._now()
        came = self._came
        if picture is None or end:
            raise SourceLostError(f"{self._input.name}: {end or 'it is closed'}")
        if time.monotonic() - came > self._stall_s:
            self.close()
            raise SourceLostError(
                f"{self._input.name}: expected pictures, found none for {self._stall_s:g} s"
            )
        return Frame(picture=picture, t_ns=time.clock_gettime_ns(time.CLOCK_BOOTTIME))

    def _now(self) -> tuple[Picture | None, str]:
        with self._changed:
            return self._newest, self._end

    def close(self) -> None:
        """Hang up. The thread ends by that, and lets go of FFmpeg."""
        self._closed = True
        self._input.link.close()

    def _decode(self) -> None:
        container = self._input.container
        end = "it ended the stream"
        try:
            if not container.streams.video:
                end = "expected a video, found none"
                return
            stream = container.streams.video[0]
            if stream.codec_context.width * stream.codec_context.height > self._max_pixels:
                end = self._too_large()
                return
            stream.codec_context.thread_type = ThreadType.SLICE
            # A few bytes can stand for gigabytes: for such a picture no memory is asked for.
            stream.codec_context.options = {"max_pixels": str(self._max_pixels)}
            for packet in container.demux(stream):
                if self._closed:
                    return
                self._show(packet)
        except av.error.ArgumentError:
            end = self._too_large()  # what a decoder says that may not ask for so much memory
        except (OSError, ValueError, av.error.FFmpegError) as error:
            end = f"the connection broke ({getattr(error, 'strerror', '') or type(error).__name__})"
        finally:
            with self._changed:
                self._end = end
                self._changed.notify_all()
            self._input.link.close()
            container.close()

    def _too_large(self) -> str:
        return (
            f"expected pictures of at most {self._max_pixels} pixels (sources.max_pixels), found "
            "larger ones, or such as FFmpeg does not take"
        )

    def _show(self, packet: av.Packet[VideoStream]) -> None:
        try:
            frames = packet.decode()
        except av.error.InvalidDataError:
            return  # a damaged packet shows nothing; the next keyframe does
        for frame in frames:
            picture = np.ascontiguousarray(frame.to_ndarray(format="bgr24"), np.uint8)
            picture.flags.writeable = False
            with self._changed:
                self._newest, self._came = picture, time.monotonic()
                self._changed.notify_all()
