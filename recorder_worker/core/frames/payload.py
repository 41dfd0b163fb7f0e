"""What a frame record says behind its header: the tiles that changed, and the pointer."""

from __future__ import annotations

from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from recorder_worker.core.errors import FormatError
from recorder_worker.core.frames.header import PLAIN_TILES, FrameHeader
from recorder_worker.core.frames.pictures import Pointer
from recorder_worker.core.frames.pointer_part import unpack_pointer
from recorder_worker.core.frames.tiles import TILE, TILE_ROW_SIZE, TILE_SIZE, Tiles

_TILES: Final = 1
_POINTER_AT: Final = 1
_MOST_PARTS: Final = 7


class FramePayload(msgspec.Struct, frozen=True, kw_only=True):
    """A payload taken apart. `tiles` has shape (changed tiles, 64, 192) and is as it is stored.

    `predicted` says for each of them whether it holds differences instead of pixels; it is None
    where the encoding has no such tiles. `tiles` may be a view of what was read.
    """

    changed: Tiles
    predicted: NDArray[np.bool_] | None
    tiles: NDArray[np.uint8]
    pointer: Pointer | None


def unpack_payload(
    header: FrameHeader, data: memoryview, pointer_before: Pointer | None
) -> FramePayload:
    """Take a whole payload apart. `pointer_before` is the one of the frame before it.

    Raises:
        FormatError: it is damaged, or no recorder writes it.
    """
    if header.encoding == PLAIN_TILES:
        mask = data[: header.mask_size]
        tiles = data[header.mask_size :]
        changed = _bits(header, mask)
        return FramePayload(
            changed=changed, predicted=None, tiles=_tiles(header, changed, tiles), pointer=None
        )
    parts, at = data[0], 1
    if parts > _MOST_PARTS:
        raise FormatError(
            f"frame {header.unit}: expected parts of at most {_MOST_PARTS}, found {parts}; "
            "the stream is damaged"
        )
    try:
        before = None if header.keyframe else pointer_before
        pointer, size = unpack_pointer(parts >> _POINTER_AT, data[at:], before)
    except FormatError as error:
        raise FormatError(f"frame {header.unit}: {error}; the stream is damaged") from error
    at += size
    if not parts & _TILES:
        _end(header, data, at)
        none = np.zeros(header.grid, np.bool_)
        return FramePayload(
            changed=none,
            predicted=np.zeros(0, np.bool_),
            tiles=np.zeros((0, TILE, TILE_ROW_SIZE), np.uint8),
            pointer=pointer,
        )
    if len(data) < at + 2 * header.mask_size:
        raise FormatError(
            f"frame {header.unit}: expected {2 * header.mask_size} bytes of tile bitmaps, found "
            f"{len(data) - at}; the stream is damaged"
        )
    changed = _bits(header, data[at : at + header.mask_size])
    at += header.mask_size
    predicted = _bits(header, data[at : at + header.mask_size])
    at += header.mask_size
    if not changed.any() or (predicted & ~changed).any():
        raise FormatError(
            f"frame {header.unit}: expected some changed tiles, and no other one predicted; "
            "the stream is damaged"
        )
    return FramePayload(
        changed=changed,
        predicted=predicted[changed],
        tiles=_tiles(header, changed, data[at:]),
        pointer=pointer,
    )


def _end(header: FrameHeader, data: memoryview, at: int) -> None:
    if at != len(data):
        raise FormatError(
            f"frame {header.unit}: expected its end behind its parts, found {len(data) - at} more "
            "bytes; the stream is damaged"
        )


def _bits(header: FrameHeader, mask: memoryview) -> Tiles:
    """A bitmap as flags, held against its spare bits."""
    rows, columns = header.grid
    bits = np.unpackbits(np.frombuffer(mask, np.uint8))
    if bits[rows * columns :].any():
        raise FormatError(
            f"frame {header.unit}: expected the spare bits of the tile bitmap to be zero, found "
            f"{mask[-1]:#04x} at its end; the stream is damaged"
        )
    flags: Tiles = bits[: rows * columns].reshape(rows, columns).view(np.bool_)
    return flags


def _tiles(header: FrameHeader, changed: Tiles, data: memoryview) -> NDArray[np.uint8]:
    count = int(np.count_nonzero(changed))
    if len(data) != count * TILE_SIZE:
        raise FormatError(
            f"frame {header.unit}: expected {count * TILE_SIZE} bytes of tiles, for {count} bits "
            f"set in its bitmap, found {len(data)}; the stream is damaged"
        )
    return np.frombuffer(data, np.uint8).reshape(-1, TILE, TILE_ROW_SIZE)
