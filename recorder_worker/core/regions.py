"""Which parts of a picture to read, where many small rectangles of it have changed."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from recorder_worker.core.pictures import Region
from recorder_worker.core.tiles import TILE, Tiles

REGIONS_MAX: Final = 32
"""So many parts are read one by one; of more, what surrounds them all is."""


def covering(
    rectangles: NDArray[np.integer], width: int, height: int, *, most: int = REGIONS_MAX
) -> tuple[Region, ...]:
    """Regions of a picture that cover rectangles: whole tiles, which no two of them share.

    A display reports every letter that was drawn by itself, and reading costs by the request as
    well as by the pixel. The tiles are those in which the encoder compares.

    Args:
        rectangles: shape (count, 4): x, y, width and height. They may lie outside of the picture.
        width: of the picture, in pixels, as `height`.
        height: see `width`.
        most: how many regions there may be.
    """
    touched = _touched(rectangles, width, height)
    regions = _merged(touched)
    if len(regions) > most:
        rows, columns = np.flatnonzero(touched.any(axis=1)), np.flatnonzero(touched.any(axis=0))
        regions = [(int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1)]
    return tuple(
        Region(
            x=left * TILE,
            y=top * TILE,
            width=min(right * TILE, width) - left * TILE,
            height=min(bottom * TILE, height) - top * TILE,
        )
        for top, bottom, left, right in regions
    )


def _touched(rectangles: NDArray[np.integer], width: int, height: int) -> Tiles:
    """The tiles that the rectangles reach into: sums over where they begin and end."""
    rows, columns = -(-height // TILE), -(-width // TILE)
    corners = rectangles.astype(np.int64)
    left, top = corners[:, 0].clip(0, width), corners[:, 1].clip(0, height)
    right = (corners[:, 0] + corners[:, 2]).clip(0, width)
    bottom = (corners[:, 1] + corners[:, 3]).clip(0, height)
    inside = (right > left) & (bottom > top)
    left, top = left[inside] // TILE, top[inside] // TILE
    right, bottom = -(-right[inside] // TILE), -(-bottom[inside] // TILE)
    steps = np.zeros((rows + 1, columns + 1), np.int64)
    np.add.at(steps, (top, left), 1)
    np.add.at(steps, (bottom, right), 1)
    np.add.at(steps, (top, right), -1)
    np.add.at(steps, (bottom, left), -1)
    touched: Tiles = steps.cumsum(axis=0).cumsum(axis=1)[:rows, :columns] > 0
    return touched


def _merged(touched: Tiles) -> list[tuple[int, int, int, int]]:
    """Runs of a row, joined with equal ones right above: top, bottom, left, right, in tiles."""
    done: list[tuple[int, int, int, int]] = []
    open_runs: dict[tuple[int, int], int] = {}
    for row in range(len(touched) + 1):
        runs = set(_runs(touched[row])) if row < len(touched) else set()
        ended = [run for run in open_runs if run not in runs]
        done += [(open_runs.pop(run), row, *run) for run in ended]
        for run in runs:
            open_runs.setdefault(run, row)
    return sorted(done)


def _runs(row: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Where the set flags of a row begin, and where they end."""
    if not row.any():
        return []
    edges = np.flatnonzero(np.diff(row, prepend=False, append=False))
    return [(int(begin), int(end)) for begin, end in edges.reshape(-1, 2)]
