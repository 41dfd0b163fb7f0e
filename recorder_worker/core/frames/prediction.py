"""Photo-like tiles: which they are, and their pixels as differences from their neighbours.

zstd finds text again wherever it went, and must see it plain for that. A photo never comes twice,
but its pixels are like the ones beside and above. So a tile with many small steps is stored as

    blue - green, green, red - green    of    pixel - left - above + left above

each byte modulo 256, and what lies outside the tile counts as zero. Both are sums, so that they
are undone by sums. The rule is exact and looks at the tile alone: coding stays canonical.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from recorder_worker.core.frames.tiles import TILE

_EVERY_ROW: Final = 8
_SMALL_STEP: Final = 16
_SMALL_STEPS: Final = 378
"""A quarter of the steps that are looked at: 63 of 3 bytes in each of 8 rows."""


def photo_like(tiles: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Which tiles have many small steps from one pixel to the next.

    Args:
        tiles: shape (number of tiles, 64, 192).
    """
    rows = tiles[:, ::_EVERY_ROW]
    steps = rows[:, :, 3:] - rows[:, :, :-3]
    small = (steps + np.uint8(_SMALL_STEP) <= 2 * _SMALL_STEP) & (steps != 0)
    # Eight rows fit into a byte: summing them first is the quickest way that numpy has.
    columns = np.add.reduce(small.view(np.uint8), axis=1, dtype=np.uint8)
    found: NDArray[np.bool_] = columns.sum(axis=1, dtype=np.uint16) > _SMALL_STEPS
    return found


def predict(tile: NDArray[np.uint8]) -> None:
    """Replace the pixels of one tile, shape (64, 192), by their differences."""
    tile[1:] -= tile[:-1].copy()
    tile[:, 3:] -= tile[:, :-3].copy()
    pixels = tile.reshape(TILE, TILE, 3)
    green = pixels[:, :, 1].copy()
    pixels[:, :, 0] -= green
    pixels[:, :, 2] -= green


def restore(tile: NDArray[np.uint8]) -> None:
    """Undo `predict`."""
    pixels = tile.reshape(TILE, TILE, 3)
    green = pixels[:, :, 1].copy()
    pixels[:, :, 0] += green
    pixels[:, :, 2] += green
    rows = np.add.accumulate(pixels, axis=0, dtype=np.uint8)
    np.add.accumulate(rows, axis=1, dtype=np.uint8, out=pixels)
