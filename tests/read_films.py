"""Reads films back, with PyAV."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np
from av.video.stream import VideoStream
from blake3 import blake3
from numpy.typing import NDArray


class FilmRead(NamedTuple):
    """Size in pixels, length in seconds, and every picture (BGR) with its time in seconds."""

    width: int
    height: int
    length_s: float
    times_s: list[float]
    pictures: list[NDArray[np.uint8]]

    def digests(self) -> list[str]:
        return [blake3(picture.tobytes()).hexdigest() for picture in self.pictures]


def read_film(path: Path) -> FilmRead:
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert isinstance(stream, VideoStream)
        base = stream.time_base or Fraction(1)
        times, pictures = [], []
        for frame in container.decode(stream):
            times.append(float((frame.pts or 0) * base))
            pictures.append(frame.to_ndarray(format="bgr24").astype(np.uint8, copy=False))
        length_s = float(container.duration or 0) / av.time_base
        return FilmRead(stream.width, stream.height, length_s, times, pictures)
