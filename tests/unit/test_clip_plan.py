"""A clip shows what the window touches and what that needs, and not one leaf more."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import msgspec
import pytest
from recordings import FRAME_NS, WALL_NS, Recording

from recorder_worker.core.errors import FormatError, RefusedError
from recorder_worker.core.events import ChunkStored
from recorder_worker.core.evidence.clip_plan import ClipPlan, Window, plan_clip
from recorder_worker.core.merkle.partial_tree import LeafRange
from recorder_worker.core.model import GapReason

MS = 1_000_000


def plan(recording: Recording, begin_ms: int, end_ms: int, *, wall: bool = False) -> ClipPlan:
    at_ns = WALL_NS if wall else 0
    window = Window(begin_ns=at_ns + begin_ms * MS, end_ns=at_ns + end_ms * MS, wall=wall)
    return plan_clip(lambda: recording.records, len(recording.records), window)


def clip(recording: Recording, begin_ms: int, end_ms: int) -> tuple[int, int]:
    found = plan(recording, begin_ms, end_ms)
    return found.clip.begin, found.clip.end


def named(index: int) -> Callable[[ChunkStored], ChunkStored]:
    """A chunk that says that it follows from `index`."""
    return lambda event: msgspec.structs.replace(event, keyframe_index=index)


def long() -> Recording:
    """OPEN, 1 key 0-0.3, 2 delta -0.6, 3 delta -0.9, 4 key -1.2, 5 gap -1.4, 6 key -1.7, SEAL."""
    recording = Recording(checkpoint_every=1).open().chunk().chunk(keyframe=False)
    return recording.chunk(keyframe=False).chunk().gap().chunk().seal()


@pytest.mark.parametrize(
    ("begin_ms", "end_ms", "expected"),
    [
        (0, 100, (1, 2)),
        (0, 300, (1, 2)),
        (0, 301, (1, 3)),
        (299, 300, (1, 2)),
        (300, 301, (1, 3)),
        (700, 800, (1, 4)),
        (900, 901, (4, 5)),
        (899, 901, (1, 5)),
        (1250, 1300, (5, 6)),
        (1199, 1300, (4, 6)),
        (1300, 1401, (5, 7)),
        (1600, 1700, (6, 7)),
        (0, 1700, (1, 7)),
    ],
)
def test_the_range_goes_from_the_keyframe_to_the_last_wanted_span(
    begin_ms: int, end_ms: int, expected: tuple[int, int]
) -> None:
    assert clip(long(), begin_ms, end_ms) == expected


def test_the_plan_says_what_it_holds() -> None:
    found = plan(long(), 1250, 1500)
    assert found.ranges == (LeafRange(0, 1), LeafRange(5, 8))
    assert found.note_sizes == (1, 8)
    assert (found.t0_ns, found.t1_ns) == (1200 * MS, 1700 * MS)
    assert (found.chunk_count, found.gap_count, found.mark_count) == (1, 1, 0)
    assert found.sealed
    assert found.size == 8


def test_every_epoch_is_shown_with_its_closing_checkpoint() -> None:
    recording = Recording(checkpoint_every=1).open()
    for _ in range(5):
        recording.chunk(1).epoch().beat()
    found = plan(recording.seal(), 200, 300)
    assert found.clip == LeafRange(7, 8)
    epochs = [2, 5, 8, 11, 14]
    assert found.note_sizes == (1, *(index + 1 for index in epochs), 17)
    shown = [n for part in found.ranges for n in range(part.begin, part.end)]
    assert shown == [0, 2, 5, 7, 8, 11, 14, 16]


def test_the_wall_clock_finds_the_same_as_session_time() -> None:
    for begin_ms, end_ms in ((0, 100), (700, 800), (899, 901), (1250, 1500)):
        by_wall = plan(long(), begin_ms, end_ms, wall=True)
        assert by_wall == plan(long(), begin_ms, end_ms)


@pytest.mark.parametrize(
    ("begin_ms", "end_ms", "field", "expected"),
    [
        (500, 500, "from", "a time before `to`"),
        (600, 500, "from", "a time before `to`"),
        (-1, 500, "from", "from 0 s on"),
        (0, 1701, "to", "up to 1.7 s"),
        (1700, 1800, "to", "up to 1.7 s"),
        (5000, 6000, "to", "up to 1.7 s"),
    ],
)
def test_a_window_outside_of_the_session_is_refused(
    begin_ms: int, end_ms: int, field: str, expected: str
) -> None:
    with pytest.raises(RefusedError) as refused:
        plan(long(), begin_ms, end_ms)
    assert refused.value.refusal.field == field
    assert expected in refused.value.refusal.expected


def test_a_refused_wall_clock_time_is_shown_as_a_date() -> None:
    with pytest.raises(RefusedError, match=r"up to 2025-10-09T08:53:21\.700000Z"):
        plan(long(), 0, 2000, wall=True)
    with pytest.raises(RefusedError, match=r"from 2025-10-09T08:53:20Z on"):
        plan(long(), -5, 100, wall=True)


def test_a_session_without_a_span_has_no_clip() -> None:
    with pytest.raises(RefusedError, match="up to 0 s"):
        plan(Recording().open().seal(), 0, 100)


def test_marks_of_the_window_beside_the_range_are_taken_along() -> None:
    recording = Recording(checkpoint_every=1).open().chunk().mark().beat().mark().chunk().mark()
    recording = recording.epoch().mark().seal()
    # 1 chunk 0-0.3, 2 mark 0.3, 3 beat, 4 mark 0.3, 5 chunk 0.3-0.6, 6 mark 0.6, 7 epoch, 8 mark
    assert clip(recording, 300, 400) == (2, 6)
    assert clip(recording, 301, 400) == (5, 6)
    assert clip(recording, 0, 300) == (1, 2)
    assert plan(recording, 300, 400).mark_count == 2
    assert clip(recording, 0, 600) == (1, 6)


def test_marks_behind_the_last_span_are_taken_where_they_lie_in_the_window() -> None:
    recording = Recording(checkpoint_every=1).open().chunk().chunk()
    recording.t_ns -= FRAME_NS
    recording.mark()
    recording.t_ns += FRAME_NS
    recording.beat().chunk().seal()
    assert clip(recording, 300, 600) == (2, 4)
    assert clip(recording, 300, 400) == (2, 3)
    # Not over a further chunk, which nobody asked for.
    recording = Recording(checkpoint_every=1).open().chunk().chunk()
    recording.t_ns -= 4 * FRAME_NS
    recording.mark()
    recording.t_ns += 4 * FRAME_NS
    assert clip(recording.chunk().seal(), 0, 250) == (1, 2)


def test_behind_a_dead_letter_the_range_begins_where_its_chunks_say() -> None:
    """Rule 5: a chunk may follow from the gap itself, or from the chunk before it."""
    dead = GapReason.DEAD_LETTER
    recording = Recording(checkpoint_every=1).open().chunk().chunk()  # 1, 2: keyframes
    recording.gap(2, dead).chunk(keyframe=False, change=named(3))  # 3: was a keyframe; 4
    recording.chunk(keyframe=False, change=named(3)).chunk().seal()  # 5, 6
    # 1 0-.3, 2 -.6, 3 gap -.8, 4 -1.1, 5 -1.4, 6 -1.7
    assert clip(recording, 1000, 1050) == (3, 5)
    assert clip(recording, 1200, 1250) == (3, 6)
    assert clip(recording, 700, 750) == (3, 4)
    before = Recording(checkpoint_every=1).open().chunk().chunk()
    before.gap(2, dead).chunk(keyframe=False, change=named(2)).seal()
    assert clip(before, 900, 950) == (2, 5)


def test_the_range_goes_back_until_all_names_lie_in_it() -> None:
    """No recorder writes this; what such a clip names must still be in it."""
    recording = Recording(checkpoint_every=1).open().chunk().chunk()
    recording.gap(2, GapReason.DEAD_LETTER).chunk(keyframe=False, change=named(2))
    recording.gap(2, GapReason.DEAD_LETTER).chunk(keyframe=False, change=named(3)).seal()
    # 6 names 3, and 4, which then is in the range, names 2
    assert clip(recording, 1300, 1350) == (2, 7)


def test_a_name_beyond_everything_ends_at_open() -> None:
    recording = Recording(checkpoint_every=1).open().chunk(change=named(0)).seal()
    assert clip(recording, 0, 100) == (1, 2)


def test_only_signed_records_count() -> None:
    recording = long()
    window = Window(begin_ns=0, end_ns=300 * MS)
    found = plan_clip(lambda: recording.records, 4, window)
    assert (found.size, found.sealed, found.note_sizes) == (2, False, (1, 2))
    assert found.ranges == (LeafRange(0, 2),)
    with pytest.raises(RefusedError, match=r"up to 0\.9 s"):
        plan_clip(lambda: recording.records, 4, Window(begin_ns=0, end_ns=1000 * MS))


def test_of_an_unsealed_session_the_last_leaf_shows_no_other_chunk_or_mark() -> None:
    recording = Recording(checkpoint_every=1).open().chunk().chunk().epoch().chunk().mark()
    found = plan(recording, 0, 100)
    assert (found.size, found.note_sizes) == (4, (1, 4))
    assert found.ranges == (LeafRange(0, 2), LeafRange(3, 4))
    assert plan(recording, 700, 800).size == 5
    assert plan(recording.beat().chunk(), 0, 100).size == 7
    assert plan(recording.epoch().chunk(), 0, 100).note_sizes == (1, 4, 9)
    assert plan(recording.seal(), 0, 100).size == 11


def test_records_that_are_not_of_one_session_in_order_are_refused() -> None:
    records = long().records
    window = Window(begin_ns=0, end_ns=300 * MS)
    for wrong in (
        [*records[:2], records[3], records[2], *records[4:]],
        records[1:],
        [records[0], *records],
    ):
        with pytest.raises(FormatError, match="of this index"):
            plan_clip(partial(list, wrong), 8, window)
    with pytest.raises(FormatError, match="expected 9 records under the newest"):
        plan_clip(lambda: records, 9, window)
