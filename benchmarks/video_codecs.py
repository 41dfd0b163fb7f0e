"""Video encoders to compare with, through PyAV: one thread each, from BGR pictures to packets."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from typing import Any

import av
import msgspec
import numpy as np
from av.video.frame import PictureType

from recorder_worker.core.frames.pictures import Picture

FPS = 10


class VideoCodec(msgspec.Struct, frozen=True):
    """An encoder and its settings. `intra`: each frame by itself, so that a few are as good."""

    codec: str
    pixels: str
    options: dict[str, str]
    lossless: bool
    intra: bool = False

    def encode(self, pictures: Sequence[Picture]) -> bytes:
        """A Matroska file of the pictures."""
        out = io.BytesIO()
        height, width, _ = pictures[0].shape
        with av.open(out, "w", format="matroska") as container:
            stream: Any = container.add_stream(self.codec, rate=FPS, options=self.options)
            stream.width, stream.height, stream.pix_fmt = width, height, self.pixels
            stream.codec_context.thread_count = 1
            for nth, picture in enumerate(pictures):
                frame = av.VideoFrame.from_ndarray(picture, format="bgr24")
                frame = frame.reformat(format=self.pixels)
                # x264 obeys a frame that says what it is, and would make each a keyframe.
                frame.pict_type, frame.pts = PictureType.NONE, nth
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
        return out.getvalue()


def decoded(data: bytes) -> Iterator[Picture]:
    """The pictures of a file."""
    with av.open(io.BytesIO(data), "r") as container:
        for frame in container.decode(video=0):
            yield np.asarray(frame.to_ndarray(format="bgr24"))


_ONE_KEYFRAME = "keyint=infinite:threads=1"
LOSSY = VideoCodec(
    "libx264",
    "yuv420p",
    {"preset": "veryfast", "crf": "23", "x264-params": _ONE_KEYFRAME},
    lossless=False,
)
VIDEO_CODECS = {
    "x264rgb qp 0 ultrafast": VideoCodec(
        "libx264rgb",
        "bgr24",
        {"preset": "ultrafast", "qp": "0", "x264-params": _ONE_KEYFRAME},
        lossless=True,
    ),
    "FFV1": VideoCodec("ffv1", "bgr0", {"level": "3"}, lossless=True, intra=True),
    "x264 crf 23 veryfast, lossy": LOSSY,
}
