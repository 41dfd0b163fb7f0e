"""The merkle stage asks the log only where it has to; whoever signs, and in whatever order leaves
come, each is in the tree once, and the recording is whole."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hand_clock import HandClock
from hypothesis import given, settings
from hypothesis import strategies as st
from memory_jetstream import MemoryJetStream, MemoryServer
from merkle_bench import MerkleBench

from recorder_worker.bus.event_log import JetStreamEventLog
from recorder_worker.bus.headers import EventHeaders
from recorder_worker.bus.streams.topology import SESSIONS_STREAM, StreamLimits, streams
from recorder_worker.core.errors import FencedError, OutOfOrderError
from recorder_worker.core.events import Checkpoint, CompressedEvent, EndLeaf, Head
from recorder_worker.core.subjects import Fact
from recorder_worker.core.verify import Verdict
from recorder_worker.stages.merkle.stage import MerkleStage

LIMITS = StreamLimits(replicas=1, max_age_s=86_400, max_bytes=100_000_000, duplicate_window_s=120)


class CountedJetStream(MemoryJetStream):
    """Counts what is asked of it."""

    def __init__(self, server: MemoryServer) -> None:
        super().__init__(server)
        self.asked = 0

    async def get_last_msg(self, *args: Any, **options: Any) -> Any:  # noqa: ANN401  (nats-py's)
        self.asked += 1
        return await super().get_last_msg(*args, **options)


class Bench(MerkleBench):
    """On JetStream in memory, with its fences."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.server = MemoryServer(streams(LIMITS), {}, HandClock())
        self.jetstream: Any = CountedJetStream(self.server)
        self.log = JetStreamEventLog(lambda: self.jetstream, EventHeaders("tests"))

        self.connections = 0

    def worker(self) -> MerkleStage:
        return self.stage(self.log, lambda: self.connections)

    def lose(self, sequence: int) -> None:
        """The newest messages, from a sequence on, as a server does in a power cut."""
        stream = self.server.streams[SESSIONS_STREAM]
        for lost in [each for each in stream.messages if each >= sequence]:
            del stream.messages[lost]
        stream.last_seq = sequence - 1
        stream.forget_ids()

    async def is_whole(self) -> None:
        """One head and one checkpoint of each size, one seal, and the verifier finds all of it."""
        session_id = self.recording.session_id
        sizes = list(range(1, len(self.recording.events) + 1))
        heads = [each.event async for each in self.log.read(Fact.HEAD, session_id)]
        assert [each.tree_size for each in heads if isinstance(each, Head)] == sizes
        signed = [each.event async for each in self.log.read(Fact.CHECKPOINT, session_id)]
        assert [each.tree_size for each in signed if isinstance(each, Checkpoint)] == sizes
        assert len([each async for each in self.log.read(Fact.SEALED, session_id)]) == 1
        assert [each async for each in self.log.read(Fact.INCIDENT, session_id)] == []
        assert self.verdict() is Verdict.COMPLETE
        assert self.private_keys() == []
        assert {name.split("/")[0] for name in self.files()} & {"journal", "segments"} == set()


async def deliver(stage: MerkleStage, leaf: CompressedEvent, tries: int = 10) -> int:
    """As JetStream does, again until it is taken; how often it was fenced off."""
    for fenced in range(tries):
        try:
            await stage.handle(leaf)
        except FencedError:
            continue
        return fenced
    raise AssertionError("fenced off for ever")


async def test_of_leaves_that_come_in_order_nothing_is_asked_but_of_the_first(
    tmp_path: Path,
) -> None:
    bench = Bench(tmp_path)
    stage = bench.worker()
    first, *middle, end = bench.recording.events
    await stage.handle(first)
    bench.jetstream.asked = 0
    for leaf in middle:
        await stage.handle(leaf)
    assert bench.jetstream.asked == 0
    await stage.handle(end)
    assert bench.jetstream.asked == 1, "whether there is a seal"
    await bench.is_whole()


