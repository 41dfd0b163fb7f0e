"""What a film of copied packets holds: from which keyframe to which, and what is missing between.

A film of packets begins and ends where a piece of the stream begins with a keyframe, for what is
not encoded again cannot be cut elsewhere. So it shows a little more than was asked for, and says
what. Every chunk is compared with its record, and walked through, before anything else opens it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec

from recorder_worker.core.cipher.session_cipher import SessionCipher
from recorder_worker.core.errors import (
    BlobDamagedError,
    BlobMissingError,
    FormatError,
    RefusedError,
    UnsupportedError,
)
from recorder_worker.core.packets.fmp4_stream import Piece, scan_pieces
from recorder_worker.core.printable import printable
from recorder_worker.core.reading.checked_chunk import COPYABLE, checked_plain
from recorder_worker.core.reading.frames import recording_records
from recorder_worker.core.records.codec import decode_record
from recorder_worker.core.records.leaves import ChunkRecord, GapRecord
from recorder_worker.core.screening.extent import Extent, between
from recorder_worker.core.screening.scenes import CardKind
from recorder_worker.core.verify.chunks import chunk_name
from recorder_worker.core.verify.reader import RecordingReader

PICTURES: Final = "pictures"
SECOND_NS: Final = 1_000_000_000

Alike = Callable[[bytes, bytes], str]
"""In what the tracks of two heads (ftyp and moov) differ, in words; nothing where they do not."""
Tell = Callable[[int], None]
"""Called with the session time that was gone through, in nanoseconds."""


class ReelPart(msgspec.Struct, frozen=True, kw_only=True):
    """A part of the session, [t0_ns, t1_ns): pictures without a break, or what is missing.

    `what` is `pictures` or the kind of a card. `first_unit` is the first one of the pictures.
    """

    what: str
    t0_ns: int
    t1_ns: int
    first_unit: int = 0
    reason: str = ""
    detail: str = ""
    lost_units: int = 0


class Reel(msgspec.Struct, frozen=True, kw_only=True):
    """What is copied: units [first_unit, end_unit), but those of chunks that are left out.

    Attributes:
        extent: the session time that this is; its leaves are those that are read.
        head: ftyp and moov of all of it.
        left_out: indices of chunks that are damaged, or build on one that is.
        damaged: names of those that are damaged.
        parts: in order of the session.
    """

    extent: Extent
    first_unit: int
    end_unit: int
    head: bytes
    left_out: frozenset[int]
    damaged: tuple[str, ...]
    parts: tuple[ReelPart, ...]


class _Cut(msgspec.Struct, frozen=True, kw_only=True):
    """A keyframe at which a film may begin or end."""

    unit: int
    t_ns: int
    wall_ns: int
    head: bytes


def reel_of(
    recording: RecordingReader,
    extent: Extent,
    cipher: SessionCipher | None,
    alike: Alike,
    tell: Tell,
    *,
    damaged_too: bool = False,
    whole: bool = False,
) -> Reel:
    """Find what a film of an extent holds. `whole`: the extent is the whole recording.

    Raises:
        BlobDamagedError, BlobMissingError: a chunk is not the one that was recorded.
        RefusedError: no keyframe is in the extent, the codecs change in it, or it is encrypted
            and no cipher is given.
        RecorderError: the recording cannot be read.
    """
    search = _Search(extent, alike, whole=whole)
    for data in recording_records(recording):
        record = decode_record(data)
        if record.index < extent.decode_index or not isinstance(record, ChunkRecord | GapRecord):
            continue
        if search.ends_before(record):
            break
        if isinstance(record, GapRecord):
            search.gap(record)
        elif not search.breaks(record):
            try:
                plain = checked_plain(recording, record, cipher, formats=COPYABLE)
                search.chunk(record, [_cut(piece) for piece in scan_pieces(plain) if piece.headed])
            except UnsupportedError:
                raise
            except (BlobDamagedError, BlobMissingError, FormatError) as error:
                if not damaged_too:
                    raise
                search.damaged(record, str(error))
        tell(record.span.t1_ns)
    return search.reel()


def _cut(piece: Piece) -> _Cut:
    t_ns, wall_ns = piece.times.times[0]
    return _Cut(unit=piece.times.first_unit, t_ns=t_ns, wall_ns=wall_ns, head=piece.head)


class _Search:
    """One pass over the records of an extent, and over those behind it up to a keyframe."""

    def __init__(self, extent: Extent, alike: Alike, *, whole: bool) -> None:
        self._extent = extent
        self._alike = alike
        self._whole = whole
        self._begin: _Cut | None = None
        self._end: tuple[int, int, int] | None = None  # unit, session time, wall clock
        self._last: ChunkRecord | GapRecord | None = None
        self._parts: list[ReelPart] = []
        self._left_out: list[int] = []
        self._damaged: list[str] = []
        self._broken = False
        self._ended = False

    def ends_before(self, record: ChunkRecord | GapRecord) -> bool:
        """Whether nothing of this leaf, and of those behind it, is needed."""
        if self._ended:
            return True
        if record.index <= self._extent.last_index:
            return False
        # Behind the extent only what goes on with the pictures that it ends within.
        return isinstance(record, GapRecord) or record.keyframe or self._broken

    def gap(self, record: GapRecord) -> None:
        self._broken = False
        self._missing(
            CardKind.GAP,
            record,
            record.reason.value.replace("_", " "),
            record.detail,
            record.span.unit_count,
        )

    def breaks(self, record: ChunkRecord) -> bool:
        """Whether a chunk builds on one that is damaged."""
        self._broken = self._broken and not record.keyframe
        if self._broken:
            self._left_out.append(record.index)
            self._missing(
                CardKind.UNPLAYABLE, record, "cannot be decoded", "it builds on what is missing"
            )
        return self._broken

    def damaged(self, record: ChunkRecord, detail: str) -> None:
        self._broken = True
        self._left_out.append(record.index)
        self._damaged.append(chunk_name(record))
        name = chunk_name(record)
        self._missing(CardKind.DAMAGED, record, f"{name} was changed", detail)

    def chunk(self, record: ChunkRecord, cuts: list[_Cut]) -> None:
        """A chunk that is what it was, with its keyframes."""
        if self._begin is None and not cuts:
            self._left_out.append(record.index)
            self._missing(CardKind.UNPLAYABLE, record, "cannot be decoded", "it has no keyframe")
            return
        self._last = record
        span = record.span
        if not self._going_on:
            self._parts.append(
                ReelPart(
                    what=PICTURES, t0_ns=span.t0_ns, t1_ns=span.t1_ns, first_unit=span.first_unit
                )
            )
        end_ns = span.t1_ns
        for cut in cuts:
            begin = self._begin
            if begin is None or (cut.t_ns <= self._extent.begin_ns and not self._whole):
                self._begin = cut
                self._parts[-1] = msgspec.structs.replace(
                    self._parts[-1],
                    first_unit=cut.unit,
                    t0_ns=span.t0_ns if self._whole else cut.t_ns,
                )
            elif not self._whole and cut.t_ns >= self._extent.end_ns:
                self._end, self._ended = (cut.unit, cut.t_ns, cut.wall_ns), True
                end_ns = cut.t_ns
                break
            elif cut.head != begin.head and (difference := self._alike(begin.head, cut.head)):
                raise _changed(cut, difference)
        self._parts[-1] = msgspec.structs.replace(self._parts[-1], t1_ns=end_ns)

    @property
    def _going_on(self) -> bool:
        return bool(self._parts) and self._parts[-1].what == PICTURES

    def _missing(
        self,
        kind: CardKind,
        record: ChunkRecord | GapRecord,
        reason: str,
        detail: str,
        lost_units: int = 0,
    ) -> None:
        self._last = record
        extent, span = self._extent, record.span
        if record.index < extent.first_index:
            return
        t0_ns, t1_ns = max(span.t0_ns, extent.begin_ns), min(span.t1_ns, extent.end_ns)
        before = self._parts[-1] if self._parts else None
        if before is not None and before.what == kind == CardKind.UNPLAYABLE:
            self._parts[-1] = msgspec.structs.replace(before, t1_ns=t1_ns)
            return
        self._parts.append(
            ReelPart(
                what=kind.value,
                t0_ns=t0_ns,
                t1_ns=t1_ns,
                reason=printable(reason),
                detail=printable(detail),
                lost_units=lost_units,
            )
        )

    def reel(self) -> Reel:
        begin, last, extent = self._begin, self._last, self._extent
        if begin is None or last is None:
            raise RefusedError(
                field="--from",
                expected="a part with a keyframe, which a film of packets begins with",
                got="one without",
                hint="export a longer part; `recorder verify` prints times and gaps",
            )
        unit, t1_ns, wall1_ns = self._end or self._reached(last)
        pictures = self._parts[0].what == PICTURES and not self._whole
        return Reel(
            extent=msgspec.structs.replace(
                extent,
                begin_ns=begin.t_ns if pictures else extent.begin_ns,
                wall0_ns=begin.wall_ns if pictures else extent.wall0_ns,
                end_ns=t1_ns,
                wall1_ns=wall1_ns,
                last_index=last.index,
            ),
            first_unit=begin.unit,
            end_unit=unit,
            head=begin.head,
            left_out=frozenset(self._left_out),
            damaged=tuple(self._damaged),
            parts=tuple(self._parts),
        )

    def _reached(self, last: ChunkRecord | GapRecord) -> tuple[int, int, int]:
        """Where a film ends that no keyframe ends: with its last leaf."""
        span = last.span
        end_unit = span.first_unit + span.unit_count
        if self._going_on:
            return end_unit, span.t1_ns, span.wall1_ns
        t1_ns = min(span.t1_ns, self._extent.end_ns)
        walls = (span.wall0_ns, span.wall1_ns)
        return end_unit, t1_ns, between(t1_ns, (span.t0_ns, span.t1_ns), walls)


def _changed(cut: _Cut, difference: str) -> RefusedError:
    at = f"{cut.t_ns}ns"
    return RefusedError(
        field="DIR",
        expected="one kind of packets in a film, for nothing is encoded again",
        got=f"others from unit {cut.unit} on, at {cut.t_ns / SECOND_NS:.3f} s: {difference}",
        hint=f"make two films: one with --to {at}, one with --from {at}",
    )
