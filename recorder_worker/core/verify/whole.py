"""Steps 6 and 11: every record is in its place, and all of them are one whole session."""

from __future__ import annotations

from recorder_worker.core.events import StreamEnd, Totals
from recorder_worker.core.printable import printable
from recorder_worker.core.records.leaves import (
    AnyRecord,
    ChunkRecord,
    GapRecord,
    OpenRecord,
    SealRecord,
)
from recorder_worker.core.records.ledger import count, end_of
from recorder_worker.core.signing.note import SignedNote
from recorder_worker.core.verify.coverage import MAX_STREAMS
from recorder_worker.core.verify.findings import Findings
from recorder_worker.core.verify.report import MAX_GAPS, GapFound
from recorder_worker.core.verify.verdicts import Verdict


class Place:
    """Step 6: index and session of records, origin of checkpoints."""

    def __init__(self, findings: Findings) -> None:
        self.session_id = ""
        self._findings = findings

    def feed(self, index: int, record: AnyRecord) -> None:
        """One more record, and the place that it has."""
        if isinstance(record, OpenRecord) and index == 0:
            self.session_id = record.session_id
        if record.index != index:
            self._findings.tampered(f"record {index}: says that it is record {record.index}")
        if self.session_id and record.session_id != self.session_id:
            self._findings.tampered(f"record {index}: is of session {record.session_id}")

    def note(self, note: SignedNote, origin: str | None) -> None:
        """One more checkpoint. None: OPEN did not say what its origin is."""
        if origin is not None and note.head.origin != origin:
            self._findings.tampered(f"expected checkpoints of {origin}, found {note.head.origin}")

    def finish(self, newest: SignedNote | None, tree_size: int, *, sealed: bool) -> None:
        """All have passed. `sealed`: the folder says that nothing more will come."""
        if not self.session_id:
            self._findings.leave_out("there is no OPEN record that names the session")
        elif sealed and newest is not None and newest.head.tree_size < tree_size:
            self._findings.tampered(
                f"the seal is of {newest.head.tree_size} records, {tree_size} are here"
            )


class Whole:
    """Step 11: one OPEN, a SEAL as the last record, under a signature, and true totals.

    Attributes:
        totals: counted from the records that are here.
        gaps: the first of them; `totals.gap_count` counts all.
    """

    def __init__(self, findings: Findings) -> None:
        self.totals = Totals()
        self._ends: dict[int, StreamEnd] = {}
        self.gaps: list[GapFound] = []
        self.seal: SealRecord | None = None
        self._last: int | None = None
        self._findings = findings

    @property
    def streams(self) -> tuple[StreamEnd, ...]:
        """Where each stream stands, by its number."""
        return tuple(self._ends[number] for number in sorted(self._ends))

    def feed(self, index: int, record: AnyRecord) -> None:
        """One more record."""
        if isinstance(record, OpenRecord) is not (index == 0):
            self._findings.tampered(f"record {index}: expected OPEN as the first record only")
        if self.seal is not None:
            self._findings.tampered(f"record {self._last}: a SEAL that is not the last record")
            self.seal = None
        if isinstance(record, SealRecord):
            self.seal = record
        self._last = index
        if isinstance(record, ChunkRecord | GapRecord) and len(self._ends) <= MAX_STREAMS:
            self._ends[record.span.stream] = end_of(record.span)
        self.totals = count(self.totals, record)
        if isinstance(record, GapRecord) and len(self.gaps) < MAX_GAPS:
            self.gaps.append(_gap(record))

    def finish(self, signed_size: int) -> None:
        """All records have passed; the first `signed_size` are signed."""
        if self._last is None:
            self._findings.leave_out("there is no record")
        elif not self._findings.reached:
            return
        elif self.seal is None:
            self._findings.fail(
                Verdict.TRUNCATED,
                "there is no SEAL: the session is being recorded, or its end is lost behind "
                f"record {self._last}",
            )
        elif self.seal.totals != self.totals or self.seal.streams != self.streams:
            self._findings.tampered(
                f"the SEAL says {self.seal.totals} {self.seal.streams}, found {self.totals} "
                f"{self.streams}"
            )
        elif signed_size <= self._last:
            self._findings.fail(
                Verdict.TRUNCATED,
                f"the SEAL is not signed: checkpoints end at size {signed_size}",
            )

    def finish_clip(self, tree_size: int, signed_size: int) -> None:
        """All records of a clip have passed: the last one is shown, and signed."""
        if self._last is None or not self._findings.reached:
            self._findings.leave_out("there is no record")
            return
        if self._last + 1 != tree_size or signed_size != tree_size:
            self._findings.tampered(
                f"expected the last of {tree_size} records, and its checkpoint; found record "
                f"{self._last} and a checkpoint of size {signed_size}"
            )
        if self.seal is not None and _exceeds(self.totals, self.seal.totals):
            self._findings.tampered(
                f"the SEAL says {self.seal.totals} in all, here alone are {self.totals}"
            )

    @property
    def detail(self) -> str:
        """What to say where all is well."""
        return f"sealed: {self.seal.reason.value}" if self.seal else "not sealed"


def _exceeds(part: Totals, all_: Totals) -> bool:
    return any(getattr(part, name) > getattr(all_, name) for name in part.__struct_fields__)


def _gap(record: GapRecord) -> GapFound:
    span = record.span
    return GapFound(
        index=record.index,
        stream=span.stream,
        first_unit=span.first_unit,
        lost_units=span.unit_count,
        t0_ns=span.t0_ns,
        t1_ns=span.t1_ns,
        wall0_ns=span.wall0_ns,
        wall1_ns=span.wall1_ns,
        reason=record.reason.value,
        detail=printable(record.detail),
    )
