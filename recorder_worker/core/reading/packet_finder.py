"""Where in a recording of packets a picture is, by its time or its unit, and what it needs."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from recorder_worker.core.cipher.session_cipher import SessionCipher
from recorder_worker.core.errors import FormatError
from recorder_worker.core.packets.fmp4_stream import scan_pieces
from recorder_worker.core.reading.checked_chunk import COPYABLE, checked_plain
from recorder_worker.core.reading.picture_finder import PictureFinder
from recorder_worker.core.records.leaves import ChunkRecord
from recorder_worker.core.verify.chunks import chunk_name
from recorder_worker.core.verify.reader import RecordingReader


class PacketPlace(msgspec.Struct, frozen=True, kw_only=True):
    """A packet and the chunks to decode it from, which begin with unit `first_unit`.

    `keyframe_unit` is the newest unit up to it with which a decoder may begin. Times are those of
    its unit, in ns.
    """

    name: str
    chunks: tuple[ChunkRecord, ...]
    first_unit: int
    keyframe_unit: int
    unit: int
    t_ns: int
    wall_ns: int


class PacketFinder:
    """Finds packets of one recording. Raises as `PictureFinder`."""

    def __init__(self, recording: RecordingReader, cipher: SessionCipher | None = None) -> None:
        self._recording = recording
        self._cipher = cipher
        self._finder = PictureFinder(recording, cipher)

    def at_time(self, t_ns: int) -> PacketPlace:
        """The newest one by a session time; before the first of its chunk that one."""
        return self._found(self._finder.place_at(t_ns), t_ns=t_ns)

    def at_unit(self, unit: int) -> PacketPlace:
        """That of a unit."""
        return self._found(self._finder.place_of(unit), unit=unit)

    def plain(self, place: PacketPlace) -> Iterator[bytes]:
        """The bytes to decode from, each chunk's once they were compared with its record."""
        for record in place.chunks:
            yield from self._plain(record)

    def _plain(self, record: ChunkRecord) -> Iterator[bytes]:
        return checked_plain(self._recording, record, self._cipher, whole=False, formats=COPYABLE)

    def _found(self, place: int, *, t_ns: int = 0, unit: int | None = None) -> PacketPlace:
        group = self._finder.group(place)
        last = group[-1].span.first_unit
        keyframe = group[0].span.first_unit
        found: tuple[int, int, int] | None = None
        for record in group:
            for piece in scan_pieces(self._plain(record)):
                first = piece.times.first_unit
                for number, (at_ns, wall_ns) in enumerate(piece.times.times, start=first):
                    wanted = at_ns <= t_ns or number == last if unit is None else number == unit
                    if wanted and number >= last:
                        found = (number, at_ns, wall_ns)
                if piece.headed and (found is None or found[0] >= first):
                    keyframe = first
        if found is None:
            name = chunk_name(group[-1])
            raise FormatError(f"{name}: expected unit {unit} in it, found no such packet")
        return PacketPlace(
            name=chunk_name(group[-1]),
            chunks=tuple(group),
            first_unit=group[0].span.first_unit,
            keyframe_unit=keyframe,
            unit=found[0],
            t_ns=found[1],
            wall_ns=found[2],
        )
