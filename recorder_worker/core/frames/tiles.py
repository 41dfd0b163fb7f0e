"""The 64x64-pixel tiles of a picture: which of them changed, and copying those out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from recorder_worker.core.frames.pictures import Picture, Region
from recorder_worker.core.masks import masked_rows
from recorder_worker.core.model import Mask

TILE: Final = 64
"""Side of a tile, in pixels."""
TILE_ROW_SIZE: Final = TILE * 3
TILE_SIZE: Final = TILE * TILE_ROW_SIZE
"""Bytes of one tile."""

Tiles = NDArray[np.bool_]
"""Which tiles changed: shape (tile rows, tile columns)."""


class Bands:
    """A picture in rows of tiles, with masked pixels black.

    A band is copied only where it is asked for and a mask lies in it, and then once: most frames
    of a desktop change in none or a few of them.
    """

    def __init__(self, picture: Picture, masks: Sequence[Mask] = ()) -> None:
        self.height, self.width, _ = picture.shape
        self._picture = picture
        self._masks = masks
        self._masked: dict[int, NDArray[np.uint8]] = {}

    @property
    def grid(self) -> tuple[int, int]:
        """Tile rows and tile columns."""
        return -(-self.height // TILE), -(-self.width // TILE)

    def band(self, row: int) -> NDArray[np.uint8]:
        """One row of tiles: shape (1..64, width * 3)."""
        top = row * TILE
        rows = self._picture[top : top + TILE]
        if self._masks:
            if row not in self._masked:
                self._masked[row] = masked_rows(rows, top, self._masks)
            rows = self._masked[row]
        return rows.reshape(len(rows), -1)


def tiles_of(regions: Sequence[Region], grid: tuple[int, int]) -> Tiles:
    """The tiles in which regions lie; what is outside of the grid is left out."""
    tiles: Tiles = np.zeros(grid, np.bool_)
    for region in regions:
        if region.width > 0 and region.height > 0:
            rows = slice(max(0, region.y // TILE), max(0, -(-(region.y + region.height) // TILE)))
            columns = slice(max(0, region.x // TILE), max(0, -(-(region.x + region.width) // TILE)))
            tiles[rows, columns] = True
    return tiles


def changed_tiles(
    bands: Bands, previous: NDArray[np.uint8], regions: Sequence[Region] | None = None
) -> Tiles:
    """Which tiles of two pictures of one shape differ, exactly; outside of `regions` none does.

    Most frames of a desktop are equal to the one before, and most others differ in a few rows.
    So a band of 64 rows, which is contiguous memory, is first compared as a whole, eight bytes at
    a time; only a band that differs is looked at tile by tile.
    """
    changed: Tiles = np.zeros(bands.grid, np.bool_)
    if regions is None:
        for row, flags in enumerate(changed):
            here, before = bands.band(row), previous[row * TILE : (row + 1) * TILE]
            if not _equal(here.reshape(-1), before.reshape(-1)):
                flags[:] = _differing(here, before)
    elif regions:
        looked_at = tiles_of(regions, bands.grid)
        for row in np.flatnonzero(looked_at.any(axis=1)).tolist():
            columns = np.flatnonzero(looked_at[row])
            begin, end = int(columns[0]), int(columns[-1]) + 1
            part = slice(begin * TILE_ROW_SIZE, end * TILE_ROW_SIZE)
            before = previous[row * TILE : (row + 1) * TILE, part]
            changed[row, begin:end] = _differing(bands.band(row)[:, part], before)
    return changed


def _differing(here: NDArray[np.uint8], before: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Which tiles of a band differ; it begins at the left edge of one."""
    bits = np.bitwise_or.reduce(here ^ before, axis=0)
    differing: NDArray[np.bool_] = (
        np.bitwise_or.reduceat(bits, np.arange(0, bits.size, TILE_ROW_SIZE)) != 0
    )
    return differing


def _equal(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> bool:
    """Compare flat bytes as 64-bit words, and the few behind the last whole word as bytes."""
    words = one.size & ~7
    return np.array_equal(
        one[:words].view(np.uint64), other[:words].view(np.uint64)
    ) and np.array_equal(one[words:], other[words:])


def move_tiles(
    bands: Bands, changed: Tiles, previous: NDArray[np.uint8], out: NDArray[np.uint8]
) -> None:
    """Copy the changed tiles to `previous` in their place, and to `out` one behind the other.

    Only changed tiles are copied, so `previous` is what a decoder has, to the byte, even where a
    source was wrong about what changed.

    Args:
        bands: the picture.
        changed: as `changed_tiles` gives it.
        previous: shape (height, width * 3).
        out: shape (number of changed tiles, 64, 192); all of it is written. What lies outside
            the picture becomes zero.
    """
    done = 0
    for row in np.flatnonzero(changed.any(axis=1)).tolist():
        band = bands.band(row)
        before = previous[row * TILE : row * TILE + len(band)]
        for begin, end in runs(changed[row]):
            part = slice(begin * TILE_ROW_SIZE, end * TILE_ROW_SIZE)
            before[:, part] = band[:, part]
            whole = min(end, band.shape[1] // TILE_ROW_SIZE)
            done += _copy_whole(band, begin, whole, out[done:])
            if whole < end:
                edge = band[:, whole * TILE_ROW_SIZE :]
                out[done] = 0
                out[done, : len(edge), : edge.shape[1]] = edge
                done += 1


def runs(flags: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Begin and end of each run of true flags."""
    edges = (np.flatnonzero(flags[1:] != flags[:-1]) + 1).tolist()
    if flags[0]:
        edges.insert(0, 0)
    if flags[-1]:
        edges.append(len(flags))
    return list(zip(edges[::2], edges[1::2], strict=True))


def _copy_whole(band: NDArray[np.uint8], begin: int, end: int, out: NDArray[np.uint8]) -> int:
    """Copy tiles that have their full width, zero-padded to their full height; how many."""
    height, count = len(band), end - begin
    part = band[:, begin * TILE_ROW_SIZE : end * TILE_ROW_SIZE]
    out[:count, :height] = part.reshape(height, count, TILE_ROW_SIZE).swapaxes(0, 1)
    out[:count, height:] = 0
    return count
