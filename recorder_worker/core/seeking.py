"""One frame of a stream, without drawing those before it.

Of the frames since the keyframe only the newest state of each tile is needed. So tiles are laid
into one place a tile, in whole contiguous copies, and a picture is made once. Padding, and tiles
that are equal to what was there, are not looked for, as `FrameDecoder` does: what is read was held
against its digests before, and what is wrong with it otherwise is a verifier's to say.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from recorder_worker.core.errors import FormatError
from recorder_worker.core.frames import HEADER_SIZE, FrameHeader, unpack_header
from recorder_worker.core.playback import DecodedFrame
from recorder_worker.core.tiles import TILE, TILE_ROW_SIZE, TILE_SIZE


class FrameSeeker:
    """Goes through a stream from a keyframe on, to one unit.

    Memory is one picture and one record. After an error it is of no more use.
    """

    def __init__(self, unit: int) -> None:
        self._unit = unit
        self._pending = bytearray()
        self._before: FrameHeader | None = None
        self._tiles: NDArray[np.uint8] = np.zeros((0, TILE_SIZE), np.uint8)

    def feed(self, data: bytes | memoryview) -> DecodedFrame | None:
        """Take the next piece, of any size: the frame, once all of it is there.

        Raises:
            UnsupportedError: a kind or an encoding that this program does not know.
            FormatError: the stream is damaged, does not begin with a keyframe, or has passed the
                unit.
        """
        self._pending += data
        at, found = 0, None
        with memoryview(self._pending) as pending:
            while found is None and len(pending) - at >= HEADER_SIZE:
                header = unpack_header(pending, at)
                end = at + HEADER_SIZE + header.payload_size
                if len(pending) < end:
                    break
                self._lay(header, np.frombuffer(pending[at + HEADER_SIZE : end], np.uint8))
                at = end
                if header.unit == self._unit:
                    found = header
        del self._pending[:at]
        return None if found is None else self._frame(found)

    def _lay(self, header: FrameHeader, payload: NDArray[np.uint8]) -> None:
        """Put the tiles of a frame into their places."""
        before, self._before = self._before, header
        if header.unit > self._unit:
            raise FormatError(
                f"frame stream: expected unit {self._unit}, found {header.unit}; it is in a gap"
            )
        rows, columns = header.grid
        if header.keyframe:
            self._tiles = np.zeros((rows * columns, TILE_SIZE), np.uint8)
        elif before is None or (before.width, before.height) != (header.width, header.height):
            raise FormatError(
                f"frame {header.unit}: expected a keyframe or a frame of its size before it; "
                "seek from its keyframe on"
            )
        bits = np.unpackbits(payload[: header.mask_size])
        places = np.flatnonzero(bits)
        if places.size != header.changed_tiles or bits[rows * columns :].any():
            raise FormatError(
                f"frame {header.unit}: expected {header.changed_tiles} changed tiles by its "
                f"payload size, found {places.size} bits set; the stream is damaged"
            )
        if places.size:
            self._tiles[places] = payload[header.mask_size :].reshape(-1, TILE_SIZE)

    def _frame(self, header: FrameHeader) -> DecodedFrame:
        rows, columns = header.grid
        grid = self._tiles.reshape(rows, columns, TILE, TILE_ROW_SIZE).swapaxes(1, 2)
        canvas = grid.reshape(rows * TILE, columns * TILE_ROW_SIZE)
        picture = np.ascontiguousarray(canvas[: header.height, : header.width * 3])
        picture.flags.writeable = False
        return DecodedFrame(
            keyframe=header.keyframe,
            unit=header.unit,
            t_ns=header.t_ns,
            wall_ns=header.wall_ns,
            width=header.width,
            height=header.height,
            picture=picture.reshape(header.height, header.width, 3),
        )
