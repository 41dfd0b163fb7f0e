"""The frame stream of the `screen` profile: the header of its records (docs/format.md)."""

from __future__ import annotations

import struct
from typing import Final

import msgspec

from recorder_worker.core.errors import FormatError, UnsupportedError
from recorder_worker.core.frames import pointer_part
from recorder_worker.core.frames.tiles import TILE, TILE_SIZE

FRAMES_FORMAT: Final = "tiles64-bgr"
"""Names this stream in manifests and records."""

MAX_PIXELS: Final = 2**27
"""The largest frame: bounds what a decoder can be made to allocate, and fits 15360x8640."""

KEYFRAME: Final = 1
DELTA: Final = 2

PLAIN_TILES: Final = 1
"""The encoding of older recordings: a bitmap and plain tiles. It is read, and not written."""
PARTS: Final = 2
"""The encoding that is written: only the parts that say something, photo-like tiles predicted."""

_HEADER: Final = struct.Struct(">BBHHQQQI")
HEADER_SIZE: Final = _HEADER.size
_U64_END: Final = 2**64


class FrameHeader(msgspec.Struct, frozen=True, kw_only=True):
    """What stands before a frame's payload. Times are nanoseconds, `payload_size` is bytes."""

    keyframe: bool
    width: int
    height: int
    unit: int
    t_ns: int
    wall_ns: int
    payload_size: int
    encoding: int = PARTS

    @property
    def grid(self) -> tuple[int, int]:
        """Tile rows and tile columns."""
        return -(-self.height // TILE), -(-self.width // TILE)

    @property
    def mask_size(self) -> int:
        """Bytes of a bitmap with a bit for each tile."""
        rows, columns = self.grid
        return -(-rows * columns // 8)

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
        most = rows * columns * TILE_SIZE
        if self.encoding == PARTS:
            most += 1 + pointer_part.MAX_SIZE + 2 * self.mask_size
            if not 1 <= self.payload_size <= most:
                raise FormatError(
                    f"frame {self.unit}: expected a payload of 1 to {most} bytes, found "
                    f"{self.payload_size}; the stream is damaged"
                )
            return
        tiles_size = self.payload_size - self.mask_size
        if tiles_size % TILE_SIZE or not 0 <= tiles_size <= most:
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
        header.encoding,
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
    if encoding not in (PLAIN_TILES, PARTS):
        raise UnsupportedError(
            f"frame {unit}: expected encoding {PLAIN_TILES} or {PARTS} of {FRAMES_FORMAT}, found "
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
        encoding=encoding,
    )
    header.check()
    return header
