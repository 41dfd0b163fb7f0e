"""What the recorder counts, for Prometheus.

Labels take few values (stage, reason, outcome, …) and never a session id, so that the number of
series does not grow with the number of sessions. Names end in their unit.
"""

from __future__ import annotations

from typing import get_args

import prometheus_client
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Info,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

from recorder_worker.core.model import EndReason, GapReason, SlowedBy
from recorder_worker.core.pipeline import CONSUMERS
from recorder_worker.integrations.node_reporter import Throughput
from recorder_worker.service.observing.copies import CopyMeters
from recorder_worker.service.observing.gauges import Gauges
from recorder_worker.service.observing.keeping import KeepingGauges

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_RATIOS = (1.0, 1.5, 2.0, 3.0, 5.0, 10.0, 20.0, 50.0, 100.0)


class Metrics:
    """Every metric: a `StageMetrics`, and the gauges of what is looked up.

    The registry is its own, so that two recorders in one process (a test, the demo) do not share
    numbers.
    """

    def __init__(self, *, version: str, node: str) -> None:
        # `…_created` series carry no unit and double the size of every scrape.
        prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]  # as upstream
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self._declare_recording()
        self._declare_sessions()
        self._declare_stages()
        self.gauges = Gauges(self.registry)
        self.keeping = KeepingGauges(self.registry)
        self.copies = CopyMeters(self.registry)
        self._store_free_bytes = Gauge(
            "recorder_store_free_bytes", "Room left in the blob store.", registry=self.registry
        )
        self._begin_at_zero()
        build = Info("recorder_build", "The running software.", registry=self.registry)
        build.info({"version": version, "node": node})

    def _declare_recording(self) -> None:
        registry = self.registry
        self._frames = Counter(
            "recorder_frames_total", "Units captured into segments.", registry=registry
        )
        self._segments = Counter(
            "recorder_segments_total", "Segments made durable.", registry=registry
        )
        self._chunks = Counter(
            "recorder_chunks_total", "Chunk payloads stored.", ["codec"], registry=registry
        )
        self._raw_bytes = Counter(
            "recorder_raw_bytes_total", "Pixels captured, before any coding.", registry=registry
        )
        self._plain_bytes = Counter(
            "recorder_plain_bytes_total",
            "Captured units as coded, before compression.",
            registry=registry,
        )
        self._stored_bytes = Counter(
            "recorder_stored_bytes_total", "Chunk payloads as stored.", registry=registry
        )
        self._chunk_plain_bytes = Counter(
            "recorder_chunk_plain_bytes_total",
            "The same payloads before compression.",
            registry=registry,
        )
        self._chunk_ratio = Histogram(
            "recorder_chunk_ratio",
            "Size of a chunk before compression, divided by its size as stored.",
            buckets=_RATIOS,
            registry=registry,
        )
        self._gaps = Counter("recorder_gaps_total", "Gaps recorded.", ["reason"], registry=registry)
        self._lost_units = Counter(
            "recorder_lost_units_total", "Units that are recorded as missing.", registry=registry
        )

        self._segments_refused = Counter(
            "recorder_segments_refused_total",
            "Times that the store refused a segment, which is tried again.",
            registry=registry,
        )
        self._rate_changes = Counter(
            "recorder_rate_changes_total",
            "Times that the frame rate of a session was changed: `down` or `up`.",
            ["reason", "direction"],
            registry=registry,
        )
        self._keyframe_looks = Counter(
            "recorder_keyframe_looks_total",
            "Keyframes of copied packets that were due to be looked at, and what came of it.",
            ["outcome"],
            registry=registry,
        )
        self._behind = Gauge(
            "recorder_capture_behind_state",
            "1 while so much waits for later stages that sessions do what `when_behind` says.",
            registry=registry,
        )

    def _declare_sessions(self) -> None:
        registry = self.registry
        self._sessions_active = Gauge(
            "recorder_sessions_active", "Sessions recorded by this process now.", registry=registry
        )
        self._sessions_started = Counter(
            "recorder_sessions_started_total", "Sessions started.", registry=registry
        )
        self._sessions_sealed = Counter(
            "recorder_sessions_sealed_total", "Sessions sealed.", ["reason"], registry=registry
        )
        self._commands_rejected = Counter(
            "recorder_commands_rejected_total", "Commands refused.", ["command"], registry=registry
        )
        self._checkpoints = Counter(
            "recorder_checkpoints_total", "Checkpoints signed.", registry=registry
        )

    def _declare_stages(self) -> None:
        registry = self.registry
        self._messages = Counter(
            "recorder_messages_total",
            "Messages handled.",
            ["stage", "outcome"],
            registry=registry,
        )
        self._message_seconds = Histogram(
            "recorder_message_seconds",
            "Time to handle a message.",
            ["stage"],
            buckets=_SECONDS,
            registry=registry,
        )
        self._redeliveries = Counter(
            "recorder_redeliveries_total",
            "Messages that were delivered to a stage again.",
            ["stage"],
            registry=registry,
        )
        self._message_bytes = Counter(
            "recorder_message_bytes_total",
            "Bytes of the messages that stages take (`in`) and publish (`out`).",
            ["stage", "direction"],
            registry=registry,
        )
        self._dead_letters = Counter(
            "recorder_dead_letters_total", "Dead letters.", ["stage"], registry=registry
        )
        self._suspects = Counter(
            "recorder_messages_suspected_total",
            "Messages that were tried alone, for workers had died with them in their hands.",
            ["stage"],
            registry=registry,
        )

    def _begin_at_zero(self) -> None:
        """A counter that is first seen at 1 has not grown, as Prometheus sees it: no alarm."""
        for reason in GapReason:
            self._gaps.labels(reason.value)
        for ended in EndReason:
            self._sessions_sealed.labels(ended.value)
        for why in get_args(SlowedBy):
            for direction in ("down", "up"):
                self._rate_changes.labels(why, direction)
        for outcome in ("seen", "undecodable", "busy"):
            self._keyframe_looks.labels(outcome)
        for stage in CONSUMERS:
            self._dead_letters.labels(stage.name)
            self._suspects.labels(stage.name)
            self._redeliveries.labels(stage.name)

    def received(self, stage: str, size: int, *, again: bool) -> None:
        """A message of so many bytes was delivered to a stage; `again`: not for the first time."""
        self._message_bytes.labels(stage, "in").inc(size)
        self._redeliveries.labels(stage).inc(again)

    def published(self, stage: str, size: int) -> None:
        """A stage has had an event of so many bytes stored."""
        self._message_bytes.labels(stage, "out").inc(size)

    def handled(self, stage: str, outcome: str, seconds: float) -> None:
        """A message left a stage."""
        self._messages.labels(stage, outcome).inc()
        self._message_seconds.labels(stage).observe(seconds)

    def dead_lettered(self, stage: str) -> None:
        """A message was moved to the dead letters."""
        self._dead_letters.labels(stage).inc()

    def suspected(self, stage: str) -> None:
        """A message at which workers may have died is tried alone."""
        self._suspects.labels(stage).inc()

    def rejected(self, command: str) -> None:
        """A command was refused."""
        self._commands_rejected.labels(command).inc()

    def session_started(self) -> None:
        """A lease was taken on a new session."""
        self._sessions_started.inc()

    def sessions_active(self, count: int) -> None:
        """How many leases this worker holds."""
        self._sessions_active.set(count)

    def segment_captured(self, frames: int, raw_bytes: int, plain_bytes: int) -> None:
        """A segment became durable."""
        self._segments.inc()
        self._frames.inc(frames)
        self._raw_bytes.inc(raw_bytes)
        self._plain_bytes.inc(plain_bytes)

    def gap_captured(self, reason: str, lost_units: int) -> None:
        """Units were recorded as missing."""
        self._gaps.labels(reason).inc()
        self._lost_units.inc(lost_units)

    def segment_refused(self) -> None:
        """The store refused a segment; it is tried again."""
        self._segments_refused.inc()

    def rate_changed(self, reason: str, *, lower: bool) -> None:
        """A session's frame rate was changed, for a reason of `SlowedBy`."""
        self._rate_changes.labels(reason, "down" if lower else "up").inc()

    def keyframe_looked(self, outcome: str) -> None:
        """A keyframe of copied packets was `seen`, `undecodable`, or left out: `busy`."""
        self._keyframe_looks.labels(outcome).inc()

    def behind(self, *, behind: bool) -> None:
        """Whether the stages behind capture are behind."""
        self._behind.set(behind)

    def chunk_stored(self, codec: str, plain_bytes: int, stored_bytes: int) -> None:
        """A chunk became durable; `plain_bytes` is its size before compression."""
        self._chunks.labels(codec).inc()
        self._chunk_plain_bytes.inc(plain_bytes)
        self._chunk_ratio.observe(plain_bytes / max(1, stored_bytes))
        self._stored_bytes.inc(stored_bytes)

    def checkpoint_signed(self) -> None:
        """A checkpoint was signed and stored."""
        self._checkpoints.inc()

    def session_sealed(self, reason: str) -> None:
        """A session was sealed."""
        self._sessions_sealed.labels(reason).inc()

    def throughput(self) -> Throughput:
        """What was counted since the start, of all that a node manager is told."""
        return Throughput(
            frames=_total(self._frames),
            raw_bytes=_total(self._raw_bytes),
            stored_bytes=_total(self._stored_bytes),
            messages=_total(self._messages, outcome="ok"),
        )

    def store_free(self, free_bytes: int | None) -> None:
        """Room left in the blob store; None: it has no limit."""
        self._store_free_bytes.set(float("inf") if free_bytes is None else free_bytes)

    def render(self) -> bytes:
        """All metrics in Prometheus' text format 0.0.4, of type `CONTENT_TYPE`."""
        return generate_latest(self.registry)


def _total(counter: Counter, **labels: str) -> int:
    """Of all its series that have these labels; asked of itself, for the registry has no index."""
    return sum(
        int(sample.value)
        for metric in counter.collect()
        for sample in metric.samples
        if sample.name.endswith("_total") and labels.items() <= sample.labels.items()
    )
