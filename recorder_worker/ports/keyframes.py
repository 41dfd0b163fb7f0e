"""How one keyframe out of a stream of packets becomes a picture that can be looked at."""

from __future__ import annotations

from typing import Protocol

from recorder_worker.core.frames.pictures import Picture
from recorder_worker.ports.packets import Coding


class KeyframeDecoder(Protocol):
    """Decodes single keyframes. Threads may share it, and wait in it for each other."""

    def picture(self, coding: Coding, data: bytes) -> Picture:
        """The picture of a keyframe, by the parameters in its stream and those in the packet.

        Args:
            coding: of the track that the packet belongs to.
            data: one packet of video, which is a keyframe.

        Raises:
            FormatError: it cannot be decoded, or has more pixels than are allowed.
        """
        ...
