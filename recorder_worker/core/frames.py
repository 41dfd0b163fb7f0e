"""The frame stream of the `screen` profile: its record, and the encoder (docs/format.md).

A frame is stored as the 64x64-pixel tiles that differ from the frame before it. Nothing is
predicted or transformed: zstd's long window finds scrolled text better in plain pixels, which
the measurements behind this format showed. Coding is canonical: for one picture and one
predecessor there is exactly one record, so a recording can be made again and compared in bytes.
"""

from __future__ import annotations

import struct
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from recorder_worker.core.errors import FormatError, UnsupportedError
from recorder_worker.core.tiles import (
    TILE,
    TILE_ROW_SIZE,
    TILE_SIZE,
    Tiles,
    changed_tiles,
    gather_tiles,
)

FRAMES_FORMAT: Final = "tiles64-bgr"
"""Names this stream in manifests and records."""

MAX_PIXELS: Final = 2**27
"""The largest frame: bounds what a decoder can be made to allocate, and fits 15360x8640."""

KEYFRAME: Final = 1
DELTA: Final = 2
ENCODING_TILES64_BGR: Final = 1

_HEADER: Final = struct.Struct(">BBHHQQQI")
HEADER_SIZE: Final = _HEADER.size
_U64_END: Final = 2**64


class FrameHeader(msgspec.Struct, frozen=True, kw_only=True):
    """What stands before a frame's pixels. Times are nanoseconds, `payload_size` is bytes."""

    keyframe: bool
    width: int
    height: int
    unit: int
    t_ns: int
    wall_ns: int
    payload_size: int

    @property
    def grid(self) -> tuple[int, int]:
        """Tile rows and tile columns."""
        return -(-self.height // TILE), -(-self.width // TILE)

    @property
    def mask_size(self) -> int:
        """Bytes of the bitmap that says which tiles follow."""
        rows, columns = self.grid
        return -(-rows * columns // 8)

    @property
    def changed_tiles(self) -> int:
        """How many tiles follow the bitmap."""
        return (self.payload_size - self.mask_size) // TILE_SIZE

    def check(self) -> None:
        """Hold every rule that the header alone can break.

        Raises:
            FormatError: no frame can have this header.
        """
        if not (self.width and self.height and self.width * self.height <= MAX_PIXELS):
            raise FormatError(
                f"frame {self.unit}: expected 1 to {MAX_PIXELS} pixels, found "
                f"{self.width}x{self.height}; the stream is damaged or not a frame stream"
            )
        rows, columns = self.grid
        tiles, rest = divmod(self.payload_size - self.mask_size, TILE_SIZE)
        if rest or not 0 <= tiles <= rows * columns:
            raise FormatError(
                f"frame {self.unit}: expected a payload of {self.mask_size} + n * {TILE_SIZE} "
                f"bytes with n at most {rows * columns}, found {self.payload_size}; "
                "the stream is damaged"
            )


def pack_header(header: FrameHeader) -> bytes:
    """The bytes of a header.

    Raises:
        FormatError: a field does not fit its place.
    """
    header.check()
    for name in ("unit", "t_ns", "wall_ns"):
        value = getattr(header, name)
        if not 0 <= value < _U64_END:
            raise FormatError(f"frame {header.unit}: expected 0 <= {name} < 2**64, found {value}")
    return _HEADER.pack(
        KEYFRAME if header.keyframe else DELTA,
        ENCODING_TILES64_BGR,
        header.width,
        header.height,
        header.unit,
        header.t_ns,
        header.wall_ns,
        header.payload_size,
    )


def unpack_header(data: bytes | bytearray | memoryview, offset: int = 0) -> FrameHeader:
    """The header that begins at `offset`, of which all `HEADER_SIZE` bytes must be there.

    Raises:
        UnsupportedError: a kind or an encoding that this program does not know.
        FormatError: no frame can have this header.
    """
    kind, encoding, width, height, unit, t_ns, wall_ns, size = _HEADER.unpack_from(data, offset)
    if kind not in (KEYFRAME, DELTA):
        raise UnsupportedError(
            f"frame record: expected kind {KEYFRAME} (keyframe) or {DELTA} (delta), found {kind}; "
            "the stream is damaged or needs a newer recorder"
        )
    if encoding != ENCODING_TILES64_BGR:
        raise UnsupportedError(
            f"frame {unit}: expected encoding {ENCODING_TILES64_BGR} ({FRAMES_FORMAT}), found "
            f"{encoding}; the stream is damaged or needs a newer recorder"
        )
    header = FrameHeader(
        keyframe=kind == KEYFRAME,
        width=width,
        height=height,
        unit=unit,
        t_ns=t_ns,
        wall_ns=wall_ns,
        payload_size=size,
    )
    header.check()
    return header


class EncodedFrame(msgspec.Struct, frozen=True, kw_only=True):
    """One frame record. `data` is read-only and owns its memory."""

    data: memoryview
    keyframe: bool
    changed_tiles: int


class FrameEncoder:
    """Turns pictures into frame records, each coded against the one before.

    It keeps its own copy of the last picture; the caller may reuse the one it passed.
    """

    def __init__(self) -> None:
        self._previous: NDArray[np.uint8] = np.zeros((0, 0, 3), np.uint8)

    def encode(
        self,
        picture: NDArray[np.uint8],
        *,
        unit: int,
        t_ns: int,
        wall_ns: int,
        keyframe: bool,
    ) -> EncodedFrame:
        """One record. The first frame and a change of size become keyframes by themselves.

        Args:
            picture: shape (height, width, 3), BGR, uint8, C-contiguous.
            unit: index of the frame in its stream.
            t_ns: session time in nanoseconds.
            wall_ns: nanoseconds since the Unix epoch.
            keyframe: code against black, so that a decoder can begin here.

        Raises:
            FormatError: the format cannot hold this picture or number. The encoder is unchanged.
        """
        _check_picture(picture)
        height, width, _ = picture.shape
        resized = picture.shape != self._previous.shape
        keyframe = keyframe or resized
        empty = FrameHeader(
            keyframe=keyframe,
            width=width,
            height=height,
            unit=unit,
            t_ns=t_ns,
            wall_ns=wall_ns,
            payload_size=0,
        )
        empty = msgspec.structs.replace(empty, payload_size=empty.mask_size)
        pack_header(empty)  # refuses what does not fit, before anything changes
        if resized:
            self._previous = np.zeros(picture.shape, np.uint8)
        elif keyframe:
            self._previous.fill(0)
        changed = changed_tiles(picture, self._previous)
        count = int(changed.sum())
        size = empty.mask_size + count * TILE_SIZE
        header = msgspec.structs.replace(empty, payload_size=size)
        data = _record(header, picture, changed)
        for band in _bands(changed):
            self._previous[band] = picture[band]
        return EncodedFrame(data=data, keyframe=keyframe, changed_tiles=count)


def _bands(changed: Tiles) -> list[slice]:
    """The pixel rows of every tile row in which something changed."""
    return [slice(row * TILE, (row + 1) * TILE) for row in np.flatnonzero(changed.any(axis=1))]


def _record(header: FrameHeader, picture: NDArray[np.uint8], changed: Tiles) -> memoryview:
    """Header, bitmap and changed tiles, written into one buffer of the exact size."""
    buffer = np.empty(HEADER_SIZE + header.payload_size, np.uint8)
    buffer[:HEADER_SIZE] = np.frombuffer(pack_header(header), np.uint8)
    tiles_at = HEADER_SIZE + header.mask_size
    buffer[HEADER_SIZE:tiles_at] = np.packbits(changed)
    out = buffer[tiles_at:].reshape(-1, TILE, TILE_ROW_SIZE)
    gather_tiles(picture, changed, out)
    return buffer.data.toreadonly()


def _check_picture(picture: NDArray[np.uint8]) -> None:
    if (
        picture.dtype != np.uint8
        or picture.ndim != 3
        or picture.shape[2] != 3
        or not picture.flags.c_contiguous
    ):
        raise FormatError(
            "picture: expected shape (height, width, 3), uint8, BGR, C-contiguous, found shape "
            f"{picture.shape}, {picture.dtype}, "
            f"{'' if picture.flags.c_contiguous else 'not '}contiguous; "
            "convert it where it is captured"
        )
    height, width, _ = picture.shape
    if max(height, width) > 65535:
        raise FormatError(
            f"picture: expected at most 65535 pixels a side, found {width}x{height}; "
            "record a part of it"
        )
