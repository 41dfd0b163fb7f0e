"""Times of packets, where a container does not tell them all.

Matroska keeps when a picture is shown and not when it is decoded. FFmpeg works that out, but not
for the first packets of pictures that are shown in another order. RTSP tells the time of the first
packet of all with the second.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import msgspec

from recorder_worker.core.errors import SourceLostError

MAX_WAITING: Final = 64
"""Packets. No codec shows pictures later than that."""


class Stamped(msgspec.Struct, frozen=True, kw_only=True):
    """A packet as FFmpeg gives it, in ticks; `pts` and `dts` None: not told."""

    pts: int | None
    dts: int | None
    duration: int
    keyframe: bool
    came_ns: int
    data: bytes


class Stamps:
    """Fills in the decode times of one track."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._waiting: list[Stamped] = []
        self._last: Stamped | None = None

    def feed(self, packet: Stamped) -> Iterator[tuple[Stamped, int, int]]:
        """The packets that have both times now, with them: pts and dts.

        Raises:
            SourceLostError: the track tells no times.
        """
        if packet.dts is None and self._last is None:
            self._waiting.append(packet)
            if len(self._waiting) > MAX_WAITING:
                raise SourceLostError(
                    f"{self._name}: expected packets with a time, found {len(self._waiting)} "
                    "without; put the video into a container (MP4, Matroska) that has them"
                )
            return
        dts = packet.dts
        if dts is None:
            last = self._last
            dts = 0 if last is None or last.dts is None else last.dts + max(1, last.duration)
        step = max(1, packet.duration)
        for ahead, early in zip(range(len(self._waiting), 0, -1), self._waiting, strict=True):
            yield self._both(early, dts - ahead * step)
        self._waiting.clear()
        self._last = msgspec.structs.replace(packet, dts=dts)
        yield self._both(packet, dts)

    def rest(self) -> Iterator[tuple[Stamped, int, int]]:
        """The track has ended: what still waited, shown in the order in which it came.

        Raises:
            SourceLostError: the track tells no times.
        """
        waiting, self._waiting = self._waiting, []
        for packet in waiting:
            if packet.pts is None:
                raise SourceLostError(
                    f"{self._name}: expected packets with a time, found some without; put the "
                    "video into a container (MP4, Matroska) that has them"
                )
            yield packet, packet.pts, packet.pts

    @staticmethod
    def _both(packet: Stamped, dts: int) -> tuple[Stamped, int, int]:
        return packet, dts if packet.pts is None else packet.pts, dts
