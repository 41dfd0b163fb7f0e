"""A recorder that cannot write says so in seconds: in its log, its metrics and its health."""

from __future__ import annotations

from hand_clock import HandClock
from structlog.testing import capture_logs

from recorder_worker.service.observing.metrics import Metrics
from recorder_worker.service.observing.pressure import writes_check
from recorder_worker.stages.capture.segments.write_watch import WriteWatch

SECOND = 1_000_000_000
ONE, OTHER = "one", "other"


def watch() -> tuple[WriteWatch, HandClock, Metrics]:
    clock, metrics = HandClock(), Metrics(version="", node="")
    return WriteWatch(clock, metrics), clock, metrics


def test_a_refused_segment_is_told_once_and_so_is_that_it_was_stored_late() -> None:
    writes, clock, metrics = watch()
    check = writes_check(writes)
    with capture_logs() as logs:
        writes.begun(ONE)
        assert check().ok
        for _ in range(3):
            writes.refused(ONE, "no space left")
            clock.now_ns += SECOND
        found = check()
        assert (found.ok, found.name) == (False, "capture.writes")
        assert found.detail == "1 sessions cannot write, for 3 s: no space left"
        writes.done(ONE)
        assert check().ok
    assert [(line["event"], line["log_level"]) for line in logs] == [
        ("SegmentNotStored", "error"),
        ("SegmentStoredLate", "warning"),
    ]
    assert metrics.registry.get_sample_value("recorder_segments_refused_total") == 3


def test_a_store_that_neither_takes_nor_refuses_is_told_after_seconds() -> None:
    writes, clock, _ = watch()
    check = writes_check(writes)
    with capture_logs() as logs:
        writes.begun(ONE)
        clock.now_ns += 2 * SECOND
        writes.begun(OTHER)
        writes.look()
        assert (logs, check().ok) == ([], True)
        clock.now_ns += SECOND
        writes.look()
        writes.look()
        assert [line["event"] for line in logs] == ["SegmentStuck"]
        assert "neither takes nor refuses" in check().detail
        writes.done(OTHER)
        writes.done(ONE)
    assert [line["event"] for line in logs] == ["SegmentStuck", "SegmentStoredLate"]
    assert check().ok
