"""What an encoded picture says of itself before anybody decodes it: its kind and its size.

A few bytes can decode to gigabytes, and a decoder gives a picture that was cut short as if the rest
of it were grey. So what is read here is held against a limit first, and what shows that a picture
is not whole is looked for: checksums and end of a PNG, the end of a JPEG, the length of a WebP and
of a BMP.
"""

from __future__ import annotations

import struct
import zlib
from typing import Final

import msgspec

from recorder_worker.core.errors import FormatError

PICTURE_TYPES: Final = {
    "png": "image/png",
    "jpeg": "image/jpeg",
    "webp": "image/webp",
    "bmp": "image/bmp",
}
"""Kinds of pictures that can be recorded, and their media types."""

MAX_SIDE: Final = 65535
"""Pixels; what a frame record has room for."""

_PNG: Final = b"\x89PNG\r\n\x1a\n"
_START_OF_FRAME: Final = frozenset({*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC})
_WITHOUT_LENGTH: Final = frozenset({0x01, *range(0xD0, 0xD9)})
_KINDS: Final = ", ".join(name.upper() for name in PICTURE_TYPES)


class PictureHeader(msgspec.Struct, frozen=True):
    """A picture's kind, one of `PICTURE_TYPES`, and its size in pixels."""

    kind: str
    width: int
    height: int


def picture_header(data: bytes, max_pixels: int) -> PictureHeader:
    """The kind and size of an encoded picture that is all there.

    Raises:
        FormatError: it is of no known kind, is damaged or cut short, or has more pixels.
    """
    kind = _kind(data)
    try:
        width, height = _SIZES[kind](data)
    except (struct.error, IndexError) as error:
        raise FormatError(
            f"expected a whole {kind.upper()} picture, found one that ends within its header, "
            f"behind {len(data)} bytes; was it copied whole?"
        ) from error
    fits = width * height <= max_pixels and max(width, height) <= MAX_SIDE
    if not (width and height and fits):
        raise FormatError(
            f"expected 1 to {max_pixels} pixels (sources.max_pixels), at most {MAX_SIDE} a side, "
            f"found {width}x{height}; make the picture smaller, or raise the limit if there is room"
        )
    return PictureHeader(kind, width, height)


def _kind(data: bytes) -> str:
    if data.startswith(_PNG):
        return "png"
    if data.startswith(b"\xff\xd8\xff"):
        return "jpeg"
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "webp"
    if data.startswith(b"BM"):
        return "bmp"
    found = f"bytes that begin with {data[:8].hex(' ')}" if data else "0 bytes"
    raise FormatError(f"expected a picture ({_KINDS}), found {found}; convert it to one of these")


def _png_size(data: bytes) -> tuple[int, int]:
    """Every chunk's checksum is tried: 8-bit samples only, for others would lose their depth."""
    offset, name = len(_PNG), b""
    while name != b"IEND":
        size, name = struct.unpack_from(">I4s", data, offset)
        end = offset + 12 + size
        (crc,) = struct.unpack_from(">I", data, end - 4)
        if zlib.crc32(memoryview(data)[offset + 4 : end - 4]) != crc:
            raise FormatError(
                f"expected the checksum of the PNG chunk at byte {offset} to be right, found it "
                "wrong; the picture is damaged"
            )
        offset = end
    width, height, depth = struct.unpack_from(">IIB", data, 16)
    if depth > 8:
        raise FormatError(
            f"expected at most 8 bits a sample, found {depth}; convert the PNG to 8 bits"
        )
    return width, height


def _jpeg_size(data: bytes) -> tuple[int, int]:
    offset = 2
    while True:
        while data[offset] == 0xFF:
            offset += 1
        marker = data[offset]
        offset += 1
        if marker == 0:  # a decoder passes over it, and finds another size behind it than we would
            raise FormatError(
                f"expected a marker of the JPEG at byte {offset - 2}, found none; the picture is "
                "damaged"
            )
        if marker in _START_OF_FRAME:
            height, width = struct.unpack_from(">HH", data, offset + 3)
            break
        if marker not in _WITHOUT_LENGTH:
            (length,) = struct.unpack_from(">H", data, offset)
            offset += max(2, length)
        if data[offset] != 0xFF:
            raise FormatError(
                f"expected a marker of the JPEG at byte {offset}, found another byte; the picture "
                "is damaged"
            )
    # A thumbnail has an end, too: it counts only behind the last scan's begin.
    if data.rfind(b"\xff\xd9") < data.rfind(b"\xff\xda"):
        raise FormatError(
            "expected the JPEG's end behind its last scan, found none; was it copied whole?"
        )
    return width, height


def _webp_size(data: bytes) -> tuple[int, int]:
    (size,) = struct.unpack_from("<I", data, 4)
    if len(data) < size + 8:
        raise FormatError(
            f"expected {size + 8} bytes, which the WebP declares, found {len(data)}; was it copied "
            "whole?"
        )
    form = data[12:16]
    if form == b"VP8X":
        width, height = (int.from_bytes(data[at : at + 3], "little") + 1 for at in (24, 27))
        return width, height
    if form == b"VP8L":
        (bits,) = struct.unpack_from("<I", data, 21)
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if form == b"VP8 ":
        width, height = struct.unpack_from("<HH", data, 26)
        return width & 0x3FFF, height & 0x3FFF
    raise FormatError(f"expected VP8, VP8L or VP8X in the WebP, found {form!r}; it is damaged")


def _bmp_size(data: bytes) -> tuple[int, int]:
    (size,) = struct.unpack_from("<I", data, 2)
    width, height = struct.unpack_from("<ii", data, 18)
    if len(data) < size:
        raise FormatError(
            f"expected {size} bytes, which the BMP declares, found {len(data)}; was it copied "
            "whole?"
        )
    return abs(width), abs(height)


_SIZES: Final = {"png": _png_size, "jpeg": _jpeg_size, "webp": _webp_size, "bmp": _bmp_size}
