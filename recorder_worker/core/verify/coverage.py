"""Steps 10 and 11: nothing is left out, and what is there is one whole session."""

from __future__ import annotations

from collections.abc import Sequence

from recorder_worker.core.events import StreamEnd, Totals
from recorder_worker.core.ledger import count, end_of, follow
from recorder_worker.core.model import GapReason
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
    """One stream while its spans are laid one behind the other.

    `keyframes` are the records from which the next delta may follow. It is one chunk, none behind
    a gap, and behind a dead letter also the gap itself: a chunk that could not be stored became a
    gap when the chunks behind it were already planned. They are kept, and cannot be played.
    """

    def __init__(self, number: int) -> None:
        self.end = StreamEnd(stream=number, next_unit=0, t_ns=0)
        self.keyframes: set[int] = set()
        self.broken_at: int | None = None
        self.unplayable: list[int] = []

    def cover(self, record: ChunkRecord | GapRecord) -> None:
        span = record.span
        place = f"record {record.index}, stream {span.stream}"
        for begin, expected, unit in (
            (span.first_unit, self.end.next_unit, "unit"),
            (span.t0_ns, self.end.t_ns, "ns"),
        ):
            if begin != expected:
                fault = "a hole" if begin > expected else "an overlap"
                raise tampered(
                    f"{place}: expected it to begin at {unit} {expected}, found {begin}: {fault}"
                )
        if span.t1_ns < span.t0_ns:
            raise tampered(f"{place}: time steps back from {span.t0_ns} to {span.t1_ns} ns")
        if isinstance(record, GapRecord):
            self._gap(record)
        else:
            self._chunk(record, place)
        self.end = end_of(span)

    def _gap(self, record: GapRecord) -> None:
        if record.reason is GapReason.DEAD_LETTER:
            self.keyframes.add(record.index)
            self.broken_at = record.index
        else:
            self.keyframes.clear()
            self.broken_at = None

    def _chunk(self, record: ChunkRecord, place: str) -> None:
        if record.span.unit_count == 0:
            raise tampered(f"{place}: a chunk without frames; what is not recorded is a gap")
        if record.keyframe:
            self.keyframes = {record.index}
            self.broken_at = None
        if record.keyframe_index not in self.keyframes:
            raise tampered(
                f"{place}: expected its frames to follow from one of {sorted(self.keyframes)}, "
                f"the record names {record.keyframe_index}"
            )
        if self.broken_at is not None:
            self.unplayable.append(record.index)


def check_coverage(records: Sequence[AnyRecord], warnings: list[str]) -> str:
    """Step 10: chunks and gaps tile each stream, in units and in time, from 0 to the SEAL.

    Raises:
        StepFailedError: there is a hole, an overlap, or a chunk that follows from nothing.
    """
    streams: dict[int, _Stream] = {}
    for record in records:
        if isinstance(record, ChunkRecord | GapRecord):
            number = record.span.stream
            streams.setdefault(number, _Stream(number)).cover(record)
        elif isinstance(record, SealRecord):
            _reaches(record, [stream.end for stream in streams.values()])
    warnings += [
        f"chunks {stream.unplayable[0]} to {stream.unplayable[-1]} ({len(stream.unplayable)}) are "
        "whole but follow from a dead letter: what they show cannot be played"
        for stream in streams.values()
        if stream.unplayable
    ]
    units = sum(stream.end.next_unit for stream in streams.values())
    return f"{units} units in {len(streams)} stream{'s' * (len(streams) != 1)}"


def _reaches(seal: SealRecord, ends: list[StreamEnd]) -> None:
    for end in ends:
        if end.t_ns != seal.t_ns:
            raise tampered(
                f"record {seal.index}: expected stream {end.stream} to be covered up to the SEAL "
                f"at {seal.t_ns} ns, found its end at {end.t_ns} ns"
            )


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
