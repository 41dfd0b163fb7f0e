"""The chunk stage asks the log only where it has to; whoever folds, and in whatever order, the
leaves are the same ones, each once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import msgspec
import pytest
from captured_events import POLICY, SESSION, LogBuilder, captured_logs
from hypothesis import given
from hypothesis import strategies as st

from recorder_worker.core.chunker import ChunkerState, advance
from recorder_worker.core.errors import FencedError
from recorder_worker.core.events import CapturedEvent, ChunkedEvent, Leaf
from recorder_worker.core.subjects import Fact
from recorder_worker.ports import Logged
from recorder_worker.stages.chunk import ChunkStage

APART = 3
"""So far apart are they in the stream: an ordinal must not pass for a sequence."""


class OneSession:
    """The log of one session, as JetStream keeps it: a fence before each leaf."""

    def __init__(self, events: list[CapturedEvent]) -> None:
        self.captured = [
            Logged(event, (1 + event.ordinal) * APART, str(event.ordinal)) for event in events
        ]
        self.leaves: list[Logged] = []
        self.asked = 0

    async def last(self, fact: Fact, _: str) -> Logged | None:
        assert fact is Fact.CHUNKED
        self.asked += 1
        return self.leaves[-1] if self.leaves else None

    async def read(self, fact: Fact, _: str, after: int = 0) -> AsyncIterator[Logged]:
        assert fact is Fact.CAPTURED
        for logged in self.captured:
            if logged.sequence > after:
                self.asked += 1
                yield logged

    async def append(
        self, fact: Fact, session_id: str, event: ChunkedEvent, *, key: str, after: int
    ) -> int:
        assert (fact, session_id) == (Fact.CHUNKED, SESSION)
        last = self.leaves[-1] if self.leaves else Logged(event, 0, "")
        if last.key == key:
            return last.sequence
        if last.sequence != after:
            raise FencedError("something else stands there")
        self.leaves.append(Logged(event, 1000 + len(self.leaves), key))
        return self.leaves[-1].sequence

    def folded(self) -> list[Leaf]:
        """The leaves, but for where each says that reading begins."""
        return [
            msgspec.structs.replace(leaf, read_after=0)
            for leaf in (one.event for one in self.leaves)
            if isinstance(leaf, Leaf)
        ]


def expected(events: list[CapturedEvent]) -> list[ChunkedEvent]:
    state = ChunkerState()
    leaves: list[ChunkedEvent] = []
    for event in events:
        state, made = advance(state, event, POLICY)
        leaves += made
    return leaves


async def deliver(stage: ChunkStage, logged: Logged) -> int:
    """As JetStream does, again until it is taken; how often it was fenced off."""
    for fenced in range(10):
        try:
            await stage.handle(logged)
        except FencedError:
            continue
        return fenced
    raise AssertionError("fenced off for ever")


def ten_segments() -> list[CapturedEvent]:
    builder = LogBuilder()
    for _ in range(10):
        builder.segment(stored_size=1000)
    return builder.end()


async def test_of_what_comes_in_order_nothing_is_asked() -> None:
    log = OneSession(ten_segments())
    stage = ChunkStage(log)  # type: ignore[arg-type]
    await stage.handle(log.captured[0])
    log.asked = 0
    for logged in log.captured[1:]:
        await stage.handle(logged)
    assert log.asked == 0
    assert log.folded() == expected(ten_segments())


async def test_each_leaf_says_where_reading_begins_again() -> None:
    """A worker that has nothing in its memory reads from there, and no more."""
    events = ten_segments()
    one, other = OneSession(events), OneSession(events)
    stage = ChunkStage(one)  # type: ignore[arg-type]
    for place in range(len(events)):
        await stage.handle(one.captured[place])
        await ChunkStage(other).handle(other.captured[place])  # type: ignore[arg-type]
    assert [leaf.event for leaf in one.leaves] == [leaf.event for leaf in other.leaves]
    assert any(leaf.event.read_after for leaf in one.leaves)  # type: ignore[attr-defined]


async def test_an_event_that_comes_from_elsewhere_has_no_place_in_the_log() -> None:
    """As one that is tried again from the dead letters: its sequence is one of another message."""
    log = OneSession(ten_segments())
    stage = ChunkStage(log)  # type: ignore[arg-type]
    for logged in log.captured:
        await stage.handle(msgspec.structs.replace(logged, sequence=0))
    assert log.folded() == expected(ten_segments())


async def test_who_went_on_meanwhile_is_seen_at_the_fence() -> None:
    events = ten_segments()
    log = OneSession(events)
    slow, fast = ChunkStage(log), ChunkStage(log)  # type: ignore[arg-type]
    middle = len(events) // 2
    for logged in log.captured[:middle]:
        await slow.handle(logged)
    for logged in log.captured:
        await deliver(fast, logged)
    fenced = [await deliver(slow, logged) for logged in log.captured[middle:]]
    assert sum(fenced) == 1, "once, and from then on it knows"
    assert log.folded() == expected(events)


@given(captured_logs(), st.data())
def test_whoever_gets_which_event_in_whatever_order_the_leaves_are_the_same(
    events: list[CapturedEvent], data: st.DataObject
) -> None:
    log = OneSession(events)
    stages = [ChunkStage(log), ChunkStage(log)]  # type: ignore[arg-type]
    order = data.draw(st.permutations(log.captured))
    whose = data.draw(st.lists(st.integers(0, 1), min_size=len(order), max_size=len(order)))

    async def all_of_them() -> None:
        for logged, which in zip(order, whose, strict=True):
            await deliver(stages[which], logged)

    asyncio.run(all_of_them())
    assert log.folded() == expected(events)


async def test_two_at_once_fold_one_log() -> None:
    events = ten_segments()
    log = OneSession(events)
    stages = [ChunkStage(log), ChunkStage(log)]  # type: ignore[arg-type]
    await asyncio.gather(*(deliver(stage, one) for one in log.captured for stage in stages))
    assert log.folded() == expected(events)


async def test_what_could_not_be_published_is_folded_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    log = OneSession(ten_segments())
    stage = ChunkStage(log)  # type: ignore[arg-type]
    append, failures = log.append, iter([True, False] * len(log.captured))

    async def failing(*args: object, **options: object) -> int:
        if next(failures):
            raise OSError("the server is away")
        return await append(*args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(log, "append", failing)
    for logged in log.captured:
        while True:
            try:
                await stage.handle(logged)
            except OSError:
                continue
            break
    assert log.folded() == expected(ten_segments())


async def test_behind_a_lost_connection_the_log_is_asked_again() -> None:
    """The server may have lost its newest leaves, and others may stand at their sequences."""
    log, number = OneSession(ten_segments()), 0
    stage = ChunkStage(log, lambda: number)  # type: ignore[arg-type]
    middle = len(log.captured) // 2
    for logged in log.captured[:middle]:
        await stage.handle(logged)
    log.asked, number = 0, 1
    await stage.handle(log.captured[middle])
    assert log.asked
    log.asked = 0
    for logged in log.captured[middle + 1 :]:
        await stage.handle(logged)
    assert log.asked == 0
    assert log.folded() == expected(ten_segments())
