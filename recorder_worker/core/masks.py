"""Blacks out what must not be recorded, before anything is encoded, hashed or stored."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from recorder_worker.core.model import Mask


def apply_masks(picture: NDArray[np.uint8], masks: Iterable[Mask]) -> NDArray[np.uint8]:
    """The picture with every mask's rectangle black.

    Rectangles are clipped to the picture; one that lies outside it changes nothing. The picture
    that is passed is never written to: it is returned as it is where all masked pixels are black
    already, and copied once otherwise.

    Args:
        picture: shape (height, width, 3), BGR, uint8.
        masks: rectangles in pixels of this picture, from its top left corner.
    """
    return masked_rows(picture, 0, masks)


def masked_rows(rows: NDArray[np.uint8], top: int, masks: Iterable[Mask]) -> NDArray[np.uint8]:
    """The same for some rows of a picture, of which the first is row `top`."""
    masked = rows
    for mask in masks:
        inside = (
            slice(max(0, mask.y - top), max(0, mask.y + mask.height - top)),
            slice(mask.x, mask.x + mask.width),
        )
        if not masked[inside].any():
            continue
        if masked is rows:
            masked = rows.copy()
        masked[inside] = 0
    return masked
