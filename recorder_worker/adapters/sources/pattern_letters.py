"""The letters of the synthetic desktop, drawn once for all of them.

OpenCV 5 keeps 5.8 MiB of fonts for every thread that ever called `putText`, until the thread ends,
and takes a millisecond to load them. Each session reads its source on a thread of its own.
"""

from __future__ import annotations

from functools import cache
from typing import Final, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from recorder_worker.core.frames.pictures import Picture

_FONT: Final = cv2.FONT_HERSHEY_PLAIN
_ASCENT: Final = 14
_HEIGHT: Final = 18
"""Rows of a letter, and how many of them stand above the line."""
_MARGIN: Final = 4
"""Columns that a letter may reach into its neighbours."""
_PRINTABLE: Final = [chr(code) for code in range(32, 127)]


class _Letter(NamedTuple):
    coverage: NDArray[np.uint8]
    """_HEIGHT rows of the letter's width and a margin on either side; 255 is all ink."""
    advance: int


def write(picture: Picture, text: str, x: int, y: int, colour: tuple[int, int, int]) -> None:
    """Write printable ASCII; what reaches over the picture's edges is cut off.

    Args:
        picture: height x width x 3, BGR.
        text: a line.
        x: column of its first letter.
        y: row on which the letters stand.
        colour: BGR.

    Raises:
        KeyError: a letter is not ASCII, or not printable.
    """
    coverage = _coverage(text)
    top, left = y - _ASCENT, x - _MARGIN
    rows = slice(max(0, top), max(0, top + coverage.shape[0]))
    columns = slice(max(0, left), max(0, left + coverage.shape[1]))
    below = picture[rows, columns]
    first_row, first_column = rows.start - top, columns.start - left
    height, width, _ = below.shape
    ink = coverage[first_row : first_row + height, first_column : first_column + width, None]
    mixed = below * (255 - ink.astype(np.uint16)) + np.array(colour, np.uint16) * ink
    below[:] = (mixed + 127) // 255


def _coverage(text: str) -> NDArray[np.uint8]:
    letters = [_alphabet()[letter] for letter in text]
    width = sum(letter.advance for letter in letters) + 2 * _MARGIN
    coverage = np.zeros((_HEIGHT, width), np.uint8)
    x = 0
    for letter in letters:
        place = coverage[:, x : x + letter.coverage.shape[1]]
        np.maximum(place, letter.coverage, out=place)
        x += letter.advance
    return coverage


@cache
def _alphabet() -> dict[str, _Letter]:
    return {letter: _drawn(letter) for letter in _PRINTABLE}


def _drawn(letter: str) -> _Letter:
    (width, _), _ = cv2.getTextSize(letter, _FONT, 1.0, 1)
    advance = width - 1
    canvas = np.zeros((_HEIGHT, advance + 2 * _MARGIN), np.uint8)
    cv2.putText(canvas, letter, (_MARGIN, _ASCENT), _FONT, 1.0, (255.0,))
    return _Letter(canvas, advance)
