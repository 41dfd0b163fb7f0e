"""Step 10, streams: nothing is left out. Each is tiled by chunks and gaps, in units and in time."""

from __future__ import annotations

from recorder_worker.core.events import StreamEnd
from recorder_worker.core.model import GapReason
from recorder_worker.core.records.codec import MAX_RECORD_SIZE
from recorder_worker.core.records.leaves import (
    AnyRecord,
    BeatRecord,
    ChunkRecord,
    GapRecord,
    SealRecord,
)
from recorder_worker.core.records.ledger import end_of
from recorder_worker.core.verify.findings import Findings

MAX_STREAMS = MAX_RECORD_SIZE // 20
"""A SEAL has 20 bytes for each. Nobody's memory and time are spent on more."""


class _Stream:
    """One stream while its spans are laid one behind the other.

    `keyframes` are the records from which the next delta may follow. It is one chunk, none behind
    a gap, and behind a dead letter also the gap itself: a chunk that could not be stored became a
    gap when the chunks behind it were already planned. They are kept, and cannot be played.
    """

    def __init__(self, number: int) -> None:
        self.end = StreamEnd(stream=number, next_unit=0, t_ns=0)
        self.keyframes: set[int] = set()
        self.newest_keyframe: int | None = None
        self.broken_at: int | None = None
        self.unplayable: tuple[int, int, int] | None = None
        self.hidden = False

    def reveal(self) -> None:
        """Records are hidden before the next span: it may begin anywhere behind the last one."""
        self.hidden = True
        self.keyframes = set()
        self.broken_at = None

    def cover(self, record: ChunkRecord | GapRecord, findings: Findings) -> None:
        span = record.span
        place = f"record {record.index}, stream {span.stream}"
        for begin, expected, unit in (
            (span.first_unit, self.end.next_unit, "unit"),
            (span.t0_ns, self.end.t_ns, "ns"),
        ):
            if begin != expected and not (self.hidden and begin > expected):
                fault = "a hole" if begin > expected else "an overlap"
                findings.tampered(
                    f"{place}: expected it to begin at {unit} {expected}, found {begin}: {fault}"
                )
        if span.t1_ns < span.t0_ns:
            findings.tampered(f"{place}: time steps back from {span.t0_ns} to {span.t1_ns} ns")
        if isinstance(record, GapRecord):
            self._gap(record)
        else:
            self._chunk(record, place, findings)
        self.end = end_of(span)
        self.hidden = False

    def _gap(self, record: GapRecord) -> None:
        if record.reason is GapReason.DEAD_LETTER:
            self.keyframes.add(record.index)
            self.newest_keyframe = record.index
            self.broken_at = record.index
        else:
            self.keyframes.clear()
            self.broken_at = None

    def _chunk(self, record: ChunkRecord, place: str, findings: Findings) -> None:
        if record.span.unit_count == 0:
            findings.tampered(f"{place}: a chunk without frames; what is not recorded is a gap")
        if record.keyframe:
            self.keyframes = {record.index}
            self.newest_keyframe = record.index
            self.broken_at = None
        if record.keyframe_index not in self.keyframes:
            findings.tampered(
                f"{place}: expected its frames to follow from record "
                f"{self.newest_keyframe if self.keyframes else '(none)'}, the record names "
                f"{record.keyframe_index}"
            )
        if self.broken_at is not None:
            first, _, count = self.unplayable or (record.index, 0, 0)
            self.unplayable = (first, record.index, count + 1)


class Coverage:
    """Takes the records in order.

    In a clip, `reveal` says where hidden records were left out; what is outside of the range that
    is shown is not judged.
    """

    def __init__(self, findings: Findings) -> None:
        self._findings = findings
        self._streams: dict[int, _Stream] = {}
        self._ends: tuple[StreamEnd, ...] | None = ()
        self._partly = False

    def reveal(self) -> None:
        """Records were left out before the next one."""
        self._partly = True
        for stream in self._streams.values():
            stream.reveal()

    @property
    def ends(self) -> tuple[StreamEnd, ...]:
        """Where each stream stands, by its number."""
        if self._ends is None:
            self._ends = tuple(self._streams[number].end for number in sorted(self._streams))
        return self._ends

    def feed(self, record: AnyRecord) -> None:
        """One more record."""
        match record:
            case ChunkRecord() | GapRecord():
                self._cover(record)
            case BeatRecord() if not self._partly and record.streams != self.ends:
                self._findings.tampered(
                    f"record {record.index}: a BEAT says that the streams stand at "
                    f"{_shown(record.streams)}, the records before it say {_shown(self.ends)}"
                )
            case SealRecord():
                self._reaches(record)
            case _:
                pass

    def _cover(self, record: ChunkRecord | GapRecord) -> None:
        number = record.span.stream
        self._ends = None
        if number not in self._streams:
            if len(self._streams) == MAX_STREAMS:
                self._findings.tampered(
                    f"record {record.index}: expected at most {MAX_STREAMS} streams, which is "
                    "what a SEAL can hold"
                )
                return
            self._streams[number] = _Stream(number)
            self._streams[number].hidden = self._partly
        self._streams[number].cover(record, self._findings)

    def _reaches(self, seal: SealRecord) -> None:
        for stream in self._streams.values():
            reached = stream.end.t_ns
            if reached > seal.t_ns or (reached < seal.t_ns and not stream.hidden):
                self._findings.tampered(
                    f"record {seal.index}: expected stream {stream.end.stream} to be covered up "
                    f"to the SEAL at {seal.t_ns} ns, found its end at {reached} ns"
                )

    def finish(self) -> str:
        """All records have passed; what to say where all is well."""
        for stream in self._streams.values():
            if stream.unplayable is not None:
                first, last, count = stream.unplayable
                self._findings.warn(
                    f"chunks {first} to {last} ({count}) are whole but follow from a dead letter: "
                    "what they show cannot be played"
                )
        units = sum(stream.end.next_unit for stream in self._streams.values())
        count = len(self._streams)
        streams = f"{count} stream{'s' * (count != 1)}"
        return f"up to unit {units} in {streams}" if self._partly else f"{units} units in {streams}"


def _shown(ends: tuple[StreamEnd, ...]) -> str:
    said = [f"stream {end.stream}: unit {end.next_unit}, {end.t_ns} ns" for end in ends[:4]]
    return "; ".join(said) or "no stream"
