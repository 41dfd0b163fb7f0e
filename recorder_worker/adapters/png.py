"""Pictures as PNG, by OpenCV."""

from __future__ import annotations

import cv2

from recorder_worker.core.errors import FormatError
from recorder_worker.core.frames.pictures import Picture


def png_of(picture: Picture) -> bytes:
    """The bytes of a PNG file with exactly these pixels. Raises FormatError."""
    made, data = cv2.imencode(".png", picture)
    if not made:
        raise FormatError(f"a picture of shape {picture.shape}: OpenCV makes no PNG of it")
    return bytes(data)
