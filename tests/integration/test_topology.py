"""Streams and consumers are brought to their declared shape at start, or the start stops."""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest
import pytest_asyncio
from nats.js.api import RetentionPolicy, StreamConfig
from nats_process import NatsProcess

from recorder_worker.bus.connection.broker import Login, RecorderBroker, connect, make_broker
from recorder_worker.bus.streams import apply
from recorder_worker.bus.streams.apply import apply_topology, differences, require_topology
from recorder_worker.bus.streams.consumers import Consumer, ConsumerLimits, consumers
from recorder_worker.bus.streams.topology import (
    COMMANDS_STREAM,
    INTEGRATION_STREAM,
    NODES_MAX_AGE_S,
    NODES_MAX_BYTES,
    NODES_STREAM,
    REGISTER_STREAM,
    SESSIONS_STREAM,
    STREAM_OF,
    TOPOLOGY_VERSION,
    StreamLimits,
    streams,
)
from recorder_worker.core.errors import TopologyError
from recorder_worker.core.pipeline import CONSUMERS
from recorder_worker.core.subjects import SESSIONS_BUCKET, Fact

LIMITS = StreamLimits(
    replicas=1,
    max_age_s=3600,
    audit_max_age_s=7200,
    max_bytes=100_000_000,
    duplicate_window_s=120,
)
WAITS = ConsumerLimits(
    lease_s=10, chunk_ack_wait_s=10, compress_ack_wait_s=30, merkle_ack_wait_s=10
)


@pytest_asyncio.fixture
async def broker(tmp_path: Path) -> AsyncIterator[RecorderBroker]:
    with NatsProcess(tmp_path) as server:
        login = Login(servers=(server.url,))
        made = make_broker(login)
        await connect(made, login)
        yield made
        await made.stop()


async def test_every_stage_has_its_durable_consumer_with_explicit_acks(
    broker: RecorderBroker,
) -> None:
    declared = consumers(WAITS)
    await apply_topology(broker.jetstream, streams(LIMITS), declared)
    for stage in CONSUMERS:
        info = await broker.jetstream.consumer_info(declared[stage.name].stream, stage.name)
        wanted = {*stage.consumes, f"session.again.{stage.name}.*"}
        subjects = set(info.config.filter_subjects or [info.config.filter_subject])
        assert subjects == wanted
        assert info.config.ack_policy == "explicit"


async def test_a_changed_setting_updates_stream_and_consumer_and_keeps_the_messages(
    broker: RecorderBroker,
) -> None:
    await apply_topology(broker.jetstream, streams(LIMITS), consumers(WAITS))
    await broker.jetstream.publish("session.start", b"{}")
    changed = msgspec.structs.replace(LIMITS, max_age_s=7200, duplicate_window_s=60)
    waits = msgspec.structs.replace(WAITS, lease_s=77)
    await apply_topology(broker.jetstream, streams(changed), consumers(waits))
    info = await broker.jetstream.stream_info(COMMANDS_STREAM)
    assert (info.config.max_age, info.config.duplicate_window) == (7200, 60)
    assert info.state.messages == 1
    consumer = await broker.jetstream.consumer_info(COMMANDS_STREAM, "capture")
    assert consumer.config.ack_wait == 77


async def test_a_server_of_an_earlier_version_is_brought_to_the_shape_in_place(
    broker: RecorderBroker,
) -> None:
    """Streams without the subjects of retries, consumers with one filter; nothing comes twice."""
    js = broker.jetstream
    now = consumers(WAITS)
    old_streams = tuple(
        stream.evolve(
            subjects=[
                subject
                for subject in stream.subjects or []
                if not subject.startswith("session.again.") and subject != "session.dead.*.*"
            ]
        )
        for stream in streams(LIMITS)
    )
    old = {}
    for stage, consumer in now.items():
        own = [s for s in consumer.config.filter_subjects or [] if "session.again" not in s]
        one = len(own) == 1
        config = consumer.config.evolve(
            filter_subject=own[0] if one else None, filter_subjects=None if one else own
        )
        old[stage] = Consumer(stream=consumer.stream, config=config)
    await apply_topology(js, old_streams, old)
    for number in range(3):
        await js.publish("session.start", b"%d" % number)
    queue = await js.pull_subscribe_bind("capture", COMMANDS_STREAM)
    (first,) = await queue.fetch(1)
    await first.ack_sync()
    mended = {difference.name for difference in await apply_topology(js, streams(LIMITS), now)}
    assert {"COMMANDS", "SESSIONS", "INTEGRATION", "DEAD", "COMMANDS/capture"} <= mended
    assert await differences(js, streams(LIMITS), now) == []
    letter = "0" * 16
    await js.publish(f"session.again.capture.{letter}", b"again", stream=COMMANDS_STREAM)
    rest = [(await queue.fetch(1))[0].data for _ in range(3)]
    assert rest == [b"1", b"2", b"again"]


