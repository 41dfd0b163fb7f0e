"""The last picture of some frames, without the pictures before it.

Of each tile only the newest pixels count. So frames are not drawn one by one: their tiles are laid
into one place a tile, in whole contiguous copies, and chunks are gone through from the last one
backwards, until every tile is known; what lies before that is never read.

Padding, and tiles that are equal to what was there, are not looked for, as `FrameDecoder` does:
the bytes are those that the record vouches for, and what is wrong with them otherwise is a
verifier's to say.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from recorder_worker.core.errors import FormatError
from recorder_worker.core.frames import HEADER_SIZE, FrameHeader, unpack_header
from recorder_worker.core.pictures import Picture
from recorder_worker.core.tiles import TILE, TILE_ROW_SIZE, TILE_SIZE

Wanted = Callable[[FrameHeader], bool]
"""Whether a frame is not yet behind the one that is looked for. Frames come in order."""


class Skim:
    """One picture, gathered from its chunks, the last one first.

    Attributes:
        frame: the header of the picture; None: no frame was wanted yet.
        complete: every tile is known.
    """

    def __init__(self) -> None:
        self.frame: FrameHeader | None = None
        self._tiles: NDArray[np.uint8] = np.zeros((0, TILE_SIZE), np.uint8)
        self._known: NDArray[np.bool_] = np.zeros(0, np.bool_)

    @property
    def complete(self) -> bool:
        """Whether nothing of the picture is missing."""
        return self.frame is not None and bool(self._known.all())

    def add(self, pieces: Iterable[bytes], wanted: Wanted) -> None:
        """The chunk before those that were added: its frames as far as they are wanted.

        Raises:
            FormatError: they are no frames, or not of the picture that follows them.
        """
        chunk = _LastTiles()
        for header, mask, tiles in _frames(pieces, wanted):
            chunk.lay(header, mask, tiles)
        if chunk.frame is None:
            return
        if self.frame is None:
            self.frame, self._tiles, self._known = chunk.frame, chunk.tiles, chunk.written
            return
        if (chunk.frame.width, chunk.frame.height) != (self.frame.width, self.frame.height):
            raise FormatError(
                f"frame {self.frame.unit}: expected a delta to follow a frame of its size "
                f"{self.frame.width}x{self.frame.height}, found {chunk.frame.width}x"
                f"{chunk.frame.height} before it"
            )
        new = chunk.written & ~self._known
        self._tiles[new] = chunk.tiles[new]
        self._known |= chunk.written

    def picture(self) -> Picture:
        """The picture, once it is complete; it owns its memory."""
        assert self.frame is not None  # noqa: S101  (it is complete)
        rows, columns = self.frame.grid
        grid = self._tiles.reshape(rows, columns, TILE, TILE_ROW_SIZE).swapaxes(1, 2)
        whole = grid.reshape(rows * TILE, columns * TILE_ROW_SIZE)
        cut = np.ascontiguousarray(whole[: self.frame.height, : self.frame.width * 3])
        return cut.reshape(self.frame.height, self.frame.width, 3)


class _LastTiles:
    """The newest tiles of one chunk; those that a keyframe leaves out are black."""

    def __init__(self) -> None:
        self.frame: FrameHeader | None = None
        self.tiles: NDArray[np.uint8] = np.zeros((0, TILE_SIZE), np.uint8)
        self.written: NDArray[np.bool_] = np.zeros(0, np.bool_)

    def lay(self, header: FrameHeader, mask: NDArray[np.uint8], tiles: NDArray[np.uint8]) -> None:
        rows, columns = header.grid
        count = rows * columns
        bits = np.unpackbits(mask)
        places = np.flatnonzero(bits[:count])
        if places.size != header.changed_tiles or bits[count:].any():
            raise FormatError(
                f"frame {header.unit}: expected {header.changed_tiles} changed tiles by its "
                f"payload size, found {int(bits.sum())} bits set; the stream is damaged"
            )
        if self.frame is None or header.keyframe:
            self.tiles = np.zeros((count, TILE_SIZE), np.uint8)
            self.written = np.full(count, header.keyframe, np.bool_)
        elif self.written.size != count:
            raise FormatError(f"frame {header.unit}: the size changed without a keyframe")
        self.frame = header
        self.tiles[places] = tiles
        self.written[places] = True


def _frames(
    pieces: Iterable[bytes], wanted: Wanted
) -> Iterator[tuple[FrameHeader, NDArray[np.uint8], NDArray[np.uint8]]]:
    """Header, bitmap and tiles of each wanted frame; no byte behind the last one is asked for."""
    source = _Source(iter(pieces))
    while head := source.take(HEADER_SIZE):
        header = unpack_header(head)
        if not wanted(header):
            return
        payload = np.frombuffer(source.take(header.payload_size), np.uint8)
        mask, tiles = payload[: header.mask_size], payload[header.mask_size :]
        yield header, mask, tiles.reshape(-1, TILE_SIZE)


class _Source:
    """Exact lengths out of pieces of any length."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._rest = memoryview(b"")

    def take(self, size: int) -> memoryview:
        """The next `size` bytes; none where the pieces have ended. Raises FormatError."""
        if len(self._rest) >= size:
            taken, self._rest = self._rest[:size], self._rest[size:]
            return taken
        whole, at = np.empty(size, np.uint8).data, 0
        while at < size:
            if not self._rest:
                self._rest = memoryview(next(self._pieces, b""))
                if not self._rest:
                    break
            step = min(size - at, len(self._rest))
            whole[at : at + step] = self._rest[:step]
            self._rest = self._rest[step:]
            at += step
        if 0 < at < size:
            raise FormatError("frame stream: the chunk ends within a frame; it is cut short")
        return whole[:at]
