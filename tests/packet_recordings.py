"""Recordings of packets, made of real films as the recorder makes them, without a recorder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import av
import msgspec
from recordings import FRAME_NS, WALL_NS, Recording

from recorder_worker.adapters.sources.tracks import Tracks
from recorder_worker.core.events import ChunkStored
from recorder_worker.core.packets.fmp4 import PieceTimes, pack_times
from recorder_worker.core.packets.fmp4_stream import scan_pieces
from recorder_worker.ports import Packet


class Film:
    """The packets of a film of 10 pictures a second, in groups that begin with a keyframe."""

    def __init__(self, path: Path) -> None:
        with av.open(str(path)) as container:
            self.tracks = Tracks(container, path.name)
            self.groups: list[list[Packet]] = []
            for packet in container.demux():
                if not packet.size or packet.dts is None or packet.pts is None:
                    continue
                video = packet.stream.type == "video"
                if video and packet.is_keyframe:
                    self.groups.append([])
                if self.groups:
                    self.groups[-1].append(
                        Packet(
                            video=video,
                            keyframe=packet.is_keyframe,
                            pts=packet.pts,
                            dts=packet.dts,
                            duration=packet.duration or 0,
                            t_ns=0,
                            data=bytes(packet),
                        )
                    )

    def packets(self, *, video: bool = True) -> list[bytes]:
        """The bytes of each."""
        return [each.data for group in self.groups for each in group if each.video is video]


class PacketRecording(Recording):
    """A recording of packets; a unit lasts `FRAME_NS`, as the pictures of the films do."""

    def packets(self, film: Film, *groups: int, split: int | None = None) -> PacketRecording:
        """A chunk of some groups, each of them a piece; `split`: a chunk of the last one's end.

        Units of the last group from `split` on are then a chunk that builds on the one before.
        """
        told = [film.groups[number] for number in groups]
        if split is None:
            return self._packets(film, told)
        last = told.pop()
        at = [place for place, packet in enumerate(last) if packet.video][split]
        return self._packets(film, [*told, last[:at]])._packets(film, [last[at:]])

    def _packets(self, film: Film, groups: Sequence[Sequence[Packet]]) -> PacketRecording:
        plain, unit = b"", self.unit
        first = next(packet for packet in groups[0] if packet.video)
        tick = film.tracks.tick
        shift = round(self.t_ns / 10**9 / tick) - first.dts
        for group in groups:
            count = sum(packet.video for packet in group)
            stamps = [self.t_ns + (unit + nth - self.unit) * FRAME_NS for nth in range(count)]
            times = PieceTimes(
                first_unit=unit,
                shift=shift,
                tick_num=tick.numerator,
                tick_den=tick.denominator,
                times=tuple((stamp, WALL_NS + stamp) for stamp in stamps),
            )
            head, body = film.tracks.piece(group, shift)
            keyframe = next(packet for packet in group if packet.video).keyframe
            plain += (head if keyframe else b"") + pack_times(times) + body
            unit += count
        raw_size = sum(piece.size for piece in scan_pieces((plain,)))

        def of_packets(event: ChunkStored) -> ChunkStored:
            return msgspec.structs.replace(event, frames="fmp4", raw_size=raw_size)

        self.chunk(
            unit - self.unit,
            keyframe=first.keyframe,
            codec="stored",
            plain=plain,
            change=of_packets,
        )
        return self
