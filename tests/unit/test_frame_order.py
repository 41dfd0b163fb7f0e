"""The order of published frames, and how losses are told."""

from __future__ import annotations

import time

import pytest

from recorder_worker.adapters.sources.frame_order import (
    MOST_AHEAD_NS,
    MOST_BEHIND_NS,
    MOST_SKIPPED,
    FrameOrder,
)
from recorder_worker.adapters.sources.losses import TELL_EVERY_NS, Losses
from recorder_worker.core.errors import RefusedError
from recorder_worker.core.frame_messages import FrameHeaders
from recorder_worker.core.model import GapReason

SECOND = 1_000_000_000


def numbered(sequence: int) -> FrameHeaders:
    return FrameHeaders(sequence=sequence)


def test_what_the_publisher_skips_is_missing_once() -> None:
    order = FrameOrder()
    assert [order.skipped(numbered(n)) for n in (7, 8, 11)] == [0, 0, 2]
    assert order.skipped(FrameHeaders()) == 0
    order.counted_already(2)  # 13 and 14 had no room
    assert order.skipped(numbered(12)) == 0
    assert order.skipped(numbered(15)) == 0
    assert order.skipped(numbered(17)) == 1


def test_a_repeated_number_is_the_same_frame() -> None:
    order = FrameOrder()
    assert not order.repeats(numbered(3))
    order.skipped(numbered(3))
    assert order.repeats(numbered(3))
    assert not order.repeats(FrameHeaders())


@pytest.mark.parametrize("sequence", [0, 4, 5 + MOST_SKIPPED + 1, 2**63 - 1])
def test_a_count_that_goes_back_or_too_far_is_refused(sequence: int) -> None:
    order = FrameOrder()
    order.skipped(numbered(5))
    with pytest.raises(RefusedError, match="Recorder-Sequence"):
        order.skipped(numbered(sequence))
    assert order.skipped(numbered(6)) == 0


def test_a_frame_without_a_time_is_of_when_it_came() -> None:
    assert FrameOrder().time_of(FrameHeaders(), 123) == 123


def test_a_steady_clock_begins_where_its_first_frame_came() -> None:
    order = FrameOrder()
    times = [
        order.time_of(FrameHeaders(time_ns=ns, unix=False), arrived)
        for ns, arrived in ((50, 9 * SECOND), (50 + SECOND // 2, 9 * SECOND + 7))
    ]
    assert times == [9 * SECOND, 9 * SECOND + SECOND // 2]


@pytest.mark.parametrize("off_ns", [-MOST_BEHIND_NS - SECOND, MOST_AHEAD_NS + SECOND])
def test_a_time_far_from_now_is_refused(off_ns: int) -> None:
    now_ns = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    headers = FrameHeaders(time_ns=time.time_ns() + off_ns)
    with pytest.raises(RefusedError, match="Recorder-Time"):
        FrameOrder().time_of(headers, now_ns)


@pytest.mark.parametrize("unix", [True, False])
def test_a_time_that_does_not_go_on_is_refused(unix: bool) -> None:
    order = FrameOrder()
    now_ns = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    headers = FrameHeaders(time_ns=time.time_ns(), unix=unix)
    order.time_of(headers, now_ns)
    order.took(headers)
    with pytest.raises(RefusedError, match="behind that of the frame before"):
        order.time_of(headers, now_ns)


def test_losses_are_told_at_once_and_then_once_a_second() -> None:
    losses = Losses()
    losses.add(GapReason.SOURCE_LOST, 0, "none")
    assert not losses.due(5, at_once=True)
    losses.add(GapReason.SOURCE_LOST, 1, "first")
    assert losses.due(5, at_once=False)
    told = losses.told(5, 77)
    assert (told.unit_count, told.t_ns, str(told)) == (1, 77, "first")
    losses.add(GapReason.SOURCE_LOST, 2, "second")
    losses.add(GapReason.SOURCE_LOST, 3, "third")
    losses.add(GapReason.BACK_PRESSURE, 4, "fourth")
    assert not losses.due(5 + TELL_EVERY_NS - 1, at_once=False)
    assert losses.due(6, at_once=True)
    assert losses.due(5 + TELL_EVERY_NS, at_once=False)
    counts = [losses.told(9, 9), losses.told(9, 9)]
    assert [(one.unit_count, one.reason) for one in counts] == [
        (5, GapReason.SOURCE_LOST),
        (4, GapReason.BACK_PRESSURE),
    ]
    assert "5 frames; of the first: second" in str(counts[0])
    assert not losses.due(99, at_once=True)
