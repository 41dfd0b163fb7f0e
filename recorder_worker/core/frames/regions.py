"""Which parts of a picture to read, where many small rectangles of it have changed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from recorder_worker.core.frames.pictures import Region
from recorder_worker.core.frames.tiles import TILE

REGIONS_MAX: Final = 32
"""So many parts are read one by one; of more, what surrounds them all is."""

Rectangle = tuple[int, int, int, int]
"""x, y, width and height, in pixels."""


def covering(
    rectangles: Iterable[Rectangle], width: int, height: int, *, most: int = REGIONS_MAX
) -> tuple[Region, ...]:
    """Regions of a picture that cover rectangles: whole tiles, which no two of them share.

    A display reports every letter that was drawn by itself, and reading costs by the request as
    well as by the pixel. The tiles are those in which the encoder compares.

    Args:
        rectangles: where the picture has changed; they may lie outside of it.
        width: of the picture, in pixels, as `height`.
        height: see `width`.
        most: how many regions there may be.
    """
    # A row of tiles is the bits of an integer: for the few rectangles of a frame, whole arrays
    # take longer to make than to use.
    rows = [0] * -(-height // TILE)
    for x, y, across, down in rectangles:
        left, right = max(x, 0), min(x + across, width)
        top, bottom = max(y, 0), min(y + down, height)
        if left < right and top < bottom:
            bits = (1 << -(-right // TILE)) - (1 << left // TILE)
            for row in range(top // TILE, -(-bottom // TILE)):
                rows[row] |= bits
    found = _merged(rows)
    if len(found) > most:
        tops, bottoms, lefts, rights = zip(*found, strict=True)
        found = [(min(tops), max(bottoms), min(lefts), max(rights))]
    return tuple(
        Region(
            x=left * TILE,
            y=top * TILE,
            width=min(right * TILE, width) - left * TILE,
            height=min(bottom * TILE, height) - top * TILE,
        )
        for top, bottom, left, right in found
    )


def _merged(rows: list[int]) -> list[tuple[int, int, int, int]]:
    """Runs of a row, joined with equal ones right above: top, bottom, left, right, in tiles."""
    done: list[tuple[int, int, int, int]] = []
    begun: dict[tuple[int, int], int] = {}
    for row, bits in enumerate([*rows, 0]):
        runs = set(_runs(bits))
        done += [(top, row, *run) for run, top in begun.items() if run not in runs]
        begun = {run: begun.get(run, row) for run in runs}
    return sorted(done)


def _runs(bits: int) -> Iterator[tuple[int, int]]:
    """Where the set bits of a row begin, and where they end."""
    while bits:
        begin = (bits & -bits).bit_length() - 1
        filled = bits + (1 << begin)  # carries through the run, to the bit behind it
        end = (filled & -filled).bit_length() - 1
        yield begin, end
        bits &= filled
