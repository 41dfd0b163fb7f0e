"""Decodes one picture of a packet stream with PyAV."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from av.video.frame import VideoFrame

from recorder_worker.adapters.film.packet_input import opened_packets
from recorder_worker.core.frames.pictures import Picture


def packet_picture(pieces: Iterable[bytes], name: str, begin: int, wanted: int) -> Picture | None:
    """The picture of the video packet number `wanted`, decoded from number `begin` on.

    Returns:
        Height, width, and blue, green and red of each pixel; None where it cannot be decoded from
        there, as that of an open group of pictures, which needs the group before it.

    Raises:
        FormatError: FFmpeg does not read the stream.
    """
    with opened_packets(pieces, name) as (container, tracks):
        for number, packet in enumerate(container.demux(tracks.video)):
            if not packet.size or number < begin:
                continue
            frames = packet.decode()
            if number == wanted:
                # Only now can its picture come out; those that wait for others are asked for.
                return _picture([*frames, *tracks.video.decode(None)], packet.pts)
    return None


def _picture(frames: list[VideoFrame], pts: int | None) -> Picture | None:
    for frame in frames:
        if frame.pts == pts and not frame.is_corrupt:
            return frame.to_ndarray(format="bgr24").astype(np.uint8, copy=False)
    return None
