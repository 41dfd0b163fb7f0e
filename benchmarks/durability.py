"""When segments became durable, told by the events alone, and how old their frames were by then."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import msgspec
import nats.js.api
import numpy as np
from nats.aio.client import Client
from nats.aio.msg import Msg

from benchmarks.displays import FPS
from recorder_worker.adapters.folder import FolderRecording
from recorder_worker.bus import codec
from recorder_worker.bus.streams.topology import SESSIONS_STREAM
from recorder_worker.core.events import Captured, GapCaptured, MarkCaptured, SegmentCaptured
from recorder_worker.core.frames.playback import scan_headers
from recorder_worker.core.notes import RATE, RateChanged
from recorder_worker.core.reading.frames import chunk_payload, inflated, recording_records
from recorder_worker.core.records.codec import decode_record
from recorder_worker.core.records.leaves import ChunkRecord
from recorder_worker.core.subjects import Fact


class Seen(NamedTuple):
    """An event, and the wall clock when it came."""

    event: Captured
    wall_ns: int


class Window(NamedTuple):
    """A part of a run, by the wall clock."""

    begin_ns: int
    end_ns: int

    def holds(self, begin_ns: int, end_ns: int) -> bool:
        """Whether something lies in it as a whole."""
        return self.begin_ns <= begin_ns and end_ns <= self.end_ns


class Reached(NamedTuple):
    """What came of a window: frames a second of each session, and what is missing.

    `lost` is how many frames the gaps have, `slowed` how many sessions had been slowed down.
    """

    rates: list[float]
    gaps: int
    lost: int
    slowed: int


class Latency(NamedTuple):
    """Milliseconds: of every frame from its own time on, of every segment from its close on."""

    frame: tuple[float, float]
    close: tuple[float, float]


class CapturedFeed:
    """Collects `session.captured.*` from the stream: what comes from there is stored and synced."""

    def __init__(self) -> None:
        self.seen: dict[str, list[Seen]] = defaultdict(list)

    async def open(self, bus: Client) -> None:
        """Follow from now on, until the connection is closed."""
        await bus.jetstream().subscribe(
            Fact.CAPTURED.of("*"),
            stream=SESSIONS_STREAM,
            cb=self._hear,
            ordered_consumer=True,
            deliver_policy=nats.js.api.DeliverPolicy.NEW,
        )

    async def _hear(self, message: Msg) -> None:
        now_ns = time.time_ns()
        event = codec.decode(Fact.CAPTURED, message.data)
        if isinstance(event, Captured):
            self.seen[event.session_id].append(Seen(event, now_ns))

    def segments(self, session_id: str) -> Iterator[tuple[SegmentCaptured, int]]:
        """A session's segments, and when each was seen."""
        for event, wall_ns in self.seen[session_id]:
            if isinstance(event, SegmentCaptured):
                yield event, wall_ns

    def reached(self, sessions: Iterable[str], window: Window) -> Reached:
        """Frames a second of the segments that lie in a window; gaps count as time."""
        rates, gaps, lost, slowed = [], 0, 0, 0
        for session_id in sessions:
            units = covered_ns = 0
            for event, _ in self.seen[session_id]:
                if not isinstance(event, SegmentCaptured | GapCaptured):
                    continue
                span = event.span
                if not window.holds(span.wall0_ns, span.wall1_ns):
                    continue
                covered_ns += span.t1_ns - span.t0_ns
                if isinstance(event, GapCaptured):
                    gaps, lost = gaps + 1, lost + span.unit_count
                else:
                    units += span.unit_count
            slowed += self._slowed(session_id, window)
            rates.append(units / (covered_ns / 1e9) if covered_ns else 0.0)
        return Reached(rates, gaps, lost, slowed)

    def _slowed(self, session_id: str, window: Window) -> bool:
        """Whether the recorder had lowered a session's frame rate when a window ended."""
        changes = [
            msgspec.json.decode(event.body, type=RateChanged)
            for event, seen_ns in self.seen[session_id]
            if isinstance(event, MarkCaptured) and event.kind == RATE and seen_ns < window.end_ns
        ]
        return bool(changes) and changes[-1].to_fps < FPS

    def latency(self, recorded: dict[str, dict[int, int]], window: Window) -> Latency:
        """Median and 99th percentile of what lies in a window.

        Args:
            recorded: of every session the wall time of each frame, by its unit (`frame_times`).
            window: which segments count.
        """
        frames, closes = [], []
        for session_id, times in recorded.items():
            for event, seen_ns in self.segments(session_id):
                span = event.span
                if not window.holds(span.wall0_ns, span.wall1_ns):
                    continue
                closes.append(seen_ns - span.wall1_ns)
                units = range(span.first_unit, span.first_unit + span.unit_count)
                frames += [seen_ns - times[unit] for unit in units]
        return Latency(_percentiles_ms(frames), _percentiles_ms(closes))


def frame_times(folder: Path) -> dict[int, int]:
    """The wall time, in nanoseconds, of every frame in a recording's chunks, by its unit."""
    recording, found = FolderRecording(folder), {}
    for data in recording_records(recording):
        record = decode_record(data)
        if isinstance(record, ChunkRecord):
            stored = chunk_payload(recording, record, None)
            plain = inflated(stored, str(record.index)) if record.codec == "zstd" else stored
            found.update({header.unit: header.wall_ns for header in scan_headers(plain)})
    return found


def _percentiles_ms(values_ns: list[int]) -> tuple[float, float]:
    if not values_ns:
        return float("nan"), float("nan")
    median, high = np.percentile(np.array(values_ns) / 1e6, (50, 99))
    return float(median), float(high)
