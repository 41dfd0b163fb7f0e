"""Metrics of what no handler counts: they are looked up every few seconds, or when asked for.

As in metrics.py: labels take few values, never a session's id, and names end in their unit.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge

from recorder_worker.bus.bus import Backlog, StreamFill
from recorder_worker.bus.sessions.roster import LogSeen, SessionSeen, SessionState
from recorder_worker.core.model import ClockState
from recorder_worker.core.pipeline import CONSUMERS
from recorder_worker.service.observing.health import Check

SECOND_NS = 1_000_000_000


class Gauges:
    """The bus, its streams, sessions as a whole, the log of sessions, the spool, the machine."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry
        self._declare_stages()
        self._declare_sessions()
        self._declare_bus()
        self._declare_machine()
        self._reconnects_seen = 0

    def _gauge(self, name: str, meaning: str, *labels: str) -> Gauge:
        return Gauge(f"recorder_{name}", meaning, labels, registry=self._registry)

    def _counter(self, name: str, meaning: str, *labels: str) -> Counter:
        return Counter(f"recorder_{name}", meaning, labels, registry=self._registry)

    def _declare_stages(self) -> None:
        self._pending = self._gauge("stage_pending", "Messages not yet delivered.", "stage")
        self._ack_pending = self._gauge(
            "stage_ack_pending", "Messages delivered and not yet acknowledged.", "stage"
        )
        self._redelivered = self._gauge(
            "stage_redelivered_pending",
            "Messages delivered more than once and not yet acknowledged.",
            "stage",
        )
        self._lag = self._gauge(
            "stage_lag_seconds",
            "Age of the message that waits longest; of capture: of the oldest start not taken.",
            "stage",
        )

        self._dead = self._gauge(
            "dead_letters_waiting", "Dead letters that nobody has dealt with.", "stage"
        )

    def _declare_sessions(self) -> None:
        self._sessions = self._gauge(
            "sessions_known", "Sessions of all workers, as the bus tells; not all sealed.", "state"
        )
        self._checkpoint_age = self._gauge(
            "checkpoint_age_seconds",
            "Age of the newest signed checkpoint of the unsealed session that waits longest.",
        )
        self._log_entries = self._gauge("log_entries", "Entries in the log of sessions.")
        self._log_age = self._gauge(
            "log_age_seconds", "Time since the newest entry in the log of sessions."
        )
        self._spool_bytes = self._gauge(
            "spool_bytes", "Segments of unsealed sessions that are not in a signed chunk yet."
        )
        self._spool_segments = self._gauge("spool_segments", "How many such segments there are.")

    def _declare_bus(self) -> None:
        self._connected = self._gauge("bus_connected", "1 while NATS is connected, else 0.")
        self._reconnects = self._counter(
            "bus_reconnects_total", "Times that the connection to NATS was lost and came back."
        )
        self._stream_bytes = self._gauge("stream_bytes", "Bytes in a stream.", "stream")
        self._stream_max_bytes = self._gauge(
            "stream_max_bytes", "Bytes that a stream may hold; +Inf: no limit.", "stream"
        )
        self._stream_messages = self._gauge("stream_messages", "Messages in a stream.", "stream")

    def _declare_machine(self) -> None:
        self._checks = self._gauge("check_ok", "1 where a check of /readyz is well.", "check")
        self._floor = self._gauge("store_floor_bytes", "Room that is kept free (disk.floor_bytes).")
        self._disk = self._gauge(
            "disk_state", "How full the disk is: 0 room, 1 warns, 2 refuses, 3 pauses, 4 stops."
        )
        self._clock = self._gauge(
            "clock_state", "1 for the state that the system's clock is in.", "state"
        )
        self._capacity = self._gauge(
            "sessions_capacity", "Sessions that this process records at most; 0: no capture here."
        )
        self._spans = self._counter(
            "spans_total", "Spans of traces: exported, failed or dropped.", "outcome"
        )

    def backlog(self, stage: str, found: Backlog, now_ns: int) -> None:
        """Messages of a stage that wait, and that are being handled, as JetStream says."""
        self._pending.labels(stage).set(found.pending)
        self._ack_pending.labels(stage).set(found.ack_pending)
        self._redelivered.labels(stage).set(found.redelivered)
        self._lag.labels(stage).set(lag_s(found, now_ns))

    def sessions(self, seen: Iterable[SessionSeen], now_ns: int) -> None:
        """The sessions, counted by state, and the longest time without a checkpoint."""
        counts = dict.fromkeys(SessionState, 0)
        oldest_s = 0.0
        for one in seen:
            counts[one.state] += 1
            oldest_s = max(oldest_s, unsigned_s(one, now_ns))
        for state, count in counts.items():
            self._sessions.labels(state.value).set(count)
        self._checkpoint_age.set(oldest_s)

    def log_head(self, seen: LogSeen | None, now_ns: int) -> None:
        """The log of sessions."""
        self._log_entries.set(seen.size if seen else 0)
        self._log_age.set(_age_s(seen.appended_ns, now_ns) if seen else 0)

    def spool(self, segments: int, size: int) -> None:
        """What waits on the disk to be compressed and signed."""
        self._spool_segments.set(segments)
        self._spool_bytes.set(size)

    def dead_letters(self, waiting: Mapping[str, int]) -> None:
        """Dead letters that nobody has dealt with, by stage."""
        for stage in CONSUMERS:
            self._dead.labels(stage.name).set(waiting.get(stage.name, 0))

    def bus(self, *, connected: bool, reconnects: int) -> None:
        """The connection; `reconnects` since the process began."""
        self._connected.set(connected)
        self._reconnects.inc(max(0, reconnects - self._reconnects_seen))
        self._reconnects_seen = max(reconnects, self._reconnects_seen)

    def streams(self, found: Mapping[str, StreamFill]) -> None:
        """How full the streams are."""
        for stream, fill in found.items():
            limit = fill.max_bytes if fill.max_bytes > 0 else float("inf")
            self._stream_bytes.labels(stream).set(fill.stored_bytes)
            self._stream_max_bytes.labels(stream).set(limit)
            self._stream_messages.labels(stream).set(fill.messages)

    def checks(self, found: Iterable[Check]) -> None:
        """What `/readyz` would say."""
        for check in found:
            self._checks.labels(check.name).set(check.ok)

    def machine(self, clock: ClockState, floor_bytes: int, capacity: int) -> None:
        """The clock, and what the settings allow."""
        for state in ClockState:
            self._clock.labels(state.value).set(state is clock)
        self._floor.set(floor_bytes)
        self._capacity.set(capacity)

    def disk(self, rung: int) -> None:
        """The rung of the ladder of the disk."""
        self._disk.set(rung)

    def spans(self, outcome: str, count: int) -> None:
        """What became of spans."""
        self._spans.labels(outcome).inc(count)


def lag_s(found: Backlog, now_ns: int) -> float:
    """For how long the oldest message of a stage has waited."""
    return _age_s(found.oldest_ns, now_ns) if found.oldest_ns else 0.0


def unsigned_s(seen: SessionSeen, now_ns: int) -> float:
    """For how long a session has had no checkpoint that it should have: 0 where it needs none.

    An incident has ended signing for good, and is told by its own count; one that has a number and
    was never opened has nothing to sign.
    """
    if seen.state in (SessionState.SEALED, SessionState.INCIDENT, SessionState.STARTING):
        return 0.0
    return _age_s(seen.signed_ns or seen.numbered_ns, now_ns)


def _age_s(since_ns: int, now_ns: int) -> float:
    return max(0.0, (now_ns - since_ns) / SECOND_NS)
