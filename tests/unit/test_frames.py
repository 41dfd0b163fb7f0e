"""The encoder and the record: bit exact, canonical, and refusing what it cannot hold."""

from __future__ import annotations

import numpy as np
import pytest
from literal_frames import literal_record

from recorder_worker.core.errors import FormatError
from recorder_worker.core.frames.encoder import EncodedFrame, FrameEncoder
from recorder_worker.core.frames.header import HEADER_SIZE
from recorder_worker.core.frames.pictures import Picture, Pointer
from recorder_worker.core.frames.playback import FrameDecoder
from recorder_worker.core.frames.tiles import Bands, changed_tiles


def noise(width: int, height: int, seed: int = 0) -> Picture:
    return np.random.default_rng(seed).integers(1, 256, (height, width, 3), np.uint8)


def encode(encoder: FrameEncoder, picture: Picture, *, keyframe: bool = False) -> EncodedFrame:
    return encoder.encode(picture, unit=7, t_ns=8, wall_ns=9, keyframe=keyframe)


def red_pixel(x: int, y: int) -> Pointer:
    return Pointer(x=x, y=y, hot_x=0, hot_y=0, shape=np.array([[[0, 0, 128, 128]]], np.uint8))


def test_the_examples_of_the_document_hold() -> None:
    encoder = FrameEncoder()
    picture = np.array([[[1, 2, 3], [4, 5, 6]]], np.uint8)
    first = encoder.encode(picture, unit=7, t_ns=8, wall_ns=9, keyframe=True)
    again, shown, moved = (
        encoder.encode(picture, unit=8, t_ns=10, wall_ns=11, keyframe=False, pointer=pointer)
        for pointer in (None, red_pixel(-1, 0), red_pixel(1, 0))
    )
    assert first.data == bytes.fromhex(
        "01 02 0002 0001 0000000000000007 0000000000000008 0000000000000009 00003003"
        "01 80 00 01 02 03 04 05 06"
    ) + bytes(12282)
    assert again.data == bytes.fromhex(
        "02 02 0002 0001 0000000000000008 000000000000000a 000000000000000b 00000001 00"
    )
    assert shown.data == bytes.fromhex(
        "02 02 0002 0001 0000000000000008 000000000000000a 000000000000000b 00000015"
        "06 ffffffff 00000000 0000 0000 0001 0001 00 00 80 80"
    )
    assert moved.data == bytes.fromhex(
        "02 02 0002 0001 0000000000000008 000000000000000a 000000000000000b 00000009"
        "04 00000001 00000000"
    )


@pytest.mark.parametrize(
    ("width", "height"),
    [(1, 1), (37, 41), (64, 64), (65, 63), (128, 1), (1, 200), (200, 130), (513, 70)],
)
def test_records_are_those_of_the_document_at_every_size(width: int, height: int) -> None:
    encoder = FrameEncoder()
    black = np.zeros((height, width, 3), np.uint8)
    first = noise(width, height)
    second = first.copy()
    second[-1, -1, 2] ^= 1
    second[0, width // 2, 0] ^= 128
    assert encode(encoder, first, keyframe=True).data == literal_record(first, black, keyframe=True)
    assert encode(encoder, second).data == literal_record(second, first, keyframe=False)
    assert encode(encoder, second).data == literal_record(second, second, keyframe=False)
    assert encode(encoder, second, keyframe=True).data == literal_record(
        second, black, keyframe=True
    )


def test_every_single_bit_of_every_single_pixel_is_seen() -> None:
    height, width = 66, 67
    base = noise(width, height)
    rng = np.random.default_rng(1)
    for bit in range(8):
        y, x, channel = rng.integers(height), rng.integers(width), rng.integers(3)
        other = base.copy()
        other[y, x, channel] ^= 1 << bit
        expected = np.zeros((2, 2), bool)
        expected[y // 64, x // 64] = True
        assert np.array_equal(changed_tiles(Bands(other), base.reshape(height, -1)), expected)


def test_an_8k_picture_is_bit_exact() -> None:
    picture = np.zeros((4320, 7680, 3), np.uint8)
    picture[4319, 7679] = 1
    picture[2000:2100, 100:5000] = noise(4900, 100)
    encoder, decoder = FrameEncoder(), FrameDecoder()
    record = encode(encoder, picture)
    (frame,) = decoder.feed(record.data)
    assert np.array_equal(frame.picture, picture)
    assert len(record.data) < picture.size // 10


def test_black_costs_nothing_but_the_header() -> None:
    record = encode(FrameEncoder(), np.zeros((1080, 1920, 3), np.uint8))
    assert record.keyframe
    assert record.changed_tiles == 0
    assert len(record.data) == HEADER_SIZE + 1


def test_the_callers_picture_may_be_reused() -> None:
    encoder = FrameEncoder()
    picture = noise(100, 100)
    encode(encoder, picture)
    before = picture.copy()
    picture[:] = 0
    assert encode(encoder, before).changed_tiles == 0


def test_memory_that_is_not_aligned_is_encoded_alike() -> None:
    backing = np.zeros(70 * 65 * 3 + 1, np.uint8)
    odd = backing[1:].reshape(70, 65, 3)
    odd[:] = noise(65, 70)
    assert encode(FrameEncoder(), odd).data == encode(FrameEncoder(), odd.copy()).data


@pytest.mark.parametrize(
    ("picture", "found"),
    [
        (np.zeros((4, 4), np.uint8), "(4, 4)"),
        (np.zeros((4, 4, 4), np.uint8), "(4, 4, 4)"),
        (np.zeros((4, 4, 3), np.uint16), "uint16"),
        (np.zeros((4, 8, 3), np.uint8)[:, ::2], "not contiguous"),
        (np.zeros((0, 4, 3), np.uint8), "4x0"),
        (np.zeros((1, 70000, 3), np.uint8), "70000x1"),
        (np.broadcast_to(np.zeros((1, 1, 3), np.uint8), (9, 9, 3)), "not contiguous"),
    ],
)
def test_a_picture_that_the_format_cannot_hold_is_refused_by_name(
    picture: Picture, found: str
) -> None:
    with pytest.raises(FormatError, match="expected") as refused:
        encode(FrameEncoder(), picture)
    assert found in str(refused.value)


def test_a_refused_frame_leaves_the_encoder_as_it_was() -> None:
    encoder = FrameEncoder()
    picture = noise(70, 70)
    encode(encoder, picture)
    with pytest.raises(FormatError, match="unit"):
        encoder.encode(noise(9, 9), unit=2**64, t_ns=0, wall_ns=0, keyframe=True)
    with pytest.raises(FormatError, match="t_ns"):
        encoder.encode(noise(9, 9), unit=0, t_ns=-1, wall_ns=0, keyframe=True)
    again = encode(encoder, picture)
    assert (again.keyframe, again.changed_tiles) == (False, 0)
