"""The pointer in a frame record (docs/format.md): what is said of it, and in which bytes.

A pointer that stays costs nothing, one that moves eight bytes; its shape is stored where it
changed. A keyframe begins with nothing known, so the shape is in each of them once.
"""

from __future__ import annotations

import struct
from typing import Final

import msgspec
import numpy as np

from recorder_worker.core.errors import FormatError
from recorder_worker.core.frames.pictures import Pointer

AS_BEFORE: Final = 0
UNKNOWN: Final = 1
MOVED: Final = 2
SHAPED: Final = 3

MAX_SHAPE_PIXELS: Final = 2**20
"""The largest shape: bounds what a decoder can be made to allocate, and fits 1024x1024."""

_PLACE: Final = struct.Struct(">ii")
_SHAPE: Final = struct.Struct(">HHHH")
MAX_SIZE: Final = _PLACE.size + _SHAPE.size + 4 * MAX_SHAPE_PIXELS


def pack_pointer(pointer: Pointer | None, before: Pointer | None) -> tuple[int, bytes]:
    """What to say of a pointer, given the one of the frame before: the code, and its bytes.

    Raises:
        FormatError: the format cannot hold this pointer.
    """
    if pointer is None:
        return (AS_BEFORE if before is None else UNKNOWN), b""
    _check(pointer)
    place = _PLACE.pack(pointer.x, pointer.y)
    if before is None or not _same_shape(pointer, before):
        height, width, _ = pointer.shape.shape
        size = (width, height) if pointer.shape.size else (0, 0)
        shape = _SHAPE.pack(pointer.hot_x, pointer.hot_y, *size)
        return SHAPED, place + shape + pointer.shape.tobytes()
    if (pointer.x, pointer.y) == (before.x, before.y):
        return AS_BEFORE, b""
    return MOVED, place


def unpack_pointer(
    code: int, data: memoryview, before: Pointer | None
) -> tuple[Pointer | None, int]:
    """The pointer that the front of `data` says, and how many bytes do.

    Raises:
        FormatError: no recorder says this of a pointer.
    """
    if code == AS_BEFORE:
        return before, 0
    if code == SHAPED:
        return _unpack_shaped(data, before)
    if before is None:
        raise FormatError("expected the pointer's shape, for none is known before it")
    if code == UNKNOWN:
        return None, 0
    x, y = _unpacked(_PLACE, data)
    if (x, y) == (before.x, before.y):
        raise FormatError(f"expected a pointer that moved, found it at {x}, {y} as before")
    return msgspec.structs.replace(before, x=x, y=y), _PLACE.size


def _unpack_shaped(data: memoryview, before: Pointer | None) -> tuple[Pointer, int]:
    x, y = _unpacked(_PLACE, data)
    hot_x, hot_y, width, height = _unpacked(_SHAPE, data[_PLACE.size :])
    begin = _PLACE.size + _SHAPE.size
    end = begin + 4 * width * height
    if width * height > MAX_SHAPE_PIXELS or (width == 0) != (height == 0) or end > len(data):
        raise FormatError(
            f"expected a pointer's shape of at most {MAX_SHAPE_PIXELS} pixels, all of them there, "
            f"found {width}x{height} with {len(data) - begin} bytes behind it"
        )
    # bytes() copies: the record it came in is not kept for the sake of a pointer.
    pixels = np.frombuffer(bytes(data[begin:end]), np.uint8).reshape(height, width, 4)
    pointer = Pointer(x=x, y=y, hot_x=hot_x, hot_y=hot_y, shape=pixels)
    if before is not None and _same_shape(pointer, before):
        raise FormatError("expected a pointer's shape that changed, found it as before")
    return pointer, end


def _unpacked(layout: struct.Struct, data: memoryview) -> tuple[int, ...]:
    if len(data) < layout.size:
        raise FormatError(f"expected {layout.size} bytes of a pointer, found {len(data)}")
    return layout.unpack_from(data)


def _same_shape(one: Pointer, other: Pointer) -> bool:
    """Shapes without pixels are one and the same, whatever their sides."""
    if (one.hot_x, one.hot_y) != (other.hot_x, other.hot_y):
        return False
    if one.shape is other.shape or one.shape.size == other.shape.size == 0:
        return True
    return np.array_equal(one.shape, other.shape)


def _check(pointer: Pointer) -> None:
    shape = pointer.shape
    if shape.dtype != np.uint8 or shape.ndim != 3 or shape.shape[2] != 4:
        raise FormatError(
            "pointer: expected a shape of (height, width, 4), uint8, BGRA, found "
            f"{shape.shape}, {shape.dtype}; convert it where it is captured"
        )
    if shape.shape[0] * shape.shape[1] > MAX_SHAPE_PIXELS or max(shape.shape) > 65535:
        raise FormatError(
            f"pointer: expected a shape of at most {MAX_SHAPE_PIXELS} pixels, found "
            f"{shape.shape[1]}x{shape.shape[0]}; record a part of it"
        )
    for name, low, high in (
        ("x", -(2**31), 2**31),
        ("y", -(2**31), 2**31),
        ("hot_x", 0, 2**16),
        ("hot_y", 0, 2**16),
    ):
        value = getattr(pointer, name)
        if not low <= value < high:
            raise FormatError(f"pointer: expected {low} <= {name} < {high}, found {value}")
