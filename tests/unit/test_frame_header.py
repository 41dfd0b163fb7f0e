"""The header of a frame record: what it holds, and what is refused."""

from __future__ import annotations

import struct

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recorder_worker.core.errors import FormatError, UnsupportedError
from recorder_worker.core.frames.header import (
    FRAMES_FORMAT,
    HEADER_SIZE,
    FrameHeader,
    pack_header,
    unpack_header,
)


def test_format_name_and_header_size_are_what_the_document_says() -> None:
    assert FRAMES_FORMAT == "tiles64-bgr"
    assert HEADER_SIZE == 34


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
    for encoding, least in ((1, header.mask_size), (2, 1)):
        whole = msgspec.structs.replace(
            header, encoding=encoding, payload_size=least + tiles * 12288
        )
        assert unpack_header(pack_header(whole)) == whole


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ((0, 1, 9, 9, 0, 0, 0, 1), UnsupportedError),
        ((3, 1, 9, 9, 0, 0, 0, 1), UnsupportedError),
        ((1, 0, 9, 9, 0, 0, 0, 1), UnsupportedError),
        ((1, 3, 9, 9, 0, 0, 0, 1), UnsupportedError),
        ((1, 1, 0, 9, 0, 0, 0, 1), FormatError),
        ((1, 1, 9, 0, 0, 0, 0, 1), FormatError),
        ((1, 1, 65535, 65535, 0, 0, 0, 131072), FormatError),
        ((1, 1, 9, 9, 0, 0, 0, 0), FormatError),
        ((1, 1, 9, 9, 0, 0, 0, 2), FormatError),
        ((1, 1, 9, 9, 0, 0, 0, 1 + 2 * 12288), FormatError),
        ((1, 2, 9, 9, 0, 0, 0, 0), FormatError),
        ((1, 2, 9, 9, 0, 0, 0, 1 + 16 + 2**22 + 2 + 12288 + 1), FormatError),
        ((1, 2, 9, 0, 0, 0, 0, 1), FormatError),
    ],
)
def test_a_header_that_no_encoder_writes_is_refused(
    fields: tuple[int, ...], error: type[FormatError]
) -> None:
    with pytest.raises(error, match="expected") as refused:
        unpack_header(struct.pack(">BBHHQQQI", *fields))
    assert type(refused.value) is error


def test_the_longest_payload_is_accepted() -> None:
    most = 1 + 16 + 2**22 + 2 + 12288
    header = unpack_header(struct.pack(">BBHHQQQI", 1, 2, 9, 9, 0, 0, 0, most))
    assert header.payload_size == most
