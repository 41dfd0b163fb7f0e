"""Looks at pictures with OpenCV."""

from __future__ import annotations

import math
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from recorder_worker.core.frames.pictures import Picture
from recorder_worker.core.model import Mask
from recorder_worker.core.quality.measures import Measures
from recorder_worker.ports.optics import SmallPicture

_ABOVE_PEAK: Final = 1 / 10_000
"""The share of pixels that may be brighter: a hot pixel of a sensor is no picture."""
_SAME_COLOUR: Final = 8
"""How far a channel may be off the middle colour: as far as lossy codecs take it."""
_BLUR_TAPS: Final = 11
_BAR_ROWS: Final = 24
_BARS: Final = (6, 3, 2, 5, 4, 1)
"""Yellow, cyan, green, magenta, red and blue, as bits of red, green and blue: the order of SMPTE
and EBU bars. White, grey and black beside them are in many pictures and are not asked for."""
_NARROWEST_BAR: Final = 1 / 16
"""Of the width. A seventh or an eighth is usual, less between the black sides of a wide frame."""

Bytes = NDArray[np.uint8]


class OpenCvOptics:
    """`Optics` on OpenCV."""

    def shrink(self, picture: Picture, masks: tuple[Mask, ...], longest: int) -> SmallPicture:
        """See `Optics.shrink`."""
        height, width, _ = picture.shape
        scale = min(1.0, longest / max(height, width))
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        same = size == (width, height)
        small: Any = (
            picture.copy() if same else cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
        )
        if not masks:
            return SmallPicture(small)
        visible = np.full((size[1], size[0]), 255, np.uint8)
        for mask in masks:
            visible[_touched(mask, size[0] / width, size[1] / height)] = 0
        return SmallPicture(small, visible)

    def measure(self, small: SmallPicture) -> Measures:
        """See `Optics.measure`."""
        picture, visible = small.picture, small.visible
        height, width, _ = picture.shape
        count = height * width if visible is None else cv2.countNonZero(visible)
        if not count:
            return Measures(visible=0.0)
        channels: Any = cv2.split(picture)
        strongest: Any = cv2.max(cv2.max(channels[0], channels[1]), channels[2])
        grey: Any = cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY)
        middle = np.array([_level(channel, visible, 0.5) for channel in channels])
        near: Any = cv2.inRange(picture, middle - float(_SAME_COLOUR), middle + float(_SAME_COLOUR))
        if visible is not None:
            near = cv2.bitwise_and(near, visible)
        return Measures(
            visible=round(count / (height * width), 4),
            peak=_level(strongest, visible, 1 - _ABOVE_PEAK),
            contrast=round(float(cv2.meanStdDev(grey, mask=visible)[1].item()), 1),
            flat=round(cv2.countNonZero(near) / count, 4),
            chroma=float(middle.max() - middle.min()),
            bars=round(_bars(picture, visible), 3),
            blur=round(_blur(grey, visible), 3),
        )

    def jpeg(self, picture: Picture, quality: int) -> bytes:
        """See `Optics.jpeg`."""
        done, data = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, quality])
        if not done:
            raise ValueError(f"expected a picture that can be encoded, found {picture.shape}")
        return data.tobytes()


def _touched(mask: Mask, across: float, down: float) -> tuple[slice, slice]:
    """The small pixels in which a pixel of a mask has a part, and those beside them."""
    top, bottom = mask.y * down, (mask.y + mask.height) * down
    left, right = mask.x * across, (mask.x + mask.width) * across
    return (
        slice(max(0, math.floor(top) - 1), math.ceil(bottom) + 1),
        slice(max(0, math.floor(left) - 1), math.ceil(right) + 1),
    )


def _level(channel: Bytes, visible: Bytes | None, share: float) -> float:
    """The level that a share of the pixels does not exceed."""
    counted: Any = cv2.calcHist([channel], [0], visible, [256], [0, 256])
    below = np.cumsum(counted.ravel())
    return float(np.searchsorted(below, share * below[-1]))


def _blur(grey: Bytes, visible: Bytes | None) -> float:
    """How little a picture loses when it is blurred once more; the worse of both directions.

    Crete, Dolmiere, Ladret, Nicolas: "The Blur Effect: Perception and Estimation with a New
    No-Reference Perceptual Blur Metric", 2007. It does not depend on contrast.
    """
    inside: Any = None
    if visible is not None:  # the edge of a mask is sharp, and is none of the picture's
        inside = cv2.erode(visible, np.ones((_BLUR_TAPS + 2, _BLUR_TAPS + 2), np.uint8)) > 0
    calm = cv2.GaussianBlur(grey, (5, 5), 1)  # the noise of a sensor has edges, too
    worst = 0.0
    for across in (1, 0):
        taps = (_BLUR_TAPS, 1) if across else (1, _BLUR_TAPS)
        edges, left = (
            np.abs(cv2.Sobel(image, cv2.CV_16S, across, 1 - across))
            for image in (calm, cv2.blur(calm, taps))
        )
        lost = np.maximum(edges - left, 0)
        if inside is not None:
            edges, lost = edges[inside], lost[inside]
        whole = int(edges.sum(dtype=np.int64))
        if whole:
            worst = max(worst, 1 - int(lost.sum(dtype=np.int64)) / whole)
    return worst


def _bars(picture: Picture, visible: Bytes | None) -> float:
    """The share of the width that is a test card's colours in their order, in the upper half."""
    height, width, _ = picture.shape
    rows = np.linspace(height * 0.1, height * 0.55, _BAR_ROWS).astype(int)
    if visible is not None:
        rows = rows[visible[rows].all(axis=1)]
    if not len(rows):
        return 0.0
    bands = picture[rows]
    columns = np.median(bands, axis=0)
    strongest = columns.max(axis=1)
    clear = np.abs(bands - columns).max(axis=(0, 2)) <= 4 * _SAME_COLOUR
    clear &= strongest >= 100
    on = columns >= 0.65 * strongest[:, None]
    clear &= (on | (columns <= 0.35 * strongest[:, None])).all(axis=1)
    codes = np.where(clear, on @ np.array([1, 2, 4]), 0)
    share, at = 0.0, 0
    for code in _BARS:
        where = at + np.flatnonzero(codes[at:] == code)
        if len(where) < _NARROWEST_BAR * width or where[-1] - where[0] > 1.2 * len(where) + 2:
            return 0.0
        share += len(where) / width
        at = int(where[-1]) + 1
    return share
