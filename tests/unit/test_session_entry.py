from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from session_facts import (
    FAILED,
    ID,
    INCIDENTS,
    PAUSED,
    PAUSED_AGAIN,
    RESUMED,
    SEALED,
    SOURCE,
    STARTED,
    checkpoint,
    entry_of,
)

from recorder_worker.core.commands import StartSession
from recorder_worker.core.events import (
    BeatCaptured,
    CapturedEvent,
    EndCaptured,
    Event,
    Totals,
)
from recorder_worker.core.lifecycle import State
from recorder_worker.core.model import Cursor, EndReason, Slowed
from recorder_worker.core.session_entry import SessionEntry, described, merged, read_as
from recorder_worker.core.sources.kinds import PatternSource


def test_a_session_goes_through_its_states() -> None:
    steps: list[tuple[Event, State]] = [
        (STARTED, State.RECORDING),
        (checkpoint(1), State.RECORDING),
        (PAUSED, State.PAUSED),
        (RESUMED, State.RECORDING),
        (FAILED, State.STOPPING),
        (SEALED, State.SEALED),
    ]
    events = [event for event, _ in steps]
    for count, (_, state) in enumerate(steps, start=1):
        assert entry_of(*events[:count]).state is state
    whole = entry_of(*events)
    assert (whole.source, whole.node, whole.started_wall_ns) == (SOURCE, "vm", 1000)
    assert (whole.tree_size, whole.root_hash, whole.totals.frame_count) == (9, "cd" * 32, 4)
    assert (whole.reason, whole.failed) == ("source_lost", "source_lost: gone")


@pytest.mark.parametrize("first", [Totals(chunk_count=1), Totals(gap_count=1)])
def test_a_session_is_armed_until_anything_of_it_is_recorded(first: Totals) -> None:
    command = StartSession(session_id=ID, source=PatternSource(), pre_record_s=5)
    marked = msgspec.structs.replace(checkpoint(2), totals=Totals(mark_count=1))
    recorded = msgspec.structs.replace(checkpoint(3), totals=first)
    assert described(entry_of(), command).state is State.REQUESTED
    entry = described(entry_of(STARTED), command)
    assert (entry.state, entry.pre_record_s) == (State.ARMED, 5)
    assert merged(entry, marked).state is State.ARMED
    assert merged(merged(entry, marked), recorded).state is State.RECORDING
    assert merged(merged(entry, recorded), marked).state is State.RECORDING
    assert described(entry_of(recorded, marked, STARTED), command).state is State.RECORDING
    assert merged(entry, SEALED).state is State.SEALED


EVERYTHING: list[Event] = [
    STARTED,
    *(checkpoint(size) for size in (1, 2, 5)),
    PAUSED,
    RESUMED,
    PAUSED_AGAIN,
    FAILED,
    *INCIDENTS,
    SEALED,
]


@given(st.data())
def test_facts_give_the_same_entry_in_any_order_and_however_often(data: st.DataObject) -> None:
    some = data.draw(st.lists(st.sampled_from(EVERYTHING), unique_by=id))
    again = data.draw(st.lists(st.sampled_from(some), max_size=5)) if some else []
    shuffled = data.draw(st.permutations([*some, *again]))
    in_order = [event for event in EVERYTHING if any(event is one for one in some)]
    assert entry_of(*shuffled) == entry_of(*in_order)


def test_an_event_that_says_nothing_of_the_entry_leaves_it_alone() -> None:
    whole = entry_of(*EVERYTHING)
    assert merged(whole, checkpoint(3)) == whole
    assert merged(whole, Event()) is whole


def test_how_a_session_is_read_is_that_of_its_newest_captured_event_until_its_end() -> None:
    slowed = Slowed(fps=2.5, reason="overload")
    beat = BeatCaptured(
        session_id=ID, ordinal=7, lease="l", controls=0, cursor=Cursor(), wall_ns=1, slowed=slowed
    )
    held = msgspec.structs.replace(beat, slowed=None, held=True)
    end = EndCaptured(
        session_id=ID,
        ordinal=9,
        lease="l",
        controls=0,
        cursor=Cursor(),
        wall_ns=1,
        slowed=slowed,
        held=True,
        t_ns=1,
        reason=EndReason.STOPPED,
        detail="",
    )
    entry = read_as(merged(SessionEntry(session_id=ID), STARTED), beat)
    assert (entry.slowed, entry.held) == (slowed, False)
    entry = read_as(entry, held)
    assert (entry.slowed, entry.held) == (None, True)
    for over in (read_as(entry, end), merged(entry, SEALED), read_as(merged(entry, SEALED), beat)):
        assert (over.slowed, over.held) == (None, False)


def test_a_captured_event_from_before_it_said_how_a_session_is_read_is_still_read() -> None:
    text = (
        f'{{"type":"beat","v":1,"session_id":"{ID}","ordinal":7,"lease":"l","controls":0,'
        '"cursor":{"unit":3},"paused":false,"armed":false,"wall_ns":1}'
    )
    beat = msgspec.json.decode(text, type=CapturedEvent)
    assert (beat.slowed, beat.held) == (None, False)
