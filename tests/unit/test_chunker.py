from __future__ import annotations

import msgspec
import pytest
from captured_events import POLICY, SECOND, LogBuilder, captured_logs
from hypothesis import given
from hypothesis import strategies as st

from recorder_worker.core.chunker import ChunkerState, advance, resume_state
from recorder_worker.core.errors import OutOfOrderError
from recorder_worker.core.events import (
    BeatCaptured,
    BeatLeaf,
    CapturedEvent,
    ChunkedEvent,
    ChunkPlanned,
    EndLeaf,
    EpochCaptured,
    EpochLeaf,
    GapLeaf,
    MarkLeaf,
    OpenLeaf,
    SegmentCaptured,
)
from recorder_worker.core.model import RecordingPolicy


def fold(
    events: list[CapturedEvent], state: ChunkerState | None = None, policy: RecordingPolicy = POLICY
) -> list[ChunkedEvent]:
    state = state or ChunkerState()
    leaves: list[ChunkedEvent] = []
    for event in events[state.applied :]:
        state, made = advance(state, event, policy)
        leaves += made
    return leaves


@given(captured_logs())
def test_every_leaf_has_the_next_index_and_the_log_becomes_open_to_end(
    events: list[CapturedEvent],
) -> None:
    leaves = fold(events)
    assert [leaf.index for leaf in leaves] == list(range(len(leaves)))
    assert isinstance(leaves[0], OpenLeaf)
    assert isinstance(leaves[-1], EndLeaf)


@given(captured_logs())
def test_every_segment_is_in_exactly_one_chunk_in_order(events: list[CapturedEvent]) -> None:
    chunks = [leaf for leaf in fold(events) if isinstance(leaf, ChunkPlanned)]
    assert [ref.name for chunk in chunks for ref in chunk.segments] == [
        event.name for event in events if isinstance(event, SegmentCaptured)
    ]


@given(captured_logs())
def test_chunks_and_gaps_tile_units_and_time(events: list[CapturedEvent]) -> None:
    unit = t_ns = 0
    for leaf in fold(events):
        if isinstance(leaf, ChunkPlanned | GapLeaf):
            assert (leaf.span.first_unit, leaf.span.t0_ns) == (unit, t_ns)
            unit, t_ns = unit + leaf.span.unit_count, leaf.span.t1_ns
    assert (unit, t_ns) == (events[-1].cursor.unit, events[-1].cursor.t_ns)


@given(captured_logs(), st.data())
def test_a_cold_start_behind_any_leaf_makes_the_same_leaves(
    events: list[CapturedEvent], data: st.DataObject
) -> None:
    leaves = fold(events)
    last = data.draw(st.sampled_from(leaves))
    assert fold(events, resume_state(last)) == leaves[last.index + 1 :]


@given(captured_logs())
def test_a_keyframe_is_always_the_first_frame_of_its_chunk_and_is_named_by_the_next(
    events: list[CapturedEvent],
) -> None:
    keyframes = {
        event.name for event in events if isinstance(event, SegmentCaptured) and event.keyframe
    }
    newest = 0
    for leaf in fold(events):
        if not isinstance(leaf, ChunkPlanned):
            continue
        names = [ref.name for ref in leaf.segments]
        assert not keyframes & set(names[1:])
        assert leaf.keyframe == (names[0] in keyframes)
        newest = leaf.index if leaf.keyframe else newest
        assert leaf.keyframe_index == newest


@given(captured_logs())
def test_no_chunk_passes_a_limit_by_more_than_its_last_segment(events: list[CapturedEvent]) -> None:
    for leaf in fold(events):
        if isinstance(leaf, ChunkPlanned):
            without_last = leaf.segments[:-1]
            assert sum(ref.stored_size for ref in without_last) < POLICY.chunk_max_stored_size
            assert sum(ref.plain_size for ref in without_last) < POLICY.chunk_max_plain_size


def test_a_chunk_ends_once_it_has_lasted_the_limit() -> None:
    log = LogBuilder()
    for _ in range(25):
        log.segment(10, SECOND)
    chunks = [leaf for leaf in fold(log.end()) if isinstance(leaf, ChunkPlanned)]
    assert [chunk.span.unit_count for chunk in chunks] == [100, 100, 50]


def test_a_mark_does_not_end_the_chunk_that_is_being_filled() -> None:
    log = LogBuilder().segment().mark().segment()
    kinds = [type(leaf) for leaf in fold(log.end())]
    assert kinds == [OpenLeaf, MarkLeaf, ChunkPlanned, EndLeaf]


def test_a_pause_ends_the_chunk_before_its_gap() -> None:
    kinds = [type(leaf) for leaf in fold(LogBuilder().segment().pause().segment().end())]
    assert kinds == [OpenLeaf, ChunkPlanned, GapLeaf, ChunkPlanned, EndLeaf]


def test_an_event_out_of_order_is_refused() -> None:
    events = LogBuilder().segment().end()
    with pytest.raises(OutOfOrderError, match="expected captured event 0, got 1"):
        advance(ChunkerState(), events[1], POLICY)


@given(captured_logs())
def test_beats_and_epochs_get_their_leaves_at_once_and_end_no_chunk(
    events: list[CapturedEvent],
) -> None:
    leaves = fold(events)
    epochs = [leaf.number for leaf in leaves if isinstance(leaf, EpochLeaf)]
    assert epochs == [event.epoch for event in events if isinstance(event, EpochCaptured)]
    beats = [(leaf.unit, leaf.t_ns) for leaf in leaves if isinstance(leaf, BeatLeaf)]
    assert beats == [
        (event.cursor.unit, event.cursor.t_ns)
        for event in events
        if isinstance(event, BeatCaptured)
    ]
    without = [event for event in events if not isinstance(event, BeatCaptured | EpochCaptured)]
    renumbered: list[CapturedEvent] = [
        msgspec.structs.replace(event, ordinal=n) for n, event in enumerate(without)
    ]
    spans = [leaf.span for leaf in leaves if isinstance(leaf, ChunkPlanned)]
    assert spans == [leaf.span for leaf in fold(renumbered) if isinstance(leaf, ChunkPlanned)]


PACKETS = msgspec.structs.replace(POLICY, frames="fmp4", chunk_duration_ns=5 * SECOND)


def chunks(log: LogBuilder) -> list[tuple[int, bool]]:
    made = [leaf for leaf in fold(log.end(), policy=PACKETS) if isinstance(leaf, ChunkPlanned)]
    assert {leaf.frames for leaf in made} == {"fmp4"}
    return [(leaf.span.unit_count, leaf.keyframe) for leaf in made]


def test_chunks_of_packets_begin_at_the_keyframe_behind_their_length() -> None:
    log = LogBuilder()
    for second in range(14):
        log.segment(keyframe=second % 2 == 0)
    assert chunks(log) == [(60, True), (60, True), (20, True)]


def test_without_keyframes_a_chunk_of_packets_ends_all_the_same() -> None:
    log = LogBuilder()
    for second in range(24):
        log.segment(keyframe=second in (0, 22))
    assert chunks(log) == [(200, True), (20, False), (20, True)]
