"""A few bytes that decode to gigabytes: a picture's size is what its decoder will find."""

from __future__ import annotations

import struct

import cv2
import numpy as np
import pytest

from recorder_worker.core.errors import FormatError
from recorder_worker.core.picture_header import picture_header

MAX_PIXELS = 1_000_000
SOF = b"\xff\xc0"


def jpeg(width: int, height: int) -> bytes:
    """A small picture that says that it is of another size."""
    _, encoded = cv2.imencode(".jpg", np.zeros((16, 16, 3), np.uint8))
    data = bytearray(encoded.tobytes())
    struct.pack_into(">HH", data, data.index(SOF) + 5, height, width)
    return bytes(data)


def test_a_size_behind_what_a_decoder_passes_over_is_not_hidden() -> None:
    # libjpeg passes over FF 00 and goes on at the next marker. Who takes it for a marker with a
    # length jumps over all of the real picture, to a size that nobody decodes.
    real, decoy = jpeg(12_000, 12_000), jpeg(16, 16)
    end = struct.pack(">H", 2 + len(real) - 2)
    bomb = real[:2] + b"\xff\x00" + end + real[2:] + decoy[decoy.index(SOF) :]
    with pytest.raises(FormatError, match="expected a marker"):
        picture_header(bomb, MAX_PIXELS)


def test_the_size_of_a_whole_picture_is_its_own() -> None:
    header = picture_header(jpeg(16, 16), MAX_PIXELS)
    assert (header.width, header.height) == (16, 16)
    with pytest.raises(FormatError, match="1 to 1000000 pixels"):
        picture_header(jpeg(12_000, 12_000), MAX_PIXELS)
