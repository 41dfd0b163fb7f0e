"""When a keyframe is due."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from recorder_worker.core.keyframes import KeyframePolicy, KeyframeState

S = 1_000_000_000
POLICY = KeyframePolicy()


def test_the_first_segment_needs_one() -> None:
    assert KeyframeState().due(POLICY, 0)


def test_an_idle_desktop_gets_one_a_minute() -> None:
    state, keyframes = KeyframeState(), []
    for second in range(181):
        keyframe = state.due(POLICY, second * S)
        if keyframe:
            keyframes.append(second)
        state = state.after(
            keyframe=keyframe, t0_ns=second * S, stored_size=10_000 if keyframe else 40
        )
    assert keyframes == [0, 60, 120, 180]


def test_a_busy_one_gets_one_every_ten_seconds_at_most() -> None:
    state, keyframes = KeyframeState(), []
    for second in range(31):
        keyframe = state.due(POLICY, second * S)
        if keyframe:
            keyframes.append(second)
        state = state.after(keyframe=keyframe, t0_ns=second * S, stored_size=10_000)
    assert keyframes == [0, 10, 20, 30]


def test_deltas_must_exceed_the_keyframe_not_only_reach_it() -> None:
    state = KeyframeState().after(keyframe=True, t0_ns=0, stored_size=100)
    state = state.after(keyframe=False, t0_ns=S, stored_size=100)
    assert not state.due(POLICY, 20 * S)
    assert state.after(keyframe=False, t0_ns=2 * S, stored_size=1).due(POLICY, 20 * S)


segments = st.lists(st.tuples(st.integers(1, 20 * S), st.integers(0, 1000)), max_size=60)


@given(segments, st.sampled_from([POLICY, KeyframePolicy(min_interval_ns=0, max_interval_ns=S)]))
def test_keyframes_keep_their_distances(
    steps: list[tuple[int, int]], policy: KeyframePolicy
) -> None:
    state, t_ns, deltas, keyframe_size = KeyframeState(), 0, 0, 0
    last_ns: int | None = None
    for duration_ns, size in steps:
        keyframe = state.due(policy, t_ns)
        elapsed_ns = None if last_ns is None else t_ns - last_ns
        if elapsed_ns is None or elapsed_ns >= policy.max_interval_ns:
            assert keyframe
        elif keyframe:
            assert elapsed_ns >= policy.min_interval_ns
            assert deltas > keyframe_size
        else:
            assert elapsed_ns < policy.min_interval_ns or deltas <= keyframe_size
        last_ns, deltas, keyframe_size = (
            (t_ns, 0, size) if keyframe else (last_ns, deltas + size, keyframe_size)
        )
        state = state.after(keyframe=keyframe, t0_ns=t_ns, stored_size=size)
        t_ns += duration_ns


@given(segments, st.integers(0, 2**62))
def test_forced_is_due_at_once_whatever_came_before(
    steps: list[tuple[int, int]], t_ns: int
) -> None:
    state = KeyframeState()
    for begin_ns, size in steps:
        state = state.after(keyframe=size % 2 == 0, t0_ns=begin_ns, stored_size=size)
    assert state.forced().due(POLICY, t_ns)


def test_deltas_alone_never_satisfy_what_was_forced() -> None:
    state = KeyframeState().after(keyframe=False, t0_ns=0, stored_size=5)
    assert state.due(POLICY, 1)
