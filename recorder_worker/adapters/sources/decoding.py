"""Encoded pictures, decoded by OpenCV: bit for bit what the file says, where it is 8-bit."""

from __future__ import annotations

import cv2
import numpy as np

from recorder_worker.core.errors import FormatError, RefusedError
from recorder_worker.core.frames.pictures import Picture
from recorder_worker.core.picture_header import picture_header


def decode_picture(data: bytes, max_pixels: int) -> Picture:
    """The pixels of a PNG, JPEG, WebP or BMP; transparency is left out, nothing is turned.

    Raises:
        FormatError: it is none of these, is damaged or cut short, or is larger than `max_pixels`.
    """
    header = picture_header(data, max_pixels)
    try:
        # Unchanged: else a PNG of 16 bits became one of 8 without a word, and a JPEG was turned.
        decoded = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error as error:
        raise _damaged(header.kind, str(error)) from error
    if decoded is None:
        raise _damaged(header.kind, "none in it")
    picture = as_bgr(np.asarray(decoded))
    if picture.shape[:2] != (header.height, header.width):
        raise _damaged(header.kind, f"{picture.shape[1]}x{picture.shape[0]} pixels in it")
    return picture


def as_bgr(decoded: np.ndarray) -> Picture:
    """Shape (height, width, 3), uint8, contiguous, from gray, BGR or BGRA. Raises FormatError."""
    channels = 1 if decoded.ndim == 2 else decoded.shape[2]
    if decoded.dtype != np.uint8 or channels not in (1, 3, 4):
        raise FormatError(
            f"expected 8-bit gray, BGR or BGRA pixels, found {channels} channels of "
            f"{decoded.dtype}; convert the picture to 8 bits"
        )
    if channels == 1:
        decoded = cv2.cvtColor(decoded, cv2.COLOR_GRAY2BGR)
    elif channels == 4:
        decoded = cv2.cvtColor(decoded, cv2.COLOR_BGRA2BGR)
    picture: Picture = np.ascontiguousarray(decoded, dtype=np.uint8)
    return picture


def refused(error: FormatError) -> RefusedError:
    """What is wrong with a message that holds such a picture."""
    what, _, hint = str(error).removeprefix("expected ").rpartition("; ")
    expected, _, got = what.partition(", found ")
    return RefusedError(field="$", expected=expected, got=got, hint=hint)


def _damaged(kind: str, found: str) -> FormatError:
    return FormatError(
        f"expected a {kind.upper()} picture of its declared size that OpenCV can decode, found "
        f"{found}; it is damaged"
    )
