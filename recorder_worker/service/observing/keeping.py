"""Metrics of what is kept: retention and patrol. As in metrics.py, never by session."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge

from recorder_worker.stages.patrol.patrol import Patrolled
from recorder_worker.stages.retention.keeper import Tended

OUTCOMES = ("good", "damaged", "repaired")


class KeepingGauges:
    """What is told of sealed sessions as a whole."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._sessions = Gauge(
            "recorder_retention_sessions_known",
            "Sealed sessions of which nothing was removed.",
            registry=registry,
        )
        self._bytes = Gauge(
            "recorder_retention_bytes", "Stored bytes of their chunks.", registry=registry
        )
        self._held = Gauge("recorder_retention_held_known", "Those under hold.", registry=registry)
        self._above = Gauge(
            "recorder_retention_above_bytes",
            "Bytes above retention.max_total_bytes that nothing may free: holds, or retain_s.",
            registry=registry,
        )
        self._removed = Counter(
            "recorder_sessions_removed_total",
            "Sessions of which this process has finished to remove the bytes.",
            registry=registry,
        )
        self._patrolled = Counter(
            "recorder_patrol_chunks_total",
            "Stored chunks that the patrol has read again.",
            ["outcome"],
            registry=registry,
        )
        self._patrolled_bytes = Counter(
            "recorder_patrol_bytes_total", "Bytes of them.", registry=registry
        )
        self._damaged = Gauge(
            "recorder_patrol_damaged_known",
            "Chunks that are damaged or missing, and could not be repaired.",
            registry=registry,
        )
        for outcome in OUTCOMES:
            self._patrolled.labels(outcome)

    def tended(self, found: Tended) -> None:
        """What a round of retention found."""
        self._sessions.set(found.sessions)
        self._bytes.set(found.stored_bytes)
        self._held.set(found.held)
        self._above.set(found.above_bytes)
        self._removed.inc(found.removed)

    def patrolled(self, found: Patrolled, damaged: int) -> None:
        """What was found of one chunk; so many are damaged by now."""
        self._patrolled.labels(found.outcome).inc()
        self._patrolled_bytes.inc(found.size)
        self._damaged.set(damaged)
