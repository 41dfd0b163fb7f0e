"""Decodes single keyframes with PyAV. What is in them was made by somebody else."""

from __future__ import annotations

import threading

import av
import numpy as np
from av.video.codeccontext import VideoCodecContext

from recorder_worker.core.errors import FormatError
from recorder_worker.core.frames.pictures import Picture
from recorder_worker.ports import Coding


class AvKeyframes:
    """`KeyframeDecoder` on FFmpeg. Each picture has a decoder of its own: nothing lives on in one.

    At most `at_once` pictures are decoded at a time, so that their memory has a limit too.
    """

    def __init__(self, max_pixels: int, at_once: int) -> None:
        self._max_pixels = max_pixels
        self._turns = threading.Semaphore(at_once)

    def picture(self, coding: Coding, data: bytes) -> Picture:
        """See `KeyframeDecoder.picture`."""
        with self._turns:
            try:
                return self._decoded(coding, data)
            except (av.error.FFmpegError, OSError, ValueError, MemoryError) as error:
                said = getattr(error, "strerror", "") or type(error).__name__
                raise FormatError(
                    f"expected a keyframe of at most {self._max_pixels} pixels "
                    f"(sources.max_pixels) that FFmpeg can decode, found {len(data)} bytes of "
                    f"{coding.codec} of which it says: {said}"
                ) from error

    def _decoded(self, coding: Coding, data: bytes) -> Picture:
        context = av.CodecContext.create(coding.codec, "r")
        if not isinstance(context, VideoCodecContext):
            raise TypeError(f"{coding.codec} is no video")
        if coding.parameters:
            context.extradata = coding.parameters
        context.thread_count = 1
        # A few bytes can stand for gigabytes: for such a picture no memory is asked for. By what
        # FFmpeg says then nobody can tell that from damage.
        context.options = {"max_pixels": str(self._max_pixels)}
        frames = [*context.decode(av.Packet(data)), *context.decode(None)]
        if not frames or frames[0].is_corrupt:
            raise ValueError("no whole picture")
        picture: Picture = np.ascontiguousarray(frames[0].to_ndarray(format="bgr24"), np.uint8)
        return picture
