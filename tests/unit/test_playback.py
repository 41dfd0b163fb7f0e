"""The decoder: any split of the stream, strict about every byte; and the header scanner."""

from __future__ import annotations

import itertools
import struct
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from recorder_worker.core.errors import FormatError, UnsupportedError
from recorder_worker.core.frames.encoder import FrameEncoder
from recorder_worker.core.frames.header import HEADER_SIZE
from recorder_worker.core.frames.playback import FrameDecoder, scan_headers

Picture = NDArray[np.uint8]


def pictures() -> list[Picture]:
    """Five frames with a change, a repetition, a resize and a return to black."""
    rng = np.random.default_rng(3)
    first = rng.integers(1, 256, (70, 100, 3), np.uint8)
    second = first.copy()
    second[69, 99] = 0
    resized = rng.integers(1, 256, (64, 64, 3), np.uint8)
    return [first, second, second, resized, np.zeros_like(resized)]


def stream_of(frames: list[Picture]) -> bytes:
    encoder = FrameEncoder()
    return b"".join(
        encoder.encode(p, unit=n, t_ns=n * 10, wall_ns=n * 100, keyframe=False).data
        for n, p in enumerate(frames)
    )


STREAM = stream_of(pictures())
KEYFRAME = stream_of(pictures()[:1])


def decode(data: bytes) -> list[Picture]:
    decoder = FrameDecoder()
    decoded = [frame.picture.copy() for frame in decoder.feed(data)]
    decoder.finish()
    return decoded


def pieces_of(data: bytes, cuts: list[int]) -> Iterator[memoryview]:
    edges = sorted({0, len(data), *(cut % len(data) for cut in cuts)})
    for begin, end in itertools.pairwise(edges):
        yield memoryview(data)[begin:end]


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, len(STREAM)), max_size=40))
def test_any_split_of_the_stream_gives_the_same_frames(cuts: list[int]) -> None:
    decoder = FrameDecoder()
    frames = []
    for piece in pieces_of(STREAM, cuts):
        frames += [(f.unit, f.t_ns, f.wall_ns, f.picture.copy()) for f in decoder.feed(piece)]
    decoder.finish()
    expected = pictures()
    assert [f[:3] for f in frames] == [(n, n * 10, n * 100) for n in range(len(expected))]
    assert all(np.array_equal(f[3], p) for f, p in zip(frames, expected, strict=True))


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, len(STREAM)), max_size=40))
def test_any_split_of_the_stream_gives_the_same_headers(cuts: list[int]) -> None:
    headers = list(scan_headers(pieces_of(STREAM, cuts)))
    assert [h.unit for h in headers] == [0, 1, 2, 3, 4]
    assert [h.keyframe for h in headers] == [True, False, False, True, False]
    assert [(h.width, h.height) for h in headers] == [(100, 70)] * 3 + [(64, 64)] * 2


def test_byte_by_byte_gives_the_same_frames() -> None:
    data = stream_of([np.full((3, 5, 3), 9, np.uint8)] * 3)
    decoder = FrameDecoder()
    units = [f.unit for at in range(len(data)) for f in decoder.feed(data[at : at + 1])]
    decoder.finish()
    assert units == [0, 1, 2]


def test_frames_that_were_not_iterated_come_with_the_next_feed() -> None:
    decoder = FrameDecoder()
    decoder.feed(STREAM[:-1])
    assert [f.unit for f in decoder.feed(STREAM[-1:])] == [0, 1, 2, 3, 4]


def test_the_caller_may_reuse_the_memory_that_it_fed() -> None:
    buffer = bytearray(STREAM)
    decoder = FrameDecoder()
    frames = decoder.feed(memoryview(buffer))
    buffer[:] = bytes(len(buffer))
    assert np.array_equal(next(frames).picture, pictures()[0])


def test_pictures_are_contiguous_and_read_only_at_every_width() -> None:
    for width in (1, 63, 64, 65, 128):
        (frame,) = FrameDecoder().feed(stream_of([np.full((66, width, 3), 5, np.uint8)]))
        assert frame.picture.flags.c_contiguous
        assert not frame.picture.flags.writeable
        with pytest.raises(ValueError, match="read-only"):
            frame.picture[0, 0] = 0


@settings(max_examples=40, deadline=None)
@given(st.integers(1, len(STREAM) - 1))
def test_a_truncated_stream_is_never_taken_for_a_whole_one(cut: int) -> None:
    boundaries = []
    at = 0
    for header in scan_headers([STREAM]):
        at += HEADER_SIZE + header.payload_size
        boundaries.append(at)
    if cut in boundaries:
        assert len(decode(STREAM[:cut])) == boundaries.index(cut) + 1
        return
    with pytest.raises(FormatError, match="cut short"):
        decode(STREAM[:cut])
    with pytest.raises(FormatError, match="cut short"):
        list(scan_headers([STREAM[:cut]]))


