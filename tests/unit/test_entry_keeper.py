"""The table of sessions remembers what it wrote; whoever wrote it, and whatever became of it, the
entry is that of all facts."""

from __future__ import annotations

import asyncio

from hand_clock import HandClock
from hypothesis import given
from hypothesis import strategies as st
from memory_jetstream import MemoryJetStream, MemoryServer
from memory_store import MemoryStore
from session_facts import FAILED, ID, PAUSED, PAUSED_AGAIN, RESUMED, STARTED, checkpoint, entry_of

from recorder_worker.bus.event_log import JetStreamEventLog
from recorder_worker.bus.headers import EventHeaders
from recorder_worker.bus.sessions.session_bucket import SessionBucket
from recorder_worker.bus.streams.topology import StreamLimits, streams
from recorder_worker.core.errors import FencedError
from recorder_worker.core.events import Checkpoint, Event
from recorder_worker.core.session_entry import SessionEntry
from recorder_worker.core.subjects import Fact
from recorder_worker.integrations.session_entries import EntryKeeper
from recorder_worker.ports import FactMessage

BUCKET = "KV_recorder-sessions"
LIMITS = StreamLimits(replicas=1, max_age_s=86_400, max_bytes=100_000_000, duplicate_window_s=120)


FACTS: list[Event] = [STARTED, *map(checkpoint, range(1, 6)), PAUSED, RESUMED, PAUSED_AGAIN]


class CountedBucket(SessionBucket):
    """Counts how often an entry is read."""

    read = 0

    async def get(self, session_id: str) -> tuple[SessionEntry | None, int]:
        self.read += 1
        return await super().get(session_id)


class Bench:
    def __init__(self) -> None:
        self.server = MemoryServer(streams(LIMITS), {}, HandClock())
        jetstream = MemoryJetStream(self.server)
        self.log = JetStreamEventLog(lambda: jetstream, EventHeaders("tests"))  # type: ignore[arg-type,return-value]
        self.bucket = CountedBucket(lambda: jetstream)  # type: ignore[arg-type,return-value]

        self.connections = 0

    def keeper(self) -> EntryKeeper:
        return EntryKeeper(self.log, MemoryStore(), self.bucket, lambda: self.connections)

    async def entry(self) -> SessionEntry | None:
        return (await self.bucket.get(ID))[0]

    def remove(self) -> None:
        """All entries, as somebody does who has the table made again."""
        self.server.streams[BUCKET].messages.clear()

    def lose_newest(self) -> None:
        """The newest write, as a server does in a power cut."""
        stream = self.server.streams[BUCKET]
        del stream.messages[stream.last_seq]
        stream.last_seq -= 1


async def tell(keeper: EntryKeeper, event: Event) -> int:
    """As JetStream does, again until it is taken; how often it was fenced off."""
    fact = Fact.CHECKPOINT if isinstance(event, Checkpoint) else Fact.STARTED
    for fenced in range(10):
        try:
            await keeper.handle(FactMessage(fact, ID, event))
        except FencedError:
            continue
        return fenced
    raise AssertionError("fenced off for ever")


async def test_the_entry_is_read_once_and_written_for_each_fact() -> None:
    bench = Bench()
    keeper = bench.keeper()
    for event in FACTS:
        await tell(keeper, event)
    assert bench.bucket.read == 1
    assert await bench.entry() == entry_of(*FACTS)


async def test_what_another_wrote_meanwhile_is_seen_at_the_fence() -> None:
    bench = Bench()
    slow, fast = bench.keeper(), bench.keeper()
    await tell(slow, FACTS[0])
    for event in FACTS[:-1]:
        await tell(fast, event)
    assert await tell(slow, FACTS[-1]) == 1
    assert await bench.entry() == entry_of(*FACTS)


async def test_a_revision_that_means_another_write_lets_nobody_through() -> None:
    """A server lost the newest one, and what one worker wrote since has got its number."""
    bench = Bench()
    await bench.log.emit(Fact.STARTED, ID, STARTED, key="started")
    one, other = bench.keeper(), bench.keeper()
    await tell(one, STARTED)
    await tell(one, checkpoint(1))
    bench.lose_newest()
    bench.connections += 1
    await tell(other, FAILED)
    await tell(one, checkpoint(2))
    assert await bench.entry() == entry_of(STARTED, FAILED, checkpoint(2))


async def test_a_table_that_is_removed_is_made_again_by_who_has_written_it() -> None:
    bench = Bench()
    keeper = bench.keeper()
    for event in FACTS:
        await tell(keeper, event)
    bench.remove()
    for event in FACTS:
        await tell(keeper, event)
    assert await bench.entry() == entry_of(*FACTS)


@given(st.data())
def test_whoever_gets_which_fact_in_whatever_order_the_entry_is_the_same(
    data: st.DataObject,
) -> None:
    order = data.draw(st.permutations(FACTS))
    whose = data.draw(st.lists(st.integers(0, 1), min_size=len(order), max_size=len(order)))

    async def all_of_them() -> None:
        bench = Bench()
        await bench.log.emit(Fact.STARTED, ID, STARTED, key="started")
        keepers = [bench.keeper(), bench.keeper()]
        for event, which in zip(order, whose, strict=True):
            await tell(keepers[which], event)
        assert await bench.entry() == entry_of(*FACTS)

    asyncio.run(all_of_them())
