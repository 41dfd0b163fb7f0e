"""Holds the pieces of a chunk of packets against its record, without decoding a picture."""

from __future__ import annotations

from recorder_worker.core.errors import FormatError
from recorder_worker.core.packets.fmp4_stream import Piece, scan_pieces
from recorder_worker.core.records.leaves import ChunkRecord
from recorder_worker.core.verify.plain import PlainBytes


class PacketWalk:
    """As `FrameWalk`, for the format `fmp4`. It says nothing of the picture's size."""

    def __init__(self, record: ChunkRecord) -> None:
        self.record = record
        self.first: tuple[int, int] | None = None
        self.last: tuple[int, int] | None = None
        self._count = 0
        self._size = 0
        self._t_ns = record.span.t0_ns

    def walk(self, plain: PlainBytes) -> None:
        """Read all pieces. Raises FormatError for what is not as the record says."""
        for piece in scan_pieces(plain):
            self._accept(piece)
        self._expect("units", self.record.span.unit_count, self._count)
        self._expect("bytes of samples", self.record.raw_size, self._size)

    def _accept(self, piece: Piece) -> None:
        span = self.record.span
        if self._count == 0:
            self._expect("a keyframe at the start", self.record.keyframe, piece.keyframe)
        self._expect("unit", span.first_unit + self._count, piece.times.first_unit)
        for t_ns, _ in piece.times.times:
            if not self._t_ns <= t_ns < span.t1_ns:
                raise FormatError(
                    f"unit {span.first_unit + self._count}: expected a time in "
                    f"[{self._t_ns}, {span.t1_ns}) ns, found {t_ns}"
                )
            self._t_ns = t_ns
            self._count += 1
        self._size += piece.size

    def _expect(self, what: str, expected: int, found: int) -> None:
        if expected != found:
            raise FormatError(f"{what}: expected {expected} by the record, found {found}")
