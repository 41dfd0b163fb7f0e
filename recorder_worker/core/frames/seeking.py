"""One frame of a stream, without decoding those before it.

Of the frames since the keyframe only the last state of each tile is needed. So records are taken
apart up to the frame that is wanted, tiles are kept as they are stored, and pixels are made once.
What is read was held against its digests before; that each frame says what it must is the
decoder's to check, not the seeker's.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from recorder_worker.core.errors import FormatError
from recorder_worker.core.frames.header import HEADER_SIZE, FrameHeader, unpack_header
from recorder_worker.core.frames.payload import unpack_payload
from recorder_worker.core.frames.pictures import Picture, Pointer
from recorder_worker.core.frames.playback import DecodedFrame
from recorder_worker.core.frames.prediction import restore
from recorder_worker.core.frames.tiles import TILE, TILE_ROW_SIZE, TILE_SIZE


class FrameSeeker:
    """Goes through a stream from a keyframe on, to one unit.

    Memory is one picture and one record. After an error it is of no more use.
    """

    def __init__(self, unit: int) -> None:
        self._unit = unit
        self._pending = bytearray()
        self._header: FrameHeader | None = None
        self._tiles: NDArray[np.uint8] = np.zeros((0, TILE_SIZE), np.uint8)
        self._predicted: NDArray[np.bool_] = np.zeros(0, np.bool_)
        self._pointer: Pointer | None = None

    def feed(self, data: bytes | memoryview) -> DecodedFrame | None:
        """Take the next piece, of any size: the frame, once all of it is there.

        Raises:
            UnsupportedError: a kind or an encoding that this program does not know.
            FormatError: the stream is damaged, does not begin with a keyframe, or has passed the
                unit.
        """
        self._pending += data
        at = 0
        found = None
        with memoryview(self._pending) as pending:
            while found is None and len(pending) - at >= HEADER_SIZE:
                header = unpack_header(pending, at)
                end = at + HEADER_SIZE + header.payload_size
                if len(pending) < end:
                    break
                with pending[at + HEADER_SIZE : end] as payload:
                    self._take(header, payload)
                at = end
                if header.unit == self._unit:
                    found = header
        del self._pending[:at]
        return None if found is None else self._frame(found)

    def _take(self, header: FrameHeader, data: memoryview) -> None:
        before, self._header = self._header, header
        if header.unit > self._unit:
            raise FormatError(
                f"frame stream: expected unit {self._unit}, found {header.unit} behind where it "
                "would be; it is in a gap or the stream begins behind it"
            )
        if header.keyframe:
            rows, columns = header.grid
            self._tiles = np.zeros((rows * columns, TILE_SIZE), np.uint8)
            self._predicted = np.zeros(rows * columns, np.bool_)
        elif before is None or (before.width, before.height) != (header.width, header.height):
            raise FormatError(
                f"frame {header.unit}: expected a keyframe or a frame of its size before it; "
                "seek from its keyframe on"
            )
        payload = unpack_payload(header, data, self._pointer)
        self._pointer = payload.pointer
        if len(payload.tiles):
            places = np.flatnonzero(payload.changed)
            self._tiles[places] = payload.tiles.reshape(-1, TILE_SIZE)  # one copy a tile
            self._predicted[places] = False if payload.predicted is None else payload.predicted

    def _frame(self, header: FrameHeader) -> DecodedFrame:
        for nth in np.flatnonzero(self._predicted):
            restore(self._tiles[nth].reshape(TILE, TILE_ROW_SIZE))
        return DecodedFrame(
            keyframe=header.keyframe,
            unit=header.unit,
            t_ns=header.t_ns,
            wall_ns=header.wall_ns,
            width=header.width,
            height=header.height,
            picture=_picture(self._tiles, header),
            pointer=self._pointer,
        )


def _picture(tiles: NDArray[np.uint8], header: FrameHeader) -> Picture:
    rows, columns = header.grid
    grid = tiles.reshape(rows, columns, TILE, TILE_ROW_SIZE).swapaxes(1, 2)
    canvas = grid.reshape(rows * TILE, columns * TILE_ROW_SIZE)
    picture = np.ascontiguousarray(canvas[: header.height, : header.width * 3])
    picture.flags.writeable = False
    return picture.reshape(header.height, header.width, 3)
