"""The frame stream of the `screen` profile: pictures become frame records (docs/format.md).

A frame is stored as the 64x64-pixel tiles that differ from the frame before it. Coding is
canonical: for one picture, one pointer and one predecessor there is exactly one record, so a
recording can be made again and compared in bytes. What a source says of its changes only saves
looking for them.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from recorder_worker.core.errors import FormatError
from recorder_worker.core.frames.header import FrameHeader, pack_header
from recorder_worker.core.frames.pictures import Picture, Pointer, Region
from recorder_worker.core.frames.pointer_part import AS_BEFORE, pack_pointer
from recorder_worker.core.frames.prediction import photo_like, predict
from recorder_worker.core.frames.tiles import (
    TILE,
    TILE_ROW_SIZE,
    TILE_SIZE,
    Bands,
    changed_tiles,
    move_tiles,
)
from recorder_worker.core.model import Mask


class EncodedFrame(msgspec.Struct, frozen=True, kw_only=True):
    """One frame record. `data` is read-only and owns its memory."""

    data: memoryview
    keyframe: bool
    changed_tiles: int


class FrameEncoder:
    """Turns pictures into frame records, each coded against the one before.

    It keeps its own copy of the last picture and pointer; the caller may reuse what it passed.
    """

    def __init__(self) -> None:
        self._shape: tuple[int, ...] = ()
        self._previous: NDArray[np.uint8] = np.zeros((0, 0), np.uint8)
        self._pointer: Pointer | None = None
        self._masks: tuple[Mask, ...] = ()
        self._followed = False  # whether the last picture that was passed is the one coded last

    def encode(
        self,
        picture: Picture,
        *,
        unit: int,
        t_ns: int,
        wall_ns: int,
        keyframe: bool,
        changed: Sequence[Region] | None = None,
        pointer: Pointer | None = None,
        masks: Sequence[Mask] = (),
    ) -> EncodedFrame:
        """One record. The first frame and a change of size become keyframes by themselves.

        Args:
            picture: shape (height, width, 3), BGR, uint8, C-contiguous.
            unit: index of the frame in its stream.
            t_ns: session time in nanoseconds.
            wall_ns: nanoseconds since the Unix epoch.
            keyframe: code against black, so that a decoder can begin here.
            changed: regions outside of which the picture equals the one passed before; None:
                it may differ anywhere. It is not looked at where another picture or other masks
                came before, or a frame was refused.
            pointer: the pointer over the picture; None where nothing is known of one.
            masks: rectangles that are coded as black.

        Raises:
            FormatError: the format cannot hold this picture or number. The encoder is unchanged.
        """
        masks = tuple(masks)
        followed, self._followed = self._followed and masks == self._masks, False
        _check_picture(picture)
        resized = picture.shape != self._shape
        keyframe = keyframe or resized
        code, pointer_bytes = pack_pointer(pointer, None if keyframe else self._pointer)
        height, width, _ = picture.shape
        header = FrameHeader(
            keyframe=keyframe,
            width=width,
            height=height,
            unit=unit,
            t_ns=t_ns,
            wall_ns=wall_ns,
            payload_size=1 + len(pointer_bytes),
        )
        head = pack_header(header)  # refuses what does not fit, before anything changes
        if resized:
            self._shape = picture.shape
            self._previous = np.zeros((height, width * 3), np.uint8)
        elif keyframe:
            self._previous.fill(0)
        bands = Bands(picture, masks)
        trusted = changed if followed and not keyframe else None
        tiles = changed_tiles(bands, self._previous, trusted)
        count = int(np.count_nonzero(tiles))
        if count:
            size = header.payload_size + 2 * header.mask_size + count * TILE_SIZE
            head = pack_header(msgspec.structs.replace(header, payload_size=size))
        head += bytes([(count > 0) | code << 1]) + pointer_bytes
        data = self._record(head, bands, tiles, count) if count else memoryview(head)
        if keyframe or code != AS_BEFORE:
            self._pointer = _kept(pointer, self._pointer)
        self._masks, self._followed = masks, True
        return EncodedFrame(data=data, keyframe=keyframe, changed_tiles=count)

    def _record(
        self, head: bytes, bands: Bands, changed: NDArray[np.bool_], count: int
    ) -> memoryview:
        """Head, bitmaps and changed tiles, written into one buffer of the exact size."""
        mask = np.packbits(changed)
        buffer = np.empty(len(head) + 2 * mask.size + count * TILE_SIZE, np.uint8)
        parts = np.split(buffer, np.cumsum([len(head), mask.size, mask.size]))
        tiles = parts[3].reshape(-1, TILE, TILE_ROW_SIZE)
        move_tiles(bands, changed, self._previous, tiles)
        predicted = photo_like(tiles)
        for nth in np.flatnonzero(predicted):
            predict(tiles[nth])
        changed = changed.copy()
        changed[changed] = predicted
        parts[0][:] = np.frombuffer(head, np.uint8)
        parts[1][:] = mask
        parts[2][:] = np.packbits(changed)
        return buffer.data.toreadonly()


def _kept(pointer: Pointer | None, before: Pointer | None) -> Pointer | None:
    """A pointer whose shape nobody else writes to; the one kept already, where it is the same."""
    if pointer is None:
        return None
    if before is not None and np.array_equal(pointer.shape, before.shape):
        return msgspec.structs.replace(pointer, shape=before.shape)
    return msgspec.structs.replace(pointer, shape=pointer.shape.copy())


def _check_picture(picture: Picture) -> None:
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
