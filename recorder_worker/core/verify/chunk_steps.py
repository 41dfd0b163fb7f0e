"""Steps 7 to 9 over all chunks: what the checks of the single ones come to."""

from __future__ import annotations

from recorder_worker.core.records.leaves import ChunkRecord
from recorder_worker.core.verify.chunks import ChunkCheck
from recorder_worker.core.verify.findings import Findings, Texts
from recorder_worker.core.verify.report import DAMAGED, GOOD, MAX_DAMAGED, MISSING, REMOVED
from recorder_worker.core.verify.steps import Step
from recorder_worker.core.verify.verdicts import Verdict


class ChunkSteps:
    """Takes the checks of chunks in the order of the records. Keeps a byte for each.

    Attributes:
        damaged: names of the first that are damaged or missing; all are counted.
        stored_size: bytes of chunks that were looked at, by their records.
        closed: how many are encrypted, so that nobody without the key can look inside.
        removed: how many are not there, and need not be: their owner has signed that they go.
    """

    def __init__(self, stored: Findings, plain: Findings, frames: Findings) -> None:
        self.damaged = Texts(MAX_DAMAGED)
        self.stored_size = 0
        self.closed = 0
        self.removed = 0
        self._map = bytearray()
        self._findings = {Step.STORED: stored, Step.PLAIN: plain, Step.FRAMES: frames}
        self._faults = dict.fromkeys(self._findings, 0)
        self._before: dict[int, ChunkCheck] = {}

    @property
    def chunk_map(self) -> str:
        """One character a chunk."""
        return self._map.decode("ascii")

    def add(self, check: ChunkCheck, *, removable: bool = False) -> None:
        """One more chunk. `removable`: a signed statement says that it may be gone."""
        fault = check.fault
        self.stored_size += check.record.stored_size
        self.closed += check.closed
        if fault is None:
            self._map += GOOD.encode()
        elif fault.missing and removable:
            self._map += REMOVED.encode()
            self.removed += 1
            self._faults[fault.step] += 1
        else:
            self._map += (MISSING if fault.missing else DAMAGED).encode()
            self.damaged.add(check.name)
            self._faults[fault.step] += 1
            verdict = Verdict.UNSUPPORTED if fault.unsupported else Verdict.TAMPERED
            self._findings[fault.step].fail(verdict, f"{check.name}: {fault.detail}")
        self._join(check)

    def _join(self, check: ChunkCheck) -> None:
        record = check.record
        last = self._before.get(record.span.stream)
        joined = last is not None and not record.keyframe and _follows(last.record, record)
        both = last is not None and last.fault is None and check.fault is None
        if last and joined and both and last.last_picture != check.first_picture:
            self._findings[Step.FRAMES].tampered(
                f"{check.name}: the picture's size changed without a keyframe"
            )
        self._before[record.span.stream] = check

    def finish(self) -> None:
        """All chunks have passed: a step that not every chunk came to is not reached."""
        before = 0
        if self.removed:
            self._findings[Step.STORED].fail(
                Verdict.REDACTED,
                f"{self.removed} of {len(self._map)} chunks were removed by who owns them "
                f"(step {Step.RETENTION:d})",
            )
        for step, findings in self._findings.items():
            if before:
                others = "not good either" if findings.failed else "good"
                rest = f"; the others are {others}" if before < len(self._map) else ""
                findings.leave_out(f"in {before} of {len(self._map)} chunks{rest}")
            before += self._faults[step]
        for step in (Step.PLAIN, Step.FRAMES) if self.closed else ():
            self._findings[step].leave_out(
                f"{self.closed} of {len(self._map)} chunks are encrypted; give --identity"
            )

    def detail(self) -> str:
        """What to say where all is well."""
        return f"{len(self._map)} chunks"


def _follows(before: ChunkRecord, record: ChunkRecord) -> bool:
    """Whether no gap stands between two chunks."""
    return before.span.first_unit + before.span.unit_count == record.span.first_unit
