"""The encoder and the record: bit exact, canonical, and refusing what it cannot hold."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from recorder_worker.core.errors import FormatError, UnsupportedError
from recorder_worker.core.frames import (
    FRAMES_FORMAT,
    HEADER_SIZE,
    EncodedFrame,
    FrameEncoder,
    FrameHeader,
    pack_header,
    unpack_header,
)
from recorder_worker.core.playback import FrameDecoder
from recorder_worker.core.tiles import changed_tiles

Picture = NDArray[np.uint8]


def noise(width: int, height: int, seed: int = 0) -> Picture:
    return np.random.default_rng(seed).integers(1, 256, (height, width, 3), np.uint8)


def encode(encoder: FrameEncoder, picture: Picture, *, keyframe: bool = False) -> EncodedFrame:
    return encoder.encode(picture, unit=7, t_ns=8, wall_ns=9, keyframe=keyframe)


def literal_record(picture: Picture, previous: Picture, *, keyframe: bool) -> bytes:
    """docs/format.md, followed pixel by pixel and sharing nothing with the encoder."""
    height, width = picture.shape[:2]
    bits, tiles = "", b""
    for top in range(0, height, 64):
        for left in range(0, width, 64):
            here = picture[top : top + 64, left : left + 64]
            before = previous[top : top + 64, left : left + 64]
            differs = here.tobytes() != before.tobytes()
            bits += "01"[differs]
            if differs:
                for y in range(64):
                    row = here[y].tobytes() if y < here.shape[0] else b""
                    tiles += row.ljust(192, b"\0")
    bits = bits.ljust(-(-len(bits) // 8) * 8, "0")
    mask = bytes(int(bits[at : at + 8], 2) for at in range(0, len(bits), 8))
    payload = mask + tiles
    return (
        struct.pack(">BBHHQQQI", 1 if keyframe else 2, 1, width, height, 7, 8, 9, len(payload))
        + payload
    )


def test_format_name_and_header_size_are_what_the_document_says() -> None:
    assert FRAMES_FORMAT == "tiles64-bgr"
    assert HEADER_SIZE == 34


def test_the_examples_of_the_document_hold() -> None:
    encoder = FrameEncoder()
    picture = np.array([[[1, 2, 3], [4, 5, 6]]], np.uint8)
    first = encoder.encode(picture, unit=7, t_ns=8, wall_ns=9, keyframe=True)
    again = encoder.encode(picture, unit=8, t_ns=10, wall_ns=11, keyframe=False)
    assert first.data == bytes.fromhex(
        "01 01 0002 0001 0000000000000007 0000000000000008 0000000000000009 00003001"
        "80 01 02 03 04 05 06"
    ) + bytes(12282)
    assert again.data == bytes.fromhex(
        "02 01 0002 0001 0000000000000008 000000000000000a 000000000000000b 00000001 00"
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


@st.composite
def clips(draw: st.DrawFn) -> list[tuple[Picture, bool]]:
    """Pictures that change in a few places, with now and then a keyframe or another size."""
    clip: list[tuple[Picture, bool]] = []
    picture = noise(draw(st.integers(1, 200)), draw(st.integers(1, 200)), draw(st.integers(0, 9)))
    for _ in range(draw(st.integers(1, 6))):
        if draw(st.integers(0, 4)) == 0:
            picture = np.zeros((draw(st.integers(1, 150)), draw(st.integers(1, 150)), 3), np.uint8)
        picture = picture.copy()
        for _ in range(draw(st.integers(0, 3))):
            y = draw(st.integers(0, picture.shape[0] - 1))
            x = draw(st.integers(0, picture.shape[1] - 1))
            picture[y : y + 70, x : x + 70] = draw(st.integers(0, 255))
        clip.append((picture, draw(st.booleans())))
    return clip


@settings(max_examples=60, deadline=None)
@given(clips())
def test_what_is_encoded_is_decoded_bit_exact_and_canonical(
    clip: list[tuple[Picture, bool]],
) -> None:
    encoder, decoder = FrameEncoder(), FrameDecoder()
    previous = np.zeros((0, 0, 3), np.uint8)
    for picture, keyframe in clip:
        record = encode(encoder, picture, keyframe=keyframe)
        assert record.keyframe == (keyframe or picture.shape != previous.shape)
        reference = np.zeros_like(picture) if record.keyframe else previous
        assert record.data == literal_record(picture, reference, keyframe=record.keyframe)
        (frame,) = decoder.feed(record.data)
        assert np.array_equal(frame.picture, picture)
        assert (frame.unit, frame.t_ns, frame.wall_ns) == (7, 8, 9)
        previous = picture
    decoder.finish()


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
        assert np.array_equal(changed_tiles(other, base), expected)


def test_an_8k_picture_is_bit_exact() -> None:
    picture = np.zeros((4320, 7680, 3), np.uint8)
    picture[4319, 7679] = 1
    picture[2000:2100, 100:5000] = noise(4900, 100)
    encoder, decoder = FrameEncoder(), FrameDecoder()
    record = encode(encoder, picture)
    (frame,) = decoder.feed(record.data)
    assert np.array_equal(frame.picture, picture)
    assert len(record.data) < picture.size // 10


def test_black_costs_nothing_but_the_bitmap() -> None:
    record = encode(FrameEncoder(), np.zeros((1080, 1920, 3), np.uint8))
    assert record.keyframe
    assert record.changed_tiles == 0
    assert len(record.data) == HEADER_SIZE + 64


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


@given(
    st.builds(
        FrameHeader,
        keyframe=st.booleans(),
        width=st.integers(1, 2000),
        height=st.integers(1, 2000),
        unit=st.integers(0, 2**64 - 1),
        t_ns=st.integers(0, 2**64 - 1),
        wall_ns=st.integers(0, 2**64 - 1),
        payload_size=st.just(0),
    ),
    st.floats(0, 1),
)
def test_headers_survive_the_wire(header: FrameHeader, fullness: float) -> None:
    rows, columns = header.grid
    tiles = int(rows * columns * fullness)
    size = header.mask_size + tiles * 12288
    whole = FrameHeader(
        keyframe=header.keyframe,
        width=header.width,
        height=header.height,
        unit=header.unit,
        t_ns=header.t_ns,
        wall_ns=header.wall_ns,
        payload_size=size,
    )
    assert unpack_header(pack_header(whole)) == whole
    assert whole.changed_tiles == tiles


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ((0, 1, 9, 9, 0, 0, 0, 1), UnsupportedError),
        ((3, 1, 9, 9, 0, 0, 0, 1), UnsupportedError),
        ((1, 2, 9, 9, 0, 0, 0, 1), UnsupportedError),
        ((1, 1, 0, 9, 0, 0, 0, 1), FormatError),
        ((1, 1, 9, 0, 0, 0, 0, 1), FormatError),
        ((1, 1, 65535, 65535, 0, 0, 0, 131072), FormatError),
        ((1, 1, 9, 9, 0, 0, 0, 0), FormatError),
        ((1, 1, 9, 9, 0, 0, 0, 2), FormatError),
        ((1, 1, 9, 9, 0, 0, 0, 1 + 2 * 12288), FormatError),
    ],
)
def test_a_header_that_no_encoder_writes_is_refused(
    fields: tuple[int, ...], error: type[FormatError]
) -> None:
    with pytest.raises(error, match="expected") as refused:
        unpack_header(struct.pack(">BBHHQQQI", *fields))
    assert type(refused.value) is error
