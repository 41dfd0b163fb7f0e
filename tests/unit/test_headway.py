"""When a holder of a lease has got further than whoever had the session before him."""

from __future__ import annotations

import msgspec
import pytest
from captured_events import LogBuilder

from recorder_worker.core.events import BeatCaptured, Captured, SegmentCaptured
from recorder_worker.stages.capture.session.headway import BEATS_UNREAD, Headway


class Holder:
    """Counts how often it is told."""

    def __init__(self) -> None:
        self.told = 0
        self._headway = Headway(self._tell)

    async def _tell(self) -> None:
        self.told += 1

    async def appended(self, *events: Captured) -> int:
        for event in events:
            await self._headway.seen(event)
        return self.told


def beats(count: int, **fields: object) -> list[Captured]:
    builder = LogBuilder()
    for _ in range(count):
        builder.beat()
    found = [event for event in builder.events if isinstance(event, BeatCaptured)]
    return [msgspec.structs.replace(beat, **fields) for beat in found]


async def test_a_segment_of_its_own_is_headway_and_is_told_once() -> None:
    log = LogBuilder().segment().segment()
    assert await Holder().appended(*log.events) == 1


async def test_what_comes_in_front_of_the_first_frame_is_none() -> None:
    log = LogBuilder().turn().gap().mark().pause()
    events = [event for event in log.end() if not isinstance(event, SegmentCaptured)]
    assert await Holder().appended(*events) == 0


@pytest.mark.parametrize("idle", ["paused", "armed", "held"])
async def test_a_sign_of_life_is_enough_where_nothing_is_to_be_read(idle: str) -> None:
    assert await Holder().appended(*beats(1, **{idle: True})) == 1


async def test_where_something_is_to_be_read_only_many_are() -> None:
    holder = Holder()
    given = beats(BEATS_UNREAD)
    assert await holder.appended(*given[:-1]) == 0
    assert await holder.appended(given[-1]) == 1
