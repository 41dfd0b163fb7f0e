"""When a keyframe is due."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from recorder_worker.core.frames.keyframes import KeyframePolicy, KeyframeState

S = 1_000_000_000
POLICY = KeyframePolicy()


def test_the_first_segment_needs_one() -> None:
    assert KeyframeState().due(POLICY, 0)


def keyframes_of(seconds: int, *, keyframe: int, delta: int, plain: int = 0) -> list[int]:
    """The seconds that begin with a keyframe, where segments of a second take so many bytes."""
    state, found = KeyframeState(), []
    for second in range(seconds):
        due = state.due(POLICY, second * S)
        if due:
            found.append(second)
        size = keyframe if due else delta
        state = state.after(keyframe=due, t0_ns=second * S, plain_size=plain, stored_size=size)
    return found


def test_an_idle_desktop_with_a_photo_gets_one_every_five_minutes() -> None:
    assert keyframes_of(700, keyframe=1_000_000, delta=700) == [0, 300, 600]


def test_where_they_are_small_they_come_every_minute() -> None:
    assert keyframes_of(181, keyframe=10_000, delta=700) == [0, 60, 120, 180]


def test_a_film_gets_one_where_a_seek_would_take_too_long() -> None:
    assert keyframes_of(26, keyframe=2 * 2**20, delta=2 * 2**20) == [0, 8, 16, 24]


def test_so_does_text_by_its_plain_bytes() -> None:
    assert keyframes_of(20, keyframe=9, delta=9, plain=32 * 2**20) == [0, 6, 12, 18]


def test_deltas_must_exceed_the_keyframe_not_only_reach_it() -> None:
    state = KeyframeState().after(keyframe=True, t0_ns=0, plain_size=1, stored_size=100)
    state = state.after(keyframe=False, t0_ns=S, plain_size=1, stored_size=100)
    assert not state.due(POLICY, 120 * S)
    more = state.after(keyframe=False, t0_ns=2 * S, plain_size=1, stored_size=1)
    assert more.due(POLICY, 120 * S)
    assert not more.due(POLICY, 59 * S)


segments = st.lists(st.tuples(st.integers(1, 20 * S), st.integers(0, 1000)), max_size=60)
SMALL = KeyframePolicy(
    min_interval_ns=0, max_interval_ns=S, max_plain_size=2000, max_stored_size=3000
)


@given(segments, st.sampled_from([POLICY, SMALL]))
def test_a_group_never_outgrows_its_bounds(
    steps: list[tuple[int, int]], policy: KeyframePolicy
) -> None:
    state, t_ns = KeyframeState(), 0
    group: list[tuple[int, int]] = []
    for duration_ns, size in steps:
        sizes = [size for _, size in group]
        elapsed_ns = t_ns - group[0][0] if group else 0
        full = sum(sizes) >= min(policy.max_plain_size, policy.max_stored_size)
        outgrown = elapsed_ns >= policy.min_interval_ns and sum(sizes[1:]) > sum(sizes[:1])
        due = state.due(policy, t_ns)
        assert due == (not group or full or outgrown or elapsed_ns >= policy.max_interval_ns)
        group = [*([] if due else group), (t_ns, size)]
        state = state.after(keyframe=due, t0_ns=t_ns, plain_size=size, stored_size=size)
        t_ns += duration_ns


@given(segments, st.integers(0, 2**62))
def test_forced_is_due_at_once_whatever_came_before(
    steps: list[tuple[int, int]], t_ns: int
) -> None:
    state = KeyframeState()
    for begin_ns, size in steps:
        state = state.after(keyframe=size % 2 == 0, t0_ns=begin_ns, plain_size=9, stored_size=size)
    assert state.forced().due(POLICY, t_ns)


def test_deltas_alone_never_satisfy_what_was_forced() -> None:
    state = KeyframeState().after(keyframe=False, t0_ns=0, plain_size=5, stored_size=5)
    assert state.due(POLICY, 1)
