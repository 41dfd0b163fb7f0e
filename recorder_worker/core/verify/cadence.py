"""Step 12, cadence: whether was signed as often as OPEN promises.

Times are the signed times of checkpoints, which are whole seconds, with the wall clock of OPEN in
front and that of the newest sign of life (BEAT, EPOCH, SEAL) behind. All are the recorder's own.
"""

from __future__ import annotations

from recorder_worker.core.records.leaves import (
    AnyRecord,
    BeatRecord,
    EpochRecord,
    OpenRecord,
    SealRecord,
)
from recorder_worker.core.verify.findings import Findings
from recorder_worker.core.verify.report import Cadence

SECOND_NS = 10**9


class CadenceCheck:
    """Takes records and verified checkpoints in order."""

    def __init__(self, findings: Findings) -> None:
        self._findings = findings
        self._opened: OpenRecord | None = None
        self._signed_at_ns: int | None = None
        self._signed_size = 0
        self._wall_ns = 0
        self._longest = (0, 0)
        self._most = (0, 0)
        self._epoch_began_ns = 0
        self._epoch_longest = (0, 0)

    def feed(self, record: AnyRecord) -> None:
        """One more record."""
        if isinstance(record, OpenRecord) and self._opened is None:
            self._opened = record
            self._signed_at_ns = self._epoch_began_ns = record.wall_ns
        if isinstance(record, EpochRecord | SealRecord) and self._opened is not None:
            lasted_ns = record.wall_ns - self._epoch_began_ns
            self._epoch_longest = max(self._epoch_longest, (lasted_ns, record.index))
            self._epoch_began_ns = record.wall_ns
        if isinstance(record, BeatRecord | EpochRecord | SealRecord):
            self._wall_ns = max(self._wall_ns, record.wall_ns)

    def note(self, size: int, signed_at_s: int) -> None:
        """One more checkpoint that verifies."""
        self._passed(size, signed_at_s * SECOND_NS)

    def _passed(self, size: int, time_ns: int) -> None:
        if self._signed_at_ns is not None:
            self._longest = max(self._longest, (time_ns - self._signed_at_ns, size))
            self._signed_at_ns = max(self._signed_at_ns, time_ns)
        self._most = max(self._most, (size - self._signed_size, size))
        self._signed_size = max(self._signed_size, size)

    def finish(self, tree_size: int) -> Cadence:
        """All have passed; `tree_size` records are here."""
        opened = self._opened
        if opened is None:
            return Cadence()
        if tree_size > self._signed_size:
            self._passed(tree_size, self._wall_ns)
        found = Cadence(
            longest_ns=max(0, self._longest[0]),
            most_records=self._most[0],
            promised_ns=opened.checkpoint_interval_ns,
            promised_records=opened.checkpoint_leaves,
        )
        if found.promised_ns and found.promised_ns + SECOND_NS < found.longest_ns:
            self._findings.warn(
                f"{found.longest_ns / 1e9:.1f} s went without a checkpoint before size "
                f"{self._longest[1]}; OPEN promises one every {found.promised_ns / 1e9:g} s"
            )
        if 0 < found.promised_records < found.most_records:
            self._findings.warn(
                f"{found.most_records} records went without a checkpoint before size "
                f"{self._most[1]}; OPEN promises one every {found.promised_records}"
            )
        allowed_ns = opened.epoch_length_ns + opened.checkpoint_interval_ns + SECOND_NS
        if opened.epoch_length_ns > 0 and allowed_ns < self._epoch_longest[0]:
            self._findings.warn(
                f"a key epoch lasted {self._epoch_longest[0] / 1e9:.1f} s, up to record "
                f"{self._epoch_longest[1]}; OPEN promises at most "
                f"{opened.epoch_length_ns / 1e9:g} s"
            )
        return found
