"""A reader over a scripted source, and what it hands over: it must tile the stream."""

from __future__ import annotations

import queue
from collections.abc import Callable
from typing import NoReturn

import numpy as np
import zstandard
from memory_store import MemoryStore
from numpy.typing import NDArray

from recorder_worker.adapters.system_clock import SystemClock
from recorder_worker.core.errors import SourceError
from recorder_worker.core.frames.keyframes import KeyframePolicy
from recorder_worker.core.frames.pictures import Pointer, Region
from recorder_worker.core.frames.playback import FrameDecoder
from recorder_worker.core.model import Cursor, GapReason, Mask, SourceClock, SourceFacts
from recorder_worker.ports import Frame, FrameSource
from recorder_worker.service.observing.metrics import Metrics
from recorder_worker.stages.capture.reading.coverage import Coverage
from recorder_worker.stages.capture.reading.policy import Arming, ReaderPolicy
from recorder_worker.stages.capture.reading.reader import Reader
from recorder_worker.stages.capture.reading.timeline import Timeline
from recorder_worker.stages.capture.segments import items
from recorder_worker.stages.capture.segments.frame_spool import SegmentWriter
from recorder_worker.stages.capture.segments.spool import SegmentLimits
from recorder_worker.stages.capture.segments.write_watch import WriteWatch

SECOND = 1_000_000_000
FPS = 50
SESSION = "00000000-0000-4000-8000-000000000001"
DEADLINE_S = 20.0


class Scripted:
    """A source of small pictures that does, at chosen reads, what the script says."""

    def __init__(
        self,
        clock: SystemClock,
        kind: SourceClock = SourceClock.MEDIA,
        *,
        frames: int | None = None,
        declared: int | None = None,
        script: dict[int, Callable[[], None]] | None = None,
    ) -> None:
        self._clock = clock
        self._frames = frames
        self._script = script or {}
        self.reads = 0
        self.size = (8, 8)
        self.shown: int | None = None
        self.changed: tuple[Region, ...] | None = None
        self.pointer: Pointer | None = None
        self.closed = False
        self.facts = SourceFacts(
            kind="test",
            uri="test:",
            description="",
            width=8,
            height=8,
            clock=kind,
            frame_rate=FPS,
            frame_count=declared,
        )

    def read(self) -> Frame | None:
        self._script.get(self.reads, lambda: None)()
        if self.reads == self._frames:
            return None
        self.reads += 1
        live = self.facts.clock is SourceClock.LIVE
        t_ns = self._clock.monotonic_ns() if live else (self.reads - 1) * SECOND // FPS
        shown = self.reads if self.shown is None else self.shown
        picture = np.full((*self.size, 3), shown % 251, np.uint8)
        return Frame(picture=picture, t_ns=t_ns, changed=self.changed, pointer=self.pointer)

    def close(self) -> None:
        self.closed = True


class HandedOver:
    """What a reader hands over from a cursor on, as it comes."""

    def __init__(self, first: Cursor | None = None) -> None:
        self.items: list[items.Item] = []
        self.news: queue.SimpleQueue[items.Item] = queue.SimpleQueue()
        self._first = first or Cursor()

    def wait_for(self, *kinds: type[items.Item]) -> items.Item:
        """Take items until one of some kinds."""
        while True:
            item = self.news.get(timeout=DEADLINE_S)
            self.items.append(item)
            if isinstance(item, kinds):
                return item

    def ended(self) -> items.Ended:
        """Take items until the end; what was handed over must tile the stream."""
        ended = self.wait_for(items.Ended)
        assert isinstance(ended, items.Ended)
        unit, t_ns = self._first.unit, self._first.t_ns
        for item in self.items:
            if isinstance(item, items.Segment | items.Gap):
                assert (item.span.first_unit, item.span.t0_ns) == (unit, t_ns)
                unit, t_ns = unit + item.span.unit_count, item.span.t1_ns
                assert (item.cursor.unit, item.cursor.t_ns) == (unit, t_ns)
        assert (ended.cursor.unit, ended.cursor.t_ns) == (unit, t_ns)
        return ended

    def gaps(self) -> list[items.Gap]:
        return [item for item in self.items if isinstance(item, items.Gap)]

    def notes(self) -> list[items.Note]:
        return [item for item in self.items if isinstance(item, items.Note)]


class Bench(HandedOver):
    """A reader over a scripted source, with what it hands over."""

    def __init__(
        self,
        source: Scripted | None = None,
        *,
        reopen: Callable[[int], FrameSource] | None = None,
        cursor: Cursor | None = None,
        store: MemoryStore | None = None,
        max_duration_ns: int | None = None,
        retry_s: float = 0.3,
        native: bool = False,
        kind: SourceClock = SourceClock.MEDIA,
        idle_stop_ns: int | None = None,
        pre_record: tuple[int, int] | None = None,
        masks: tuple[Mask, ...] = (),
    ) -> None:
        cursor = cursor or Cursor()
        super().__init__(cursor)
        self.clock = SystemClock()
        self.writes = WriteWatch(self.clock, Metrics(version="", node=""))
        self.store = store or MemoryStore()
        kind = source.facts.clock if source else kind
        timeline = Timeline(kind, cursor, self.clock, FPS, same_boot=False)
        writer = SegmentWriter(
            store=self.store,
            session_id=SESSION,
            clock=self.clock,
            cursor=cursor,
            limits=SegmentLimits(duration_ns=SECOND // 5, plain_size=1 << 20, level=1),
            keyframes=KeyframePolicy(),
            masks=masks,
        )
        self.reader = Reader(
            source=source,
            reopen=reopen or no_source,
            coverage=Coverage(
                writer=writer,
                timeline=timeline,
                clock=self.clock,
                retry_s=retry_s,
                writes=self.writes.of(SESSION),
                deliver=self.news.put,
            ),
            timeline=timeline,
            policy=ReaderPolicy(
                native=native,
                max_duration_ns=max_duration_ns,
                retry_s=retry_s,
                idle_stop_ns=idle_stop_ns,
                arming=None if pre_record is None else self._arming(*pre_record),
            ),
            clock=self.clock,
        )

    def _arming(self, keep_ns: int, max_bytes: int) -> Arming:
        policy = KeyframePolicy()
        return Arming(keep_ns=keep_ns, max_bytes=max_bytes, store=self.store, keyframes=policy)

    def start(
        self, gap: GapReason | None = None, *, paused: bool = False, armed: bool = False
    ) -> Bench:
        self.reader.start(gap=gap, paused=paused, armed=armed)
        return self

    def end(self) -> items.Ended:
        """As `ended`, and the reader has let go."""
        ended = self.ended()
        self.reader.join(DEADLINE_S)
        return ended

    def frames(self) -> int:
        return sum(i.span.unit_count for i in self.items if isinstance(i, items.Segment))


def no_source(_unit: int) -> NoReturn:
    raise SourceError("it does not come back")


def frames_of(
    store: MemoryStore, segments: list[items.Segment]
) -> list[tuple[NDArray[np.uint8], int]]:
    """The pictures of segments, decoded one behind the other, and their session times."""
    decoder = FrameDecoder()
    found = []
    for segment in segments:
        stored = store.get(f"sessions/{SESSION}/{segment.name}")
        plain = zstandard.ZstdDecompressor().decompress(stored)
        found += [(frame.picture.copy(), frame.t_ns) for frame in decoder.feed(plain)]
    decoder.finish()
    return found
