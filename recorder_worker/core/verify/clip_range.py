"""What a clip shows: OPEN, every EPOCH, the last record, and one range that was asked for."""

from __future__ import annotations

from bisect import bisect_right

from recorder_worker.core.evidence.clip_file import ClipFile
from recorder_worker.core.merkle.partial_tree import LeafRange
from recorder_worker.core.model import Span
from recorder_worker.core.records.leaves import AnyRecord, ChunkRecord, GapRecord, MarkRecord
from recorder_worker.core.verify.findings import Findings
from recorder_worker.core.verify.report import ClipShown


class ClipRange:
    """Takes the records that are shown, in order.

    The last record of a session that is not sealed may be a chunk outside of the range. It is
    shown for its checkpoint's sake, without its file.
    """

    def __init__(self, clip: ClipFile, findings: Findings) -> None:
        self.ranges = clip.ranges
        self._begins = [found.begin for found in clip.ranges]
        self._size = clip.size
        self._findings = findings
        self._main: LeafRange | None = None
        self._first: Span | None = None
        self._last: Span | None = None
        self._indices = (0, 0)

    def feed(self, index: int, record: AnyRecord) -> None:
        """One more record."""
        if not isinstance(record, ChunkRecord | GapRecord | MarkRecord):
            return
        here = self.ranges[bisect_right(self._begins, index) - 1]
        self._main = self._main or here
        if here != self._main:
            if index != self._size - 1:
                self._findings.tampered(
                    f"record {index}: expected one range of records to be shown, records "
                    f"{self._main.begin} to {self._main.end - 1}; this one is outside of it"
                )
            return
        self._indices = (self._indices[0] or index, index)
        if not isinstance(record, MarkRecord):
            self._first = self._first or record.span
            self._last = record.span

    def is_beside(self, index: int, record: AnyRecord) -> bool:
        """Whether a record covers something outside of the range: nothing is judged of that."""
        return isinstance(record, ChunkRecord | GapRecord) and not self.has_file(index)

    def has_file(self, index: int) -> bool:
        """Whether the files of a record have to be here: the manifest, and those of the range."""
        return index == 0 or (self._main is not None and index in self._main)

    def shown(self, count: int) -> ClipShown:
        """What the report says of it; `count` records are here."""
        first, last = self._first, self._last
        return ClipShown(
            tree_size=self._size,
            shown=count,
            first_index=self._indices[0],
            last_index=self._indices[1],
            t0_ns=first.t0_ns if first else 0,
            t1_ns=last.t1_ns if last else 0,
            wall0_ns=first.wall0_ns if first else 0,
            wall1_ns=last.wall1_ns if last else 0,
        )
