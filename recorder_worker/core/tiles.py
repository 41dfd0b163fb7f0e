"""The 64x64-pixel tiles of a picture: which of them changed, and copying those out."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

TILE: Final = 64
"""Side of a tile, in pixels."""
TILE_ROW_SIZE: Final = TILE * 3
TILE_SIZE: Final = TILE * TILE_ROW_SIZE
"""Bytes of one tile."""

Tiles = NDArray[np.bool_]
"""Which tiles changed: shape (tile rows, tile columns)."""


def changed_tiles(picture: NDArray[np.uint8], previous: NDArray[np.uint8]) -> Tiles:
    """Which tiles of two pictures of one shape differ, exactly.

    Most frames of a desktop are equal to the one before, and most others differ in a few rows.
    So a band of 64 rows, which is contiguous memory, is first compared as a whole, eight bytes at
    a time; only a band that differs is looked at tile by tile.
    """
    height, width, _ = picture.shape
    rows, columns = -(-height // TILE), -(-width // TILE)
    changed: Tiles = np.zeros((rows, columns), np.bool_)
    starts = np.arange(0, width * 3, TILE_ROW_SIZE)
    difference = np.empty((min(TILE, height), width * 3), np.uint8)
    for row in range(rows):
        band = slice(row * TILE, (row + 1) * TILE)
        here, before = picture[band].reshape(-1), previous[band].reshape(-1)
        if _equal(here, before):
            continue
        pixel_rows = here.size // (width * 3)
        bits = difference[:pixel_rows]
        np.bitwise_xor(here, before, out=bits.reshape(-1))
        columns_bits = np.bitwise_or.reduce(bits, axis=0)
        changed[row] = np.bitwise_or.reduceat(columns_bits, starts) != 0
    return changed


def _equal(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> bool:
    """Compare flat bytes as 64-bit words, and the few behind the last whole word as bytes."""
    words = one.size & ~7
    return np.array_equal(
        one[:words].view(np.uint64), other[:words].view(np.uint64)
    ) and np.array_equal(one[words:], other[words:])


def gather_tiles(picture: NDArray[np.uint8], changed: Tiles, out: NDArray[np.uint8]) -> None:
    """Copy the changed tiles, row by row and zero-padded to their full size.

    Args:
        picture: shape (height, width, 3), C-contiguous.
        changed: as `changed_tiles` gives it.
        out: shape (number of changed tiles, 64, 192); all of it is written.
    """
    done = 0
    for row in np.flatnonzero(changed.any(axis=1)):
        band = picture[row * TILE : (row + 1) * TILE]
        done += _gather(band.reshape(len(band), -1), changed[row], out[done:])


def _gather(band: NDArray[np.uint8], changed: NDArray[np.bool_], out: NDArray[np.uint8]) -> int:
    """Copy the changed tiles of one band to the front of `out`, zero-padded; how many.

    Args:
        band: shape (1..64, width * 3).
        changed: one flag a tile column.
        out: shape (at least that many, 64, 192).
    """
    height = len(band)
    whole = band.shape[1] // TILE_ROW_SIZE
    columns = np.flatnonzero(changed[:whole])
    tiles = band[:, : whole * TILE_ROW_SIZE].reshape(height, whole, TILE_ROW_SIZE).swapaxes(0, 1)
    # A full band needs no index: slicing copies once where fancy indexing copies twice.
    out[: columns.size, :height] = tiles if columns.size == whole else tiles[columns]
    count = int(columns.size)
    if whole < changed.size and changed[whole]:
        edge = band[:, whole * TILE_ROW_SIZE :]
        out[count, :height, : edge.shape[1]] = edge
        out[count, :height, edge.shape[1] :] = 0
        count += 1
    out[:count, height:] = 0
    return count