async def test_what_differs_is_named_and_a_second_run_changes_nothing(
    broker: RecorderBroker,
) -> None:
    js = broker.jetstream
    made = await apply_topology(js, streams(LIMITS), consumers(WAITS))
    assert len(made) == len(streams(LIMITS)) + len(CONSUMERS)
    assert all(difference.missing for difference in made)
    assert await apply_topology(js, streams(LIMITS), consumers(WAITS)) == []
    changed = msgspec.structs.replace(LIMITS, max_age_s=7200)
    waits = msgspec.structs.replace(WAITS, lease_s=77)
    wanted = [
        *(
            f"stream {stream.name} differs in max_age"
            for stream in streams(LIMITS)
            if stream.max_age == LIMITS.max_age_s
        ),
        "consumer COMMANDS/capture differs in ack_wait",
    ]
    for act in (differences, apply_topology):
        assert [str(d) for d in await act(js, streams(changed), consumers(waits))] == wanted
    assert await differences(js, streams(changed), consumers(waits)) == []


async def test_what_is_missing_stops_a_worker_that_may_not_make_it(
    broker: RecorderBroker,
) -> None:
    js = broker.jetstream
    declared = consumers(WAITS)
    await apply_topology(js, streams(LIMITS), {"chunk": declared["chunk"]})
    await require_topology(js, streams(LIMITS), {"chunk": declared["chunk"]})
    changed = msgspec.structs.replace(LIMITS, max_age_s=7200)
    await require_topology(js, streams(changed), {})  # what differs does not stop it
    assert (await js.stream_info(SESSIONS_STREAM)).config.max_age == LIMITS.max_age_s
    with pytest.raises(TopologyError, match=r"SESSIONS/merkle is not there.*streams apply"):
        await require_topology(js, streams(LIMITS), {"merkle": declared["merkle"]})


async def test_an_impossible_change_stops_the_start_and_says_what_is_refused(
    broker: RecorderBroker,
) -> None:
    await broker.jetstream.add_stream(
        StreamConfig(
            name=SESSIONS_STREAM,
            subjects=["session.captured.*"],
            retention=RetentionPolicy.WORK_QUEUE,
        )
    )
    with pytest.raises(TopologyError, match=f"stream {SESSIONS_STREAM}.*retention"):
        await apply_topology(broker.jetstream, streams(LIMITS), {})


async def test_a_server_without_jetstream_is_named_as_the_reason(tmp_path: Path) -> None:
    with NatsProcess(tmp_path, jetstream=False) as server:
        login = Login(servers=(server.url,))
        broker = make_broker(login)
        await connect(broker, login)
        with pytest.raises(TopologyError, match="JetStream is not enabled"):
            await apply_topology(broker.jetstream, streams(LIMITS), {})
        await broker.stop()


async def test_the_journal_stream_can_be_neither_purged_nor_trimmed(
    broker: RecorderBroker,
) -> None:
    await apply_topology(broker.jetstream, streams(LIMITS), {})
    info = await broker.jetstream.stream_info(SESSIONS_STREAM)
    assert info.config.deny_delete
    assert info.config.deny_purge


async def test_the_register_knows_no_age_and_keeps_its_newest_messages(
    broker: RecorderBroker,
) -> None:
    await apply_topology(broker.jetstream, streams(LIMITS), {})
    config = (await broker.jetstream.stream_info(REGISTER_STREAM)).config
    assert (config.max_age, config.max_bytes, config.discard) == (0, -1, "old")
    assert config.deny_delete
    assert config.deny_purge
    await apply_topology(broker.jetstream, streams(LIMITS), {})