@pytest.mark.parametrize("taken", range(7))
async def test_who_went_on_meanwhile_is_seen_at_the_fence(tmp_path: Path, taken: int) -> None:
    """The slow one has the state of an earlier leaf in its memory, and all keys may be erased."""
    bench = Bench(tmp_path)
    slow, fast = bench.worker(), bench.worker()
    for leaf in bench.recording.events[:taken]:
        await slow.handle(leaf)
    for leaf in bench.recording.events:
        await deliver(fast, leaf)
    sealed = bench.files()
    fenced = [await deliver(slow, leaf) for leaf in bench.recording.events[taken:]]
    if taken == len(bench.recording.events) - 1:
        # Made within the same second, its last head is the very one that stands there.
        assert sum(fenced) <= 1
    else:
        assert sum(fenced) == min(taken, 1), "once, and from then on it knows"
    assert bench.files() == sealed
    await bench.is_whole()


@pytest.mark.parametrize("size", range(1, 7))
async def test_a_checkpoint_that_a_server_lost_is_told_again(tmp_path: Path, size: int) -> None:
    """Its head was kept, and whoever has published it takes it for done."""
    bench = Bench(tmp_path)
    stage = bench.worker()
    for leaf in bench.recording.events[:size]:
        await stage.handle(leaf)
    lost = await bench.log.last(Fact.CHECKPOINT, bench.recording.session_id)
    assert lost is not None
    bench.lose(lost.sequence)
    for leaf in bench.recording.events[size:]:
        await deliver(stage, leaf)
    await bench.is_whole()


async def test_a_sequence_that_means_another_message_lets_nobody_through(tmp_path: Path) -> None:
    """A server lost its newest messages, and what one worker wrote since has got the sequences that
    another remembers."""
    bench = Bench(tmp_path)
    slow, fast = bench.worker(), bench.worker()
    leaves = bench.recording.events
    await slow.handle(leaves[0])
    bench.server.streams[SESSIONS_STREAM].last_seq = 6  # other sessions' events
    await slow.handle(leaves[1])
    remembered = await bench.log.last(Fact.HEAD, bench.recording.session_id)
    bench.lose(3)
    bench.connections += 1
    for leaf in leaves[1:4]:
        await fast.handle(leaf)
    found = await bench.log.last(Fact.HEAD, bench.recording.session_id)
    assert remembered is not None
    assert found is not None
    assert remembered.sequence == found.sequence
    bench.server.streams[SESSIONS_STREAM].forget_ids()  # much later
    await deliver(slow, leaves[2])
    for leaf in leaves[4:]:
        await deliver(fast, leaf)
    await bench.is_whole()


async def test_who_wakes_up_behind_a_seal_leaves_no_keys(tmp_path: Path) -> None:
    """Not even where somebody has moved the sealed folder away, so that it seems to be no seal."""
    bench = Bench(tmp_path)
    slow, fast = bench.worker(), bench.worker()
    for leaf in bench.recording.events[:2]:
        await slow.handle(leaf)
    for leaf in bench.recording.events:
        await deliver(fast, leaf)
    bench.recorded().rename(tmp_path / "moved")
    with pytest.raises(FencedError):
        await slow.handle(bench.recording.events[2])
    assert bench.private_keys() == []


async def test_the_keys_of_an_epoch_are_gone_behind_its_end(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    stage = bench.worker()
    for leaf in bench.recording.events:
        await stage.handle(leaf)
        assert len(bench.private_keys()) == (0 if isinstance(leaf, EndLeaf) else 1)


@given(st.data())
@settings(max_examples=30)
def test_whoever_gets_which_leaf_in_whatever_order_the_recording_is_whole(
    data: st.DataObject,
) -> None:
    async def all_of_them(bench: Bench) -> None:
        workers = [bench.worker(), bench.worker()]
        waiting = list(bench.recording.events)
        while waiting:
            leaf = data.draw(st.sampled_from(waiting))
            again = data.draw(st.booleans())
            try:
                await deliver(data.draw(st.sampled_from(workers)), leaf)
            except OutOfOrderError:
                continue
            if not again:
                waiting.remove(leaf)
        await bench.is_whole()

    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(all_of_them(Bench(Path(folder))))


async def test_two_at_once_sign_one_tree(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    workers = [bench.worker(), bench.worker()]
    for leaf in bench.recording.events:
        await asyncio.gather(*(deliver(worker, leaf) for worker in workers))
    await bench.is_whole()
