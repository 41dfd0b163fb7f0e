"""Which part of a session a film shows, by either clock."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec
import pytest
from recordings import FRAME_NS, WALL_NS, Recording

from recorder_worker.core.errors import FormatError, RefusedError, UnsupportedError
from recorder_worker.core.evidence.clip_plan import Window
from recorder_worker.core.records.codec import decode_record, encode_record
from recorder_worker.core.records.leaves import ChunkRecord
from recorder_worker.core.screening.extent import Extent, between, extent_of


def recording() -> Recording:
    """1 key 0-.3, 2 delta -.5, 3 mark, 4 gap -.7, 5 key -.9, 6 delta -1.0, 7 seal."""
    made = Recording().open().chunk(3).chunk(2, keyframe=False).mark().gap(2)
    return made.chunk(2).chunk(1, keyframe=False).seal()


def extent(begin: int | None = None, end: int = 0, *, wall: bool = False) -> Extent:
    window = None if begin is None else Window(begin_ns=begin, end_ns=end, wall=wall)
    return extent_of(lambda: recording().records, window)


def test_without_a_window_it_is_all_of_it() -> None:
    found = extent()
    assert (found.begin_ns, found.end_ns) == (0, 10 * FRAME_NS)
    assert (found.wall0_ns, found.wall1_ns) == (WALL_NS, WALL_NS + 10 * FRAME_NS)
    assert (found.decode_index, found.first_index, found.last_index) == (1, 1, 6)
    assert (found.frame_rate, found.profile) == (10.0, "screen")
    assert found.session_id == recording().session_id


def test_a_window_begins_with_its_keyframe_and_ends_with_what_it_touches() -> None:
    found = extent(4 * FRAME_NS, 6 * FRAME_NS)
    assert (found.decode_index, found.first_index, found.last_index) == (1, 2, 4)
    assert (found.begin_ns, found.end_ns) == (4 * FRAME_NS, 6 * FRAME_NS)
    assert found.wall0_ns == WALL_NS + 4 * FRAME_NS
    found = extent(6 * FRAME_NS, 10 * FRAME_NS)
    assert (found.decode_index, found.first_index, found.last_index) == (4, 4, 6)


def test_a_window_by_the_wall_clock_is_the_same_part() -> None:
    by_wall = extent(WALL_NS + 4 * FRAME_NS, WALL_NS + 6 * FRAME_NS, wall=True)
    assert by_wall == extent(4 * FRAME_NS, 6 * FRAME_NS)


def test_a_wall_clock_that_runs_slower_is_followed_in_proportion() -> None:
    assert between(5, (0, 10), (100, 200)) == 150
    assert between(7, (7, 7), (100, 200)) == 100


@pytest.mark.parametrize(
    ("begin", "end", "said"),
    [
        (5, 5, "a time before `--to`, 0.000000005 s"),
        (0, 11 * FRAME_NS, "a time up to 1 s, where it ends"),
        (-1, 5, "a time from 0 s on, where it begins"),
    ],
)
def test_a_window_that_reaches_out_is_refused(begin: int, end: int, said: str) -> None:
    with pytest.raises(RefusedError) as refused:
        extent(begin, end)
    assert said in str(refused.value)


def test_a_session_in_which_nothing_was_recorded_is_refused() -> None:
    with pytest.raises(RefusedError, match="at least one chunk or gap"):
        extent_of(lambda: Recording().open().seal().records)
    with pytest.raises(FormatError, match="expected an OPEN record"):
        extent_of(lambda: ())


def test_another_stream_than_that_of_pictures_is_refused() -> None:
    made = Recording().open().chunk()
    chunk = decode_record(made.records[1])
    assert isinstance(chunk, ChunkRecord)
    span = msgspec.structs.replace(chunk.span, stream=1)
    other = encode_record(msgspec.structs.replace(chunk, span=span))

    def records() -> Iterable[bytes]:
        return [made.records[0], other]

    with pytest.raises(UnsupportedError, match="found stream 1"):
        extent_of(records)
