"""Payloads of encoding 2 that no recorder writes, and pointers that no record holds."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from literal_frames import differences
from reference_format import Problem
from reference_frames import Player

from recorder_worker.core.errors import FormatError
from recorder_worker.core.frames.encoder import FrameEncoder
from recorder_worker.core.frames.pictures import Pointer
from recorder_worker.core.frames.playback import DecodedFrame, FrameDecoder, scan_headers
from recorder_worker.core.frames.seeking import FrameSeeker

WIDTH, HEIGHT = 100, 60
PLACE = struct.pack(">ii", 5, -6)
SHAPE = struct.pack(">HHHH", 1, 0, 2, 1) + bytes(range(8))
SLOPE = np.broadcast_to((np.arange(64) * 5 % 256)[:, None], (64, 64, 3)).astype(np.int64)


def plain_tile() -> bytes:
    data = bytearray(12288)
    data[4] = 9
    return bytes(data)


def photo_tile() -> np.ndarray:
    tile = SLOPE.copy()
    tile[HEIGHT:] = 0
    tile[:, WIDTH - 64 :] = 0
    return tile


PHOTO = photo_tile().astype(np.uint8).tobytes()
PREDICTED = differences(photo_tile()).astype(np.uint8).tobytes()
BOTH = b"\xc0"
FIRST, SECOND, NONE = b"\x80", b"\x40", b"\x00"
START = b"\x07" + PLACE + SHAPE + FIRST + NONE + plain_tile()


def record(payload: bytes, *, kind: int = 2, unit: int = 1) -> bytes:
    return struct.pack(">BBHHQQQI", kind, 2, WIDTH, HEIGHT, unit, 0, 0, len(payload)) + payload


def decode(*records: bytes) -> list[DecodedFrame]:
    decoder = FrameDecoder()
    frames = list(decoder.feed(b"".join(records)))
    decoder.finish()
    return frames


def reference_refuses(*records: bytes) -> str:
    span = {"t0_ns": 0, "t1_ns": 1, "first_unit": 0, "unit_count": len(records)}
    raw_size = len(records) * WIDTH * HEIGHT * 3
    with pytest.raises(Problem) as refused:
        Player([]).play({"span": span, "keyframe": 1, "raw_size": raw_size}, b"".join(records))
    return str(refused.value)


def test_what_is_right_is_accepted() -> None:
    keyframe = record(START, kind=1, unit=0)
    photo = record(b"\x01" + SECOND + SECOND + PREDICTED)
    first, second = decode(keyframe, photo)
    assert (second.picture[:, 64:] == photo_tile()[:HEIGHT, :36]).all()
    assert second.pointer is first.pointer
    assert second.pointer is not None
    assert (second.pointer.x, second.pointer.y) == (5, -6)
    assert second.pointer.shape.tobytes() == bytes(range(8))
    assert not second.pointer.shape.flags.writeable


REFUSED = {
    "unknown parts": (b"\x08", "parts of at most 7"),
    "all bits": (b"\xff", "parts of at most 7"),
    "bytes behind no part": (b"\x00\x00", "found 1 more"),
    "bytes behind the pointer": (b"\x04" + struct.pack(">ii", 0, 0) + b"\x00", "found 1 more"),
    "no bitmaps": (b"\x01\x80", "2 bytes of tile bitmaps, found 1"),
    "no tile": (b"\x01" + NONE + NONE, "some changed tiles"),
    "a tile too few": (b"\x01" + BOTH + NONE + plain_tile(), "bytes of tiles, for 2 bits"),
    "a byte too many": (b"\x01" + SECOND + NONE + plain_tile() + b"\x00", "bytes of tiles"),
    "spare bits": (b"\x01\x41\x00" + plain_tile(), "spare bits"),
    "spare photo bits": (b"\x01\x40\x20" + plain_tile(), "spare bits"),
    "a photo that is no change": (
        b"\x01" + SECOND + FIRST + plain_tile(),
        "no other one predicted",
    ),
    "a photo as pixels": (b"\x01" + SECOND + NONE + PHOTO, "exactly the photo-like"),
    "text as differences": (b"\x01" + SECOND + SECOND + plain_tile(), "exactly the photo-like"),
    "a tile that is as before": (b"\x01" + FIRST + NONE + plain_tile(), "only tiles that changed"),
    "half a place": (b"\x04" + PLACE[:7], "8 bytes of a pointer, found 7"),
    "the same place": (b"\x04" + PLACE, "a pointer that moved"),
    "half a shape": (b"\x06" + PLACE + SHAPE[:-1], "all of them there"),
    "no sides": (b"\x06" + PLACE + SHAPE[:7], "8 bytes of a pointer, found 7"),
    "the same shape": (b"\x06" + PLACE + SHAPE, "shape that changed"),
    "the same shape elsewhere": (b"\x06" + bytes(8) + SHAPE, "shape that changed"),
    "one side": (b"\x06" + PLACE + struct.pack(">HHHH", 0, 0, 0, 1), "found 0x1"),
    "the other side": (b"\x06" + PLACE + struct.pack(">HHHH", 0, 0, 1, 0), "found 1x0"),
    "a large shape": (
        b"\x06" + PLACE + struct.pack(">HHHH", 0, 0, 1025, 1024) + bytes(4 * 1025),
        "found 1025x1024",
    ),
}


@pytest.mark.parametrize(("payload", "found"), REFUSED.values(), ids=REFUSED)
def test_a_delta_that_no_recorder_writes_is_refused(payload: bytes, found: str) -> None:
    keyframe = record(START, kind=1, unit=0)
    with pytest.raises(FormatError, match=found):
        decode(keyframe, record(payload))
    assert reference_refuses(keyframe, record(payload))


@pytest.mark.parametrize("code", [2, 4])
def test_a_keyframe_begins_without_a_pointer(code: int) -> None:
    begin = record(START, kind=1, unit=0)
    payload = bytes([code]) + PLACE * (code == 4)
    with pytest.raises(FormatError, match="for none is known"):
        decode(begin, record(payload, kind=1))
    assert reference_refuses(begin, record(payload, kind=1))
    assert decode(begin, record(b"\x00", kind=1))[1].pointer is None


def test_a_pointer_that_is_gone_cannot_go_again() -> None:
    begin, gone = record(START, kind=1, unit=0), record(b"\x02")
    assert decode(begin, gone)[1].pointer is None
    with pytest.raises(FormatError, match="for none is known"):
        decode(begin, gone, gone)
    with pytest.raises(FormatError, match="for none is known"):
        decode(begin, gone, record(b"\x04" + PLACE))


@pytest.mark.parametrize("at", [HEIGHT * 192, 36 * 3, 12287])
def test_bytes_that_differences_hide_outside_the_picture_are_refused(at: int) -> None:
    tile = photo_tile()
    tile.reshape(-1)[at] = 3
    payload = b"\x01" + SECOND + SECOND + differences(tile).astype(np.uint8).tobytes()
    with pytest.raises(FormatError, match="outside the picture"):
        decode(record(START, kind=1, unit=0), record(payload))


def pointer(shape: np.ndarray, *, x: int = 0, hot_x: int = 0) -> Pointer:
    return Pointer(x=x, y=0, hot_x=hot_x, hot_y=0, shape=shape)


@pytest.mark.parametrize(
    ("wrong", "found"),
    [
        (pointer(np.zeros((4, 4, 3), np.uint8)), r"\(4, 4, 3\)"),
        (pointer(np.zeros((4, 4), np.uint8)), r"\(4, 4\)"),
        (pointer(np.zeros((4, 4, 4), np.uint16)), "uint16"),
        (pointer(np.zeros((1025, 1024, 4), np.uint8)), "1024x1025"),
        (pointer(np.zeros((1, 65536, 4), np.uint8)), "65536x1"),
        (pointer(np.zeros((1, 1, 4), np.uint8), x=2**31), "found 2147483648"),
        (pointer(np.zeros((1, 1, 4), np.uint8), hot_x=-1), "found -1"),
    ],
)
def test_a_pointer_that_the_format_cannot_hold_is_refused_by_name(
    wrong: Pointer, found: str
) -> None:
    encoder = FrameEncoder()
    picture = np.zeros((9, 9, 3), np.uint8)
    with pytest.raises(FormatError, match=found):
        encoder.encode(picture, unit=0, t_ns=0, wall_ns=0, keyframe=True, pointer=wrong)


def test_a_pointer_costs_nothing_eight_bytes_or_its_shape() -> None:
    shape = np.random.default_rng(2).integers(0, 256, (256, 256, 4), np.uint8)
    encoder = FrameEncoder()
    sizes = [
        len(
            encoder.encode(
                np.zeros((9, 9, 3), np.uint8),
                unit=nth,
                t_ns=0,
                wall_ns=0,
                keyframe=nth == 4,
                pointer=pointer(shape, x=x),
            ).data
        )
        for nth, x in enumerate([0, 0, 1, 1, 1])
    ]
    whole = 35 + 16 + shape.nbytes
    assert sizes == [whole, 35, 43, 35, whole]


def test_the_caller_may_draw_another_shape_into_the_same_memory() -> None:
    shape = np.full((3, 3, 4), 7, np.uint8)
    picture = np.zeros((9, 9, 3), np.uint8)
    encoder, records = FrameEncoder(), []
    for value in (7, 8, 8):
        shape[:] = value
        encoded = encoder.encode(
            picture, unit=0, t_ns=0, wall_ns=0, keyframe=False, pointer=pointer(shape)
        )
        records.append(bytes(encoded.data))
    shapes = [frame.pointer.shape[0, 0, 0] for frame in decode(*records) if frame.pointer]
    assert shapes == [7, 8, 8]
    assert len(records[2]) == 35


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=40), st.sampled_from([0, 1]), st.data())
def test_no_payload_whatever_does_more_than_be_refused(
    said: bytes, parts: int, data: st.DataObject
) -> None:
    tiles = data.draw(st.sampled_from([b"", plain_tile(), PHOTO, PREDICTED]))
    damaged = record(bytes([parts | data.draw(st.integers(0, 7))]) + said + tiles)
    stream = record(START, kind=1, unit=0) + damaged
    try:
        frames = decode(stream)
    except FormatError:
        pass
    else:
        assert [frame.unit for frame in frames] == [0, 1]
    assert [header.unit for header in scan_headers([stream])] == [0, 1]
    try:
        found = FrameSeeker(1).feed(stream)
    except FormatError:
        return
    assert found is not None


def test_a_seek_refuses_what_it_cannot_reach() -> None:
    keyframe = record(START, kind=1, unit=3)
    with pytest.raises(FormatError, match="expected a keyframe"):
        FrameSeeker(1).feed(record(b"\x00"))
    with pytest.raises(FormatError, match="expected unit 2, found 3"):
        FrameSeeker(2).feed(keyframe)
    with pytest.raises(FormatError, match="parts of at most 7"):
        FrameSeeker(4).feed(keyframe + record(b"\x08", unit=4))
    assert FrameSeeker(4).feed(keyframe) is None
