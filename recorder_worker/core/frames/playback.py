"""Reads the frame stream (docs/format.md), strictly.

What the encoder cannot have written is refused, so that a recording has one reading and a
damaged one is never shown as a picture.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec
import numpy as np
from numpy.typing import NDArray

from recorder_worker.core.errors import FormatError
from recorder_worker.core.frames.header import HEADER_SIZE, FrameHeader, unpack_header
from recorder_worker.core.frames.payload import FramePayload, unpack_payload
from recorder_worker.core.frames.pictures import Picture, Pointer
from recorder_worker.core.frames.prediction import photo_like, restore
from recorder_worker.core.frames.tiles import TILE, TILE_ROW_SIZE, Tiles

_TILE_ROW_WORDS = TILE_ROW_SIZE // 8


class DecodedFrame(msgspec.Struct, frozen=True, kw_only=True):
    """One frame. `picture` has shape (height, width, 3), BGR, uint8, C-contiguous and read-only.

    `picture` may be a view of the decoder's own memory: it is valid until the next frame is
    decoded. Copy what has to live longer. `pointer` is None where the stream says nothing of one.
    """

    keyframe: bool
    unit: int
    t_ns: int
    wall_ns: int
    width: int
    height: int
    picture: Picture
    pointer: Pointer | None = None


class FrameDecoder:
    """Decodes a frame stream that arrives in pieces of any size.

    Memory is one picture, one record and what was fed and not iterated yet: feed large streams
    in pieces. After an error the decoder is of no more use.
    """

    def __init__(self) -> None:
        self._pending = bytearray()
        self._header: FrameHeader | None = None
        self._canvas: NDArray[np.uint8] = np.zeros((0, 0), np.uint8)
        self._before: tuple[int, int, int] | None = None
        self._picture: Picture | None = None
        self._pointer: Pointer | None = None

    def feed(self, data: bytes | memoryview) -> Iterator[DecodedFrame]:
        """Take the next piece; the frames that it completes are decoded as they are iterated.

        `data` is copied at once. Frames that were not iterated come from the next `feed`.

        Raises:
            UnsupportedError: a kind or an encoding that this program does not know.
            FormatError: the stream is damaged.
        """
        self._pending += data
        return self._frames()

    def finish(self) -> None:
        """Say that the stream ends here.

        Raises:
            FormatError: it ends within a frame, or frames were not iterated.
        """
        left = len(self._pending) + (HEADER_SIZE if self._header else 0)
        if left:
            raise FormatError(
                f"frame stream: expected its end, found {left} bytes that are not a whole "
                "frame; the stream is cut short or has bytes behind its end"
            )

    def _frames(self) -> Iterator[DecodedFrame]:
        while True:
            if self._header is None:
                if len(self._pending) < HEADER_SIZE:
                    return
                self._header = self._accept(unpack_header(self._take(HEADER_SIZE)))
            if len(self._pending) < self._header.payload_size:
                return
            header, self._header = self._header, None
            data = self._take(header.payload_size)
            payload = unpack_payload(header, memoryview(data), self._pointer)
            self._pointer = payload.pointer
            self._apply(header, payload)
            yield self._frame(header)

    def _take(self, size: int) -> bytes:
        """Copy and drop the next bytes: a bytearray drops its front without moving the rest."""
        taken = bytes(memoryview(self._pending)[:size])
        del self._pending[:size]
        return taken

    def _accept(self, header: FrameHeader) -> FrameHeader:
        follows = (header.width, header.height, header.encoding)
        if not header.keyframe and follows != self._before:
            before = "no frame"
            if self._before is not None:
                before = "{}x{} in encoding {}".format(*self._before)
            raise FormatError(
                f"frame {header.unit}: expected a delta to follow a frame of its size "
                f"{header.width}x{header.height} in encoding {header.encoding}, found {before} "
                "before it; decode from its keyframe on"
            )
        self._before = follows
        return header

    def _apply(self, header: FrameHeader, payload: FramePayload) -> None:
        rows, columns = header.grid
        if header.keyframe:
            self._picture = None
            shape = (rows * TILE, columns * TILE_ROW_SIZE)
            if self._canvas.shape == shape:
                self._canvas.fill(0)
            else:
                self._canvas = np.zeros(shape, np.uint8)
        if not len(payload.tiles):
            return
        self._picture = None
        changed, tiles = payload.changed, _pixels(header, payload)
        _check_padding(header, changed, tiles)
        # The canvas has whole tiles, so every tile is 64 rows of whole words.
        words = self._canvas.view(np.uint64)
        grid = words.reshape(rows, TILE, columns, _TILE_ROW_WORDS).swapaxes(1, 2)
        new = tiles.view(np.uint64)
        same = (grid[changed] == new).all(axis=(1, 2))
        if same.any():
            row, column = np.argwhere(changed)[int(np.argmax(same))]
            raise FormatError(
                f"frame {header.unit}: expected only tiles that changed, found tile row {row} "
                f"column {column} equal to the frame before; no recorder writes this"
            )
        grid[changed] = new

    def _frame(self, header: FrameHeader) -> DecodedFrame:
        if self._picture is None:
            rows = self._canvas[: header.height, : header.width * 3]
            self._picture = np.ascontiguousarray(rows).reshape(header.height, header.width, 3)
            self._picture.flags.writeable = False
        return DecodedFrame(
            keyframe=header.keyframe,
            unit=header.unit,
            t_ns=header.t_ns,
            wall_ns=header.wall_ns,
            width=header.width,
            height=header.height,
            picture=self._picture,
            pointer=self._pointer,
        )


def scan_headers(pieces: Iterable[bytes | memoryview]) -> Iterator[FrameHeader]:
    """The headers of a frame stream, without its pixels: for indexes and timelines.

    Memory is one piece and one header. A stream may begin with a delta here.

    Raises:
        UnsupportedError: a kind or an encoding that this program does not know.
        FormatError: a header is damaged, or the stream ends within a frame.
    """
    head = bytearray()
    skip = 0
    for piece in pieces:
        at = 0
        while at < len(piece):
            if skip:
                step = min(skip, len(piece) - at)
                skip -= step
                at += step
                continue
            part = piece[at : at + HEADER_SIZE - len(head)]
            head += part
            at += len(part)
            if len(head) == HEADER_SIZE:
                header = unpack_header(head)
                head.clear()
                skip = header.payload_size
                yield header
    if head or skip:
        raise FormatError(
            f"frame stream: expected a whole frame, found its end with "
            f"{skip or HEADER_SIZE - len(head)} bytes missing; the stream is cut short"
        )


def _pixels(header: FrameHeader, payload: FramePayload) -> NDArray[np.uint8]:
    """The changed tiles as pixels, each predicted if and only if the rule says so."""
    if payload.predicted is None:
        return payload.tiles
    tiles = payload.tiles
    if payload.predicted.any():
        tiles = tiles.copy()
        for nth in np.flatnonzero(payload.predicted):
            restore(tiles[nth])
    wrong = photo_like(tiles) != payload.predicted
    if wrong.any():
        row, column = np.argwhere(payload.changed)[int(np.argmax(wrong))]
        raise FormatError(
            f"frame {header.unit}: expected exactly the photo-like tiles to be predicted, found "
            f"otherwise in tile row {row} column {column}; no recorder writes this"
        )
    return tiles


def _check_padding(header: FrameHeader, changed: Tiles, tiles: NDArray[np.uint8]) -> None:
    """Pixels outside the picture must be zero, or bytes could hide in them."""
    rows, columns = np.nonzero(changed)
    last_row, last_column = changed.shape[0] - 1, changed.shape[1] - 1
    below = tiles[rows == last_row, header.height - last_row * TILE :]
    beside = tiles[columns == last_column, :, header.width * 3 - last_column * TILE_ROW_SIZE :]
    if below.any() or beside.any():
        raise FormatError(
            f"frame {header.unit}: expected zero bytes outside the picture of "
            f"{header.width}x{header.height}, found others; the stream is damaged"
        )