def test_every_fact_is_in_one_stream() -> None:
    declared = {stream.name: stream.subjects or [] for stream in streams(LIMITS)}
    for fact in Fact:
        assert (fact.wildcard in declared[STREAM_OF[fact]]) or not fact.per_session
    subjects = [subject for listed in declared.values() for subject in listed]
    assert len(subjects) == len(set(subjects))
    again = [f"session.again.{stage}.*" for stage in ("receipts", "tsa")]
    anchors_and_stores = ["integration.anchor.>", "integration.storage.>"]
    assert declared[INTEGRATION_STREAM] == [*anchors_and_stores, *again]


async def test_heartbeats_have_a_stream_of_their_own_and_sessions_a_bucket(
    broker: RecorderBroker,
) -> None:
    """However many workers beat, what anchors and stores wait for keeps its room."""
    await apply_topology(broker.jetstream, streams(LIMITS), {})
    nodes = (await broker.jetstream.stream_info(NODES_STREAM)).config
    assert nodes.discard == "old"
    assert nodes.max_bytes == min(LIMITS.max_bytes, NODES_MAX_BYTES)
    assert nodes.max_age == min(LIMITS.max_age_s, NODES_MAX_AGE_S)
    bucket = await broker.jetstream.key_value(SESSIONS_BUCKET)
    await bucket.put("one", b"1")
    await bucket.put("one", b"2")
    assert (await bucket.get("one")).value == b"2"
    status = await bucket.status()
    assert (status.values, status.history) == (1, 1)
    await bucket.delete("one")
    await apply_topology(broker.jetstream, streams(LIMITS), {})


async def test_the_shape_of_a_newer_recorder_is_left_alone_by_an_older_one(
    broker: RecorderBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else what is published on the newer one's subjects meanwhile never reaches its consumers."""
    js, declared = broker.jetstream, streams(LIMITS)
    used = consumers(WAITS)
    monkeypatch.setattr(apply, "TOPOLOGY_VERSION", TOPOLOGY_VERSION + 1)
    newer = tuple(
        stream.evolve(subjects=[*(stream.subjects or []), "session.later.*"])
        if stream.name == SESSIONS_STREAM
        else stream
        for stream in declared
    )
    await apply_topology(js, newer, used)
    await js.publish("session.later.one", b"of a newer recorder")
    monkeypatch.undo()
    for look in (apply_topology, differences, require_topology):
        with pytest.raises(TopologyError, match=r"found 2; a newer recorder has declared it"):
            await look(js, declared, used)
    with pytest.raises(TopologyError, match=r"consumer SESSIONS/chunk: expected the shape of"):
        await apply_topology(js, (), {"chunk": used["chunk"]})
    info = await js.stream_info(SESSIONS_STREAM)
    assert "session.later.*" in (info.config.subjects or [])
    await js.publish("session.later.two", b"of a newer recorder")
    # The newer one finds its own as it left it.
    monkeypatch.setattr(apply, "TOPOLOGY_VERSION", TOPOLOGY_VERSION + 1)
    assert await differences(js, newer, used) == []


async def test_streams_from_before_there_was_a_version_get_one_and_keep_what_others_noted(
    broker: RecorderBroker,
) -> None:
    js = broker.jetstream
    declared, used = streams(LIMITS), consumers(WAITS)
    (commands,) = (stream for stream in declared if stream.name == COMMANDS_STREAM)
    await js.add_stream(commands.evolve(metadata={"team": "lab 7"}))
    await js.add_consumer(COMMANDS_STREAM, used["capture"].config)
    await apply_topology(js, declared, used)
    assert await differences(js, declared, used) == []
    stream = (await js.stream_info(COMMANDS_STREAM)).config.metadata or {}
    consumer = (await js.consumer_info(COMMANDS_STREAM, "capture")).config.metadata or {}
    assert stream["team"] == "lab 7"
    assert stream[apply.VERSION] == consumer[apply.VERSION] == str(TOPOLOGY_VERSION)


def test_a_shape_that_changes_gets_a_new_version() -> None:
    """All subjects of all streams and consumers, as `TOPOLOGY_VERSION` has them."""
    shape = {stream.name: sorted(stream.subjects or []) for stream in streams(LIMITS)} | {
        f"{consumer.stream}/{name}": sorted(consumer.config.filter_subjects or [])
        for name, consumer in consumers(WAITS).items()
    }
    digest = hashlib.sha256(json.dumps(shape, sort_keys=True).encode()).hexdigest()[:16]
    assert (TOPOLOGY_VERSION, digest) == (1, "b0f12a4791d9f537")
