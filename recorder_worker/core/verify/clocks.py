"""Step 10, clocks: session time never steps back; a wall clock that does is told."""

from __future__ import annotations

from collections.abc import Iterator

from recorder_worker.core.model import ClockState
from recorder_worker.core.records.leaves import (
    AnyRecord,
    BeatRecord,
    ChunkRecord,
    EpochRecord,
    GapRecord,
    MarkRecord,
    OpenRecord,
    SealRecord,
)
from recorder_worker.core.verify.findings import Findings


class Clocks:
    """Takes the records in order.

    BEAT and EPOCH tell how far stream 0 is captured, which is never behind what is recorded of it.
    Chunks come late, so their wall clock is held against that of the spans before them alone, and
    that of BEATs and EPOCHs against each other.

    Attributes:
        states: what the records say of the clock, and how many say so.
    """

    def __init__(self, findings: Findings) -> None:
        self.states: dict[ClockState, int] = {}
        self._findings = findings
        self._captured = (0, 0)
        self._recorded = (0, 0)
        self._walls: dict[object, tuple[int, int]] = {}
        self._unsynchronised: int | None = None

    def feed(self, record: AnyRecord) -> None:
        """One more record."""
        match record:
            case BeatRecord():
                self._alive(record.index, "BEAT", record.unit, record.t_ns)
            case EpochRecord():
                self._alive(record.index, "EPOCH", None, record.t_ns)
            case ChunkRecord() | GapRecord() if record.span.stream == 0:
                span = record.span
                self._recorded = (span.first_unit + span.unit_count, span.t1_ns)
            case SealRecord():
                self._sealed(record)
            case _:
                pass
        for line, begin_ns, end_ns in _walls(record):
            self._wall(record.index, line, begin_ns, end_ns)
        if isinstance(record, OpenRecord | ChunkRecord | EpochRecord | BeatRecord):
            self.states[record.clock] = self.states.get(record.clock, 0) + 1
            if record.clock is ClockState.UNSYNCHRONISED and self._unsynchronised is None:
                self._unsynchronised = record.index

    def _alive(self, index: int, what: str, unit: int | None, t_ns: int) -> None:
        last_unit, last_ns = self._captured
        unit = last_unit if unit is None else unit
        place = f"record {index}, {what}"
        if unit < last_unit or t_ns < last_ns:
            self._findings.tampered(
                f"{place}: steps back from unit {last_unit} at {last_ns} ns to unit {unit} at "
                f"{t_ns} ns"
            )
        recorded_unit, recorded_ns = self._recorded
        if t_ns < recorded_ns or (what == "BEAT" and unit < recorded_unit):
            self._findings.tampered(
                f"{place}: at unit {unit} and {t_ns} ns it is behind stream 0, of which the "
                f"records before it hold unit {recorded_unit} and {recorded_ns} ns"
            )
        self._captured = (max(unit, last_unit), max(t_ns, last_ns))

    def _sealed(self, seal: SealRecord) -> None:
        unit, t_ns = self._captured
        if seal.t_ns < t_ns:
            self._findings.tampered(
                f"record {seal.index}: the SEAL is at {seal.t_ns} ns, a record before it at "
                f"{t_ns} ns"
            )
        reached = next((end.next_unit for end in seal.streams if end.stream == 0), 0)
        if reached < unit:
            self._findings.tampered(
                f"record {seal.index}: the SEAL ends stream 0 at unit {reached}, a BEAT before it "
                f"says that unit {unit} was reached"
            )

    def _wall(self, index: int, line: object, begin_ns: int, end_ns: int) -> None:
        before, last_ns = self._walls.get(line, (index, begin_ns))
        if begin_ns < last_ns:
            self._findings.warn(
                f"record {index}: the wall clock stepped back since record {before}, by "
                f"{(last_ns - begin_ns) / 1e9:.6f} s"
            )
        if end_ns < begin_ns:
            self._findings.warn(
                f"record {index}: the wall clock stepped back within it, by "
                f"{(begin_ns - end_ns) / 1e9:.6f} s"
            )
        self._walls[line] = (index, end_ns)

    def finish(self) -> None:
        """All records have passed."""
        if self._unsynchronised is not None:
            count = self.states[ClockState.UNSYNCHRONISED]
            self._findings.warn(
                f"the wall clock was not synchronised in {count} records, record "
                f"{self._unsynchronised} the first of them"
            )


def _walls(record: AnyRecord) -> Iterator[tuple[object, int, int]]:
    """The wall clock at both ends, by what it is to be compared with."""
    match record:
        case ChunkRecord() | GapRecord():
            yield record.span.stream, record.span.wall0_ns, record.span.wall1_ns
        case OpenRecord() | BeatRecord() | EpochRecord() | SealRecord():
            yield "alive", record.wall_ns, record.wall_ns
        case MarkRecord():
            yield "marks", record.wall_ns, record.wall_ns
