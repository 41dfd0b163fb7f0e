"""Steps 10 and 11: nothing is left out, and what is there is one whole session."""

from __future__ import annotations

from collections.abc import Sequence

from recorder_worker.core.events import StreamEnd, Totals
from recorder_worker.core.ledger import count, end_of, follow
from recorder_worker.core.records import (
    AnyRecord,
    ChunkRecord,
    GapRecord,
    MarkRecord,
    OpenRecord,
    SealRecord,
)
from recorder_worker.core.verify.steps import StepFailedError, tampered
from recorder_worker.core.verify.verdicts import Verdict


class _Stream:
    """One stream while its spans are laid one behind the other."""

    def __init__(self, number: int) -> None:
        self.end = StreamEnd(stream=number, next_unit=0, t_ns=0)
        self.keyframe_index: int | None = None

    def cover(self, record: ChunkRecord | GapRecord) -> None:
        span = record.span
        place = f"record {record.index}, stream {span.stream}"
        if span.first_unit != self.end.next_unit:
            raise tampered(
                f"{place}: expected it to begin at unit {self.end.next_unit}, found "
                f"{span.first_unit}: {_fault(span.first_unit, self.end.next_unit)}"
            )
        if span.t0_ns != self.end.t_ns:
            raise tampered(
                f"{place}: expected it to begin at {self.end.t_ns} ns, found {span.t0_ns}: "
                f"{_fault(span.t0_ns, self.end.t_ns)}"
            )
        if span.t1_ns < span.t0_ns:
            raise tampered(f"{place}: time steps back from {span.t0_ns} to {span.t1_ns} ns")
        if isinstance(record, GapRecord):
            self.keyframe_index = None
        else:
            self._keyframe(record, place)
        self.end = end_of(span)

    def _keyframe(self, record: ChunkRecord, place: str) -> None:
        if record.span.unit_count == 0:
            raise tampered(f"{place}: a chunk without frames; what is not recorded is a gap")
        if record.keyframe:
            self.keyframe_index = record.index
        if record.keyframe_index != self.keyframe_index:
            expected = "a keyframe" if self.keyframe_index is None else str(self.keyframe_index)
            raise tampered(
                f"{place}: expected its frames to follow from {expected}, the record names "
                f"chunk {record.keyframe_index}"
            )


def _fault(begin: int, expected: int) -> str:
    return "a hole" if begin > expected else "an overlap"


def check_coverage(records: Sequence[AnyRecord]) -> str:
    """Step 10: chunks and gaps tile each stream, in units and in time, from 0 on.

    Raises:
        StepFailedError: there is a hole, an overlap, or a chunk that cannot be played.
    """
    streams: dict[int, _Stream] = {}
    end_ns = 0
    for record in records:
        if isinstance(record, ChunkRecord | GapRecord):
            number = record.span.stream
            stream = streams.setdefault(number, _Stream(number))
            stream.cover(record)
            end_ns = max(end_ns, stream.end.t_ns)
        elif isinstance(record, SealRecord) and record.t_ns < end_ns:
            raise tampered(
                f"record {record.index}: the SEAL is at {record.t_ns} ns, before the end of "
                f"what was recorded at {end_ns} ns"
            )
    units = sum(stream.end.next_unit for stream in streams.values())
    return f"{units} units in {len(streams)} stream{'s' * (len(streams) != 1)}"


def check_whole(records: Sequence[AnyRecord], signed_size: int) -> str:
    """Step 11: exactly one OPEN, a SEAL as the last record, under a signature, and true totals.

    Raises:
        StepFailedError: TRUNCATED where only the end is missing.
    """
    if not records:
        raise StepFailedError(Verdict.TRUNCATED, "there is no record: nothing was recorded yet")
    for record in records:
        if isinstance(record, OpenRecord) is not (record is records[0]):
            raise tampered(f"record {record.index}: expected OPEN as the first record only")
        if isinstance(record, SealRecord) and record is not records[-1]:
            raise tampered(f"record {record.index}: a SEAL that is not the last record")
    seal = records[-1]
    if not isinstance(seal, SealRecord):
        raise StepFailedError(
            Verdict.TRUNCATED,
            f"there is no SEAL: the session is being recorded, or its end is lost behind "
            f"record {len(records) - 1}",
        )
    totals, streams = totals_of(records)
    if seal.totals != totals or seal.streams != streams:
        raise tampered(f"the SEAL says {seal.totals} {seal.streams}, found {totals} {streams}")
    if signed_size < len(records):
        raise StepFailedError(
            Verdict.TRUNCATED, f"the SEAL is not signed: checkpoints end at size {signed_size}"
        )
    return f"sealed: {seal.reason.value}"


def totals_of(records: Sequence[AnyRecord]) -> tuple[Totals, tuple[StreamEnd, ...]]:
    """Totals and stream ends, counted from the records."""
    totals = Totals()
    streams: tuple[StreamEnd, ...] = ()
    for record in records:
        if not isinstance(record, OpenRecord | SealRecord | MarkRecord):
            streams = follow(streams, record)
        totals = count(totals, record)
    return totals, streams
