"""Names of tiles and entry bundles, relative to the log (c2sp.org/tlog-tiles, "Merkle Tree").

A tile holds up to 256 hashes, those of level L being roots of full tiles of level L - 1; a bundle
holds the entries below a tile of level 0. What lies at the right edge is partial, and named by its
width.
"""

from __future__ import annotations

from recorder_worker.core.errors import FormatError
from recorder_worker.core.keys import LOG_TILES

TILE_WIDTH = 256
"""Hashes in a full tile, and entries in a full bundle."""
TILE_HEIGHT = 8
"""Levels of the tree that a tile stands for."""
MAX_LEVEL = 63


def tile_name(level: int, index: int, width: int = TILE_WIDTH) -> str:
    """`tile/<L>/<N>[.p/<W>]`. Raises FormatError."""
    if not 0 <= level <= MAX_LEVEL:
        raise FormatError(f"tile: expected a level in [0, {MAX_LEVEL}], got {level}")
    return f"{LOG_TILES}/{level}/{_place(index, width)}"


def bundle_name(index: int, width: int = TILE_WIDTH) -> str:
    """`tile/entries/<N>[.p/<W>]`. Raises FormatError."""
    return f"{LOG_TILES}/entries/{_place(index, width)}"


def partial_names(full: str) -> str:
    """The folder of the partial forms of a full tile or bundle."""
    return f"{full}.p"


def width_at(size: int, level: int, index: int) -> int:
    """How many hashes a tile has in a log of `size` entries; 0: there is no such tile."""
    hashes = size >> (TILE_HEIGHT * level)
    return max(0, min(TILE_WIDTH, hashes - index * TILE_WIDTH))


def _place(index: int, width: int) -> str:
    if index < 0 or not 1 <= width <= TILE_WIDTH:
        raise FormatError(
            f"tile: expected an index from 0 and a width in [1, {TILE_WIDTH}], "
            f"got {index} and {width}"
        )
    parts = [f"{index % 1000:03d}"]
    while index := index // 1000:
        parts.append(f"x{index % 1000:03d}")
    name = "/".join(reversed(parts))
    return name if width == TILE_WIDTH else f"{name}.p/{width}"
