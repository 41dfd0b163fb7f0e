"""A display that goes away while it is recorded: a gap, no hang, and on when it is back."""

from __future__ import annotations

import queue
import threading
import time

import pytest
from memory_store import MemoryStore
from xserver import PROGRAMS, XServer, own_display

from recorder_worker.adapters.sources.x11 import connect, extent
from recorder_worker.adapters.sources.x11.source import X11Display
from recorder_worker.adapters.system_clock import SystemClock
from recorder_worker.core.errors import SourceError
from recorder_worker.core.frames.keyframes import KeyframePolicy
from recorder_worker.core.model import Cursor, EndReason, GapReason, SourceClock
from recorder_worker.core.sources.kinds import ScreenPart, X11Source
from recorder_worker.ports import FrameSource
from recorder_worker.service.observing.metrics import Metrics
from recorder_worker.stages.capture.reading.coverage import Coverage
from recorder_worker.stages.capture.reading.policy import ReaderPolicy
from recorder_worker.stages.capture.reading.reader import Reader
from recorder_worker.stages.capture.reading.requests import Stop
from recorder_worker.stages.capture.reading.timeline import SECOND_NS, Timeline
from recorder_worker.stages.capture.segments import items
from recorder_worker.stages.capture.segments.frame_spool import SegmentWriter
from recorder_worker.stages.capture.segments.spool import SegmentLimits
from recorder_worker.stages.capture.segments.write_watch import WriteWatch

SESSION = "00000000-0000-4000-8000-000000000001"
FPS = 50.0
RETRY_S = 60.0
DEADLINE_S = 30.0
SILENT_S = 2.0
"""How long a display that hangs may be silent; 5 s in earnest."""


