from __future__ import annotations

import msgspec
import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from recorder_worker.adapters.sources.sampled import SampledSource
from recorder_worker.core.model import SourceClock, SourceFacts
from recorder_worker.ports import Frame

SECOND = 1_000_000_000


class Times:
    """A media source that has nothing but times."""

    def __init__(self, times_ns: list[int]) -> None:
        self.times_ns = list(times_ns)
        self.closed = False
        self.facts = SourceFacts(
            kind="file",
            uri="/clip",
            description="clip",
            width=1,
            height=1,
            clock=SourceClock.MEDIA,
            frame_rate=30.0,
            frame_count=len(times_ns),
        )

    def read(self) -> Frame | None:
        if not self.times_ns:
            return None
        return Frame(picture=np.zeros((1, 1, 3), np.uint8), t_ns=self.times_ns.pop(0))

    def close(self) -> None:
        self.closed = True


def kept(source: SampledSource) -> list[int]:
    times = []
    while (frame := source.read()) is not None:
        times.append(frame.t_ns)
    return times


TIMES = st.lists(st.integers(0, 20 * SECOND), min_size=1, max_size=80).map(sorted)


@given(TIMES, st.floats(0.2, 25))
def test_of_every_period_at_most_one_frame_is_kept_and_it_is_the_first(
    times: list[int], fps: float
) -> None:
    found = kept(SampledSource(Times(times), fps))
    assert found[0] == times[0]
    assert set(found) <= set(times)
    gaps = np.diff([int(t * fps // SECOND) for t in found])
    assert (gaps >= 0).all()
    assert len(found) <= 20 * fps + 2


@given(TIMES, st.floats(0.2, 25), st.data())
def test_a_worker_that_takes_over_keeps_the_same_frames(
    times: list[int], fps: float, data: st.DataObject
) -> None:
    whole = kept(SampledSource(Times(times), fps))
    first = data.draw(st.integers(0, len(whole)))
    assert kept(SampledSource(Times(times), fps, first)) == whole[first:]


def test_a_third_of_the_rate_keeps_every_third_frame_and_says_so() -> None:
    source = SampledSource(Times([n * SECOND // 30 for n in range(90)]), 10)
    assert (source.facts.frame_rate, source.facts.frame_count) == (10, 30)
    assert "10 fps" in source.facts.description
    assert len(kept(source)) == 30


def test_closing_closes_the_source_behind_it() -> None:
    times = Times([0])
    SampledSource(times, 5).close()
    assert times.closed
    assert msgspec.structs.asdict(times.facts)["kind"] == "file"


def burst(*, declared: int) -> SampledSource:
    """A screen that moved for two seconds of twenty: three frames a second, says its container."""
    source = Times([at * SECOND // 30 for at in range(60)])
    source.facts = msgspec.structs.replace(source.facts, frame_rate=3.0, frame_count=declared)
    return SampledSource(source, 1.0)


def test_frames_that_come_in_bursts_are_not_taken_for_missing_ones() -> None:
    source = burst(declared=60)
    assert source.facts.frame_count == 20
    assert len(kept(source)) == source.facts.frame_count == 2


def test_frames_that_are_declared_and_cannot_be_read_are_missing_at_their_share() -> None:
    source = burst(declared=660)
    assert len(kept(source)) == 2
    assert source.facts.frame_count == 2 + 200