def test_bytes_behind_the_end_are_refused() -> None:
    with pytest.raises(FormatError, match="end"):
        decode(STREAM + b"\x01")


def test_a_decoder_that_was_fed_nothing_finishes() -> None:
    FrameDecoder().finish()
    assert list(scan_headers([])) == []


def test_a_delta_without_a_keyframe_is_refused() -> None:
    keyframe_size = len(KEYFRAME)
    with pytest.raises(FormatError, match="no frame before it"):
        decode(STREAM[keyframe_size:])


def test_a_delta_of_another_size_is_refused() -> None:
    delta = struct.pack(">BBHHQQQI", 2, 2, 99, 70, 1, 0, 0, 1) + b"\x00"
    with pytest.raises(FormatError, match=r"99x70 in encoding 2, found 100x70"):
        decode(KEYFRAME + delta)


def test_a_delta_of_another_encoding_is_refused() -> None:
    delta = struct.pack(">BBHHQQQI", 2, 1, 100, 70, 1, 0, 0, 1) + b"\x00"
    with pytest.raises(FormatError, match="in encoding 1, found 100x70 in encoding 2"):
        decode(KEYFRAME + delta)


def test_a_header_only_scan_may_begin_with_a_delta() -> None:
    assert [h.unit for h in scan_headers([STREAM[len(KEYFRAME) :]])] == [1, 2, 3, 4]


# --- encoding 1, of older recordings; what encoding 2 adds is in test_frame_payload.py ------------


def record(mask: bytes, tiles: bytes, *, kind: int = 1, width: int = 60, height: int = 50) -> bytes:
    header = struct.pack(">BBHHQQQI", kind, 1, width, height, 0, 0, 0, len(mask) + len(tiles))
    return header + mask + tiles


def tile(at: int) -> bytes:
    """A tile that is zero but for one byte."""
    data = bytearray(12288)
    data[at] = 1
    return bytes(data)


def test_spare_bits_of_the_bitmap_are_refused() -> None:
    with pytest.raises(FormatError, match="spare bits"):
        decode(record(b"\xc0", tile(0)))
    with pytest.raises(FormatError, match="spare bits"):
        decode(record(b"\x01", b""))


def test_a_bitmap_that_contradicts_the_payload_size_is_refused() -> None:
    with pytest.raises(FormatError, match="bits set"):
        decode(record(b"\x80", b""))
    with pytest.raises(FormatError, match="bits set"):
        decode(record(b"\x00", tile(0)))


@pytest.mark.parametrize("at", [60 * 3, 191, 50 * 192, 12287, 49 * 192 + 180])
def test_bytes_hidden_outside_the_picture_are_refused(at: int) -> None:
    visible = bytearray(tile(at))
    visible[0] = 7
    with pytest.raises(FormatError, match="outside the picture"):
        decode(record(b"\x80", bytes(visible)))


@pytest.mark.parametrize("at", [0, 179, 49 * 192 + 179])
def test_the_last_visible_bytes_of_an_edge_tile_are_accepted(at: int) -> None:
    (picture,) = decode(record(b"\x80", tile(at)))
    assert picture[at // 192, at % 192 // 3, at % 3] == 1
    assert picture.sum() == 1


def test_a_tile_that_did_not_change_is_refused() -> None:
    with pytest.raises(FormatError, match="only tiles that changed"):
        decode(record(b"\x80", bytes(12288)))
    with pytest.raises(FormatError, match="only tiles that changed"):
        decode(record(b"\x80", tile(4)) + record(b"\x80", tile(4), kind=2))


def test_a_keyframe_begins_from_black_whatever_was_before() -> None:
    first, second = decode(record(b"\x80", tile(0)) + record(b"\x80", tile(4)))
    assert first[0, 0, 0] == 1
    assert second[0, 0, 0] == 0
    assert second[0, 1, 1] == 1


def test_an_unknown_kind_in_mid_stream_is_unsupported() -> None:
    with pytest.raises(UnsupportedError, match="kind"):
        decode(STREAM + b"\x09" + bytes(HEADER_SIZE))


@settings(max_examples=150, deadline=None)
@given(st.integers(0, len(KEYFRAME) - 1), st.integers(0, 7))
def test_no_two_streams_have_one_reading(at: int, bit: int) -> None:
    damaged = bytearray(KEYFRAME)
    damaged[at] ^= 1 << bit
    decoder = FrameDecoder()
    try:
        frames = list(decoder.feed(bytes(damaged)))
        decoder.finish()
    except FormatError:
        return
    (original,) = FrameDecoder().feed(KEYFRAME)
    (frame,) = frames
    same_times = (frame.unit, frame.t_ns, frame.wall_ns) == (0, 0, 0)
    assert not (same_times and np.array_equal(frame.picture, original.picture))