class Recording:
    """A display that is being recorded in memory, by a real reader."""

    def __init__(self, source: X11Source, silent_s: float = DEADLINE_S) -> None:
        self._source = source
        self._silent_s = silent_s
        self._opened = 0
        self._looked_for = threading.Event()
        self._news: queue.SimpleQueue[items.Item] = queue.SimpleQueue()
        clock, cursor = SystemClock(), Cursor()
        timeline = Timeline(SourceClock.LIVE, cursor, clock, FPS, same_boot=False)
        writer = SegmentWriter(
            store=MemoryStore(),
            session_id=SESSION,
            clock=clock,
            cursor=cursor,
            limits=SegmentLimits(duration_ns=SECOND_NS // 10, plain_size=1 << 20, level=1),
            keyframes=KeyframePolicy(),
            masks=(),
        )
        self._reader = Reader(
            source=self._open(0),
            reopen=self._open,
            coverage=Coverage(
                writer=writer,
                timeline=timeline,
                clock=clock,
                retry_s=RETRY_S,
                writes=WriteWatch(clock, Metrics(version="", node="")).of(SESSION),
                deliver=self._news.put,
            ),
            timeline=timeline,
            policy=ReaderPolicy(native=False, max_duration_ns=None, retry_s=RETRY_S),
            clock=clock,
        )
        self._reader.start(gap=None, paused=False)

    def _open(self, _unit: int) -> FrameSource:
        self._opened += 1
        if self._opened > 1:
            self._looked_for.set()
        return X11Display(self._source, display=self._source.uri, fps=FPS, timeout_s=self._silent_s)

    def wait_for(self, *kinds: type[items.Item]) -> items.Item:
        """Take items until one of some kinds."""
        while True:
            item = self._news.get(timeout=DEADLINE_S)
            if isinstance(item, kinds):
                return item

    def wait_until_lost(self) -> None:
        """Wait until it is noticed that the display is away."""
        assert self._looked_for.wait(DEADLINE_S)

    def wait_for_gap(self) -> items.Gap:
        """Take items until a gap because the source was lost."""
        while True:
            gap = self.wait_for(items.Gap)
            assert isinstance(gap, items.Gap)
            if gap.reason is GapReason.SOURCE_LOST:
                return gap

    def stop(self) -> None:
        """End it, as it is asked to."""
        self._reader.request(Stop(reason=EndReason.STOPPED))
        ended = self.wait_for(items.Ended)
        assert isinstance(ended, items.Ended)
        assert ended.reason is EndReason.STOPPED
        self._reader.join(DEADLINE_S)


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_server_that_is_started_again_is_recorded_on(program: str) -> None:
    with XServer(program=program, display=own_display()) as server:
        recording = Recording(X11Source(uri=server.display))
        recording.wait_for(items.Segment)
        server.kill()
        with XServer(program=program, display=server.display):
            gap = recording.wait_for_gap()
            assert "the X server or its session has ended" in gap.detail
            recording.wait_for(items.Segment)
            recording.stop()


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_server_that_hangs_and_goes_on_is_recorded_on(program: str) -> None:
    with XServer(program=program) as server:
        recording = Recording(X11Source(uri=server.display), silent_s=SILENT_S)
        recording.wait_for(items.Segment)
        server.stop()
        recording.wait_until_lost()
        server.go_on()
        gap = recording.wait_for_gap()
        assert "expected a reply within 2 s, found none" in gap.detail
        recording.wait_for(items.Segment)
        recording.stop()


def test_a_server_that_hangs_keeps_nobody_from_stopping() -> None:
    with XServer() as server:
        recording = Recording(X11Source(uri=server.display), silent_s=SILENT_S)
        recording.wait_for(items.Segment)
        server.stop()
        recording.wait_until_lost()
        recording.stop()


def test_a_monitor_that_was_off_is_recorded_on() -> None:
    with XServer(400, 300) as server:
        server.set_monitor("right", 200, 0, 200, 300)
        recording = Recording(X11Source(uri=server.display, monitor="right"))
        recording.wait_for(items.Segment)
        server.remove_monitor("right")
        recording.wait_until_lost()
        server.set_monitor("right", 0, 0, 100, 300)
        gap = recording.wait_for_gap()
        assert "expected a monitor right, found" in gap.detail
        recording.wait_for(items.Segment)
        recording.stop()


def test_a_screen_too_small_for_its_region_is_a_gap_until_it_is_large_again() -> None:
    with XServer(400, 300) as server:
        region = ScreenPart(x=200, y=100, width=200, height=200)
        recording = Recording(X11Source(uri=server.display, region=region))
        recording.wait_for(items.Segment)
        server.resize(300, 300)
        recording.wait_until_lost()
        server.resize(400, 300)
        gap = recording.wait_for_gap()
        assert "found a screen of 300x300" in gap.detail
        recording.wait_for(items.Segment)
        recording.stop()


def test_a_screen_that_is_made_larger_than_a_recording_takes_is_a_gap_and_no_crash(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Whoever sits at the display may resize it: that must neither end its recording as a defect of
    # the recorder, nor take the worker's memory.
    monkeypatch.setattr(extent, "MAX_PIXELS", 300 * 300)
    with XServer(400, 300) as server:
        server.resize(300, 300)
        recording = Recording(X11Source(uri=server.display))
        recording.wait_for(items.Segment)
        server.resize(400, 300)
        recording.wait_until_lost()
        server.resize(200, 300)
        gap = recording.wait_for_gap()
        assert "expected at most 90000 pixels, found 400x300+0+0" in gap.detail
        recording.wait_for(items.Segment)
        recording.stop()


def test_a_server_that_hangs_is_not_waited_for_by_ever_more_threads() -> None:
    # Whoever may start sessions may try a stopped display as often as he likes.
    with XServer() as server:
        server.stop()

        def waiting() -> int:
            return sum(one.name == f"connect {server.display}" for one in threading.enumerate())

        for attempt in range(connect.MOST_HANGING + 5):
            with pytest.raises(SourceError) as refused:
                connect.connect(server.display, 0.1)
            assert ("earlier tries" in str(refused.value)) is (attempt >= connect.MOST_HANGING)
            assert waiting() <= connect.MOST_HANGING
        server.go_on()
        deadline = time.monotonic() + DEADLINE_S
        while waiting() and time.monotonic() < deadline:
            threading.Event().wait(0.01)
        connect.connect(server.display, DEADLINE_S).disconnect()
