"""Single keyframes become pictures, whatever they are and whoever made them."""

from __future__ import annotations

import itertools
import os
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import av
import numpy as np
import pytest
from quality_pictures import noisy, scene

from recorder_worker.adapters.keyframes import AvKeyframes
from recorder_worker.core.errors import FormatError
from recorder_worker.core.frames.pictures import Picture
from recorder_worker.ports import Coding

SIZE = (160, 90)
ENCODERS = {"h264": "libx264", "hevc": "libx265", "mjpeg": "mjpeg"}
ROOM = 256 * 128
"""Pixels: FFmpeg counts those with which it fills up lines and columns, too."""


def encoded(codec: str, *, apart: bool = False) -> tuple[Coding, bytes]:
    """A keyframe; `apart`: its parameter sets are not in it."""
    encoder: Any = av.CodecContext.create(ENCODERS[codec], "w")
    encoder.width, encoder.height = SIZE
    encoder.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
    encoder.time_base = Fraction(1, 10)
    encoder.options = {} if codec == "mjpeg" else {"x265-params": "log-level=none"}
    if apart:
        encoder.flags |= av.codec.context.Flags.global_header
    frame = av.VideoFrame.from_ndarray(scene(SIZE), format="bgr24")
    frame.pts = 0
    made = [*encoder.encode(frame.reformat(format=encoder.pix_fmt)), *encoder.encode(None)]
    parameters = bytes(encoder.extradata or b"") if apart else b""
    return Coding(codec, parameters), bytes(made[0])


@pytest.mark.parametrize(
    ("codec", "apart"),
    [("h264", False), ("h264", True), ("hevc", False), ("hevc", True), ("mjpeg", False)],
)
def test_a_keyframe_is_decoded_by_itself(codec: str, apart: bool) -> None:
    coding, data = encoded(codec, apart=apart)
    assert bool(coding.parameters) == apart
    picture = AvKeyframes(ROOM, 1).picture(coding, data)
    assert picture.shape == (*SIZE[::-1], 3)
    assert picture.dtype == np.uint8
    assert float(np.abs(picture.astype(np.int16) - scene(SIZE)).mean()) < 12


def keyframes_of(shown: Sequence[Picture], **options: str) -> list[Picture]:
    """What is decoded of pictures that are a keyframe each (x264)."""
    encoder: Any = av.CodecContext.create("libx264", "w")
    encoder.width, encoder.height = SIZE
    encoder.pix_fmt, encoder.gop_size = "yuv420p", 1
    encoder.time_base, encoder.framerate = Fraction(1, 10), Fraction(10)
    encoder.bit_rate = int(options.pop("rate", 0))
    encoder.options = {"preset": "ultrafast", "tune": "zerolatency", **options}
    made: list[Any] = []
    for number, picture in enumerate(shown):
        frame = av.VideoFrame.from_ndarray(picture, format="bgr24")
        frame.pts = number
        made += encoder.encode(frame.reformat(format="yuv420p"))
    decoder = AvKeyframes(ROOM, 1)
    made += encoder.encode(None)
    return [decoder.picture(Coding("h264", b""), bytes(packet)) for packet in made]


def test_of_a_frozen_picture_keyframes_are_equal_where_the_encoder_keeps_a_quality() -> None:
    """What docs/quality.md says of `frozen`, also where it cannot be told."""
    frozen = [noisy(scene(SIZE), 2, 1)] * 20
    live = [noisy(scene(SIZE), 2, seed) for seed in range(20)]
    assert equal_pairs(keyframes_of(frozen, qp="28")) == 19
    assert equal_pairs(keyframes_of(live, qp="28")) == 0
    assert equal_pairs(keyframes_of(frozen, rate="60000")) < 10


def equal_pairs(shown: Sequence[Picture]) -> int:
    return sum(np.array_equal(*pair) for pair in itertools.pairwise(shown))


@pytest.mark.parametrize("codec", list(ENCODERS))
def test_a_picture_with_more_pixels_than_allowed_is_not_decoded(codec: str) -> None:
    coding, data = encoded(codec)
    with pytest.raises(FormatError, match=r"at most 10000 pixels \(sources\.max_pixels\)"):
        AvKeyframes(10_000, 1).picture(coding, data)


@pytest.mark.parametrize("codec", list(ENCODERS))
def test_what_is_no_picture_is_refused_and_the_next_one_is_decoded(codec: str) -> None:
    coding, data = encoded(codec)
    decoder = AvKeyframes(ROOM, 1)
    for wrong in (os.urandom(2000), b"\0\0\0\1", b"", data[:8]):
        with pytest.raises(FormatError, match="that FFmpeg can decode, found"):
            decoder.picture(coding, wrong)
    assert decoder.picture(coding, data).shape == (*SIZE[::-1], 3)


def test_a_codec_that_nobody_knows_is_refused() -> None:
    with pytest.raises(FormatError, match="bytes of mpeg9"):
        AvKeyframes(ROOM, 1).picture(Coding("mpeg9", b""), b"x")
