"""Whether segments get onto the disk: a recorder that cannot write must say so in seconds.

Reader threads say what they do; the event loop and the health of the worker look.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass

import structlog

from recorder_worker.ports import Clock, StageMetrics

log = structlog.get_logger(__name__)

STALLED_S = 3.0
"""A segment that is on its way for longer is stuck: the store neither takes nor refuses it."""
SECOND_NS = 1_000_000_000


@dataclass
class _Writing:
    """A segment that is on its way to the store: since when, and why it was refused last."""

    since_ns: int
    error: str = ""
    told: bool = False


class WriteWatch:
    """The segments of this worker that are being written now."""

    def __init__(self, clock: Clock, metrics: StageMetrics) -> None:
        self._clock = clock
        self._metrics = metrics
        self._lock = threading.Lock()
        self._writing: dict[str, _Writing] = {}

    def of(self, session_id: str) -> SessionWrites:
        """What the reader of a session says to."""
        return SessionWrites(self, session_id)

    def begun(self, session_id: str) -> None:
        """A segment of this session goes to the store."""
        with self._lock:
            self._writing[session_id] = _Writing(self._clock.monotonic_ns())

    def refused(self, session_id: str, error: str) -> None:
        """The store refused it, and it is tried again; told in the log the first time."""
        self._metrics.segment_refused()
        with self._lock:
            writing = self._writing.get(session_id)
            first = writing is not None and not writing.error
            if writing is not None:
                writing.error = error
        if first:
            log.error("SegmentNotStored", session_id=session_id, error=error)

    def done(self, session_id: str) -> None:
        """It is stored, or given up and recorded as missing."""
        with self._lock:
            writing = self._writing.pop(session_id, None)
        if writing is not None and (writing.error or writing.told):
            log.warning("SegmentStoredLate", session_id=session_id, seconds=self._age_s(writing))

    def look(self) -> None:
        """Tell in the log of every segment that is stuck, once."""
        with self._lock:
            stuck = {one: at for one, at in self._writing.items() if self._is_stuck(at)}
        for session_id, writing in stuck.items():
            if not writing.told and not writing.error:
                log.error("SegmentStuck", session_id=session_id, seconds=self._age_s(writing))
            writing.told = True

    def trouble(self) -> str:
        """What is wrong now, in words; empty: nothing."""
        with self._lock:
            bad = [at for at in self._writing.values() if at.error or self._is_stuck(at)]
        if not bad:
            return ""
        oldest = max(bad, key=self._age_s)
        said = oldest.error or "the store neither takes nor refuses it"
        return f"{len(bad)} sessions cannot write, for {self._age_s(oldest):.0f} s: {said}"

    def _is_stuck(self, writing: _Writing) -> bool:
        return self._age_s(writing) >= STALLED_S

    def _age_s(self, writing: _Writing) -> float:
        return (self._clock.monotonic_ns() - writing.since_ns) / SECOND_NS


@dataclass(frozen=True)
class SessionWrites:
    """The writes of one session."""

    watch: WriteWatch
    session_id: str

    def begun(self) -> None:
        """As `WriteWatch.begun`."""
        self.watch.begun(self.session_id)

    def refused(self, error: str) -> None:
        """As `WriteWatch.refused`."""
        self.watch.refused(self.session_id, error)

    def done(self) -> None:
        """As `WriteWatch.done`."""
        self.watch.done(self.session_id)
