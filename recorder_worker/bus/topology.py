"""Streams and consumers, declared as data; `apply.py` brings the server to this shape.

Seven streams, and a bucket. COMMANDS holds what clients ask for, SESSIONS every fact about
sessions, REGISTER the numbers of sessions and the head of their log, INTEGRATION what passes
between the recorder and other systems, NODES what workers say of themselves, AUDIT who did what,
and DEAD the messages that nobody could process. A bucket is a stream, too, by its name. Nothing is
deleted from SESSIONS and AUDIT but by age: the one is the journal from which a session is rebuilt,
the other must outlive whoever is in it (`deny_delete`, `deny_purge`); and a full stream refuses
what is new instead of forgetting what is old. REGISTER knows no age, for its newest messages must
always be there; what is old in it stands in the log itself.
"""

from __future__ import annotations

import msgspec
from nats.js.api import (
    AckPolicy,
    ConsumerConfig,
    DeliverPolicy,
    DiscardPolicy,
    StorageType,
    StreamConfig,
)

from recorder_worker.core.pipeline import (
    CAPTURE,
    CHUNK,
    COMPRESS,
    CONTROL,
    MERKLE,
    RECEIPTS,
    SESSION_LOG,
    STORAGE,
    TABLE,
    TSA,
)
from recorder_worker.core.subjects import DEAD, Command, Fact

COMMANDS_STREAM = "COMMANDS"
SESSIONS_STREAM = "SESSIONS"
REGISTER_STREAM = "REGISTER"
INTEGRATION_STREAM = "INTEGRATION"
NODES_STREAM = "NODES"
AUDIT_STREAM = "AUDIT"
DEAD_STREAM = "DEAD"
SESSIONS_BUCKET = "recorder-sessions"
"""The key-value bucket with one entry for each session, under its id."""

REGISTER_MESSAGES = 200_000
"""Some three a session. The oldest go first: the log of sessions in the store has them all."""

NODES_MAX_AGE_S = 86_400.0
NODES_MAX_BYTES = 67_108_864
"""A day of some ten workers, at a heartbeat of a kilobyte every ten seconds. In a stream of their
own, where however many of them take no room from what anchors and stores wait for."""

SESSIONS_IN_BUCKET = 100_000
"""Entries, of about a kilobyte; a gateway that lists them has all in memory. The one that was
longest untouched goes first."""

_STREAM_OF_PREFIX = {
    "session": SESSIONS_STREAM,
    "integration": INTEGRATION_STREAM,
    "audit": AUDIT_STREAM,
}
STREAM_OF: dict[Fact, str] = {fact: _STREAM_OF_PREFIX[fact.split(".")[0]] for fact in Fact} | {
    Fact.NUMBERED: REGISTER_STREAM,
    Fact.LOGGED: REGISTER_STREAM,
    Fact.NODE_REGISTERED: NODES_STREAM,
    Fact.NODE_HEARTBEAT: NODES_STREAM,
    Fact.NODE_DRAINING: NODES_STREAM,
}
"""Which stream holds the facts of a kind."""


class StreamLimits(msgspec.Struct, frozen=True, kw_only=True):
    """What an operator may set about the streams."""

    replicas: int
    max_age_s: float
    audit_max_age_s: float = 7_776_000
    audit_max_bytes: int = 2_147_483_648
    max_bytes: int
    duplicate_window_s: float


class ConsumerLimits(msgspec.Struct, frozen=True, kw_only=True):
    """What an operator may set: seconds until an unanswered message is delivered again."""

    lease_s: float
    chunk_ack_wait_s: float
    compress_ack_wait_s: float
    merkle_ack_wait_s: float


class Consumer(msgspec.Struct, frozen=True, kw_only=True):
    """A durable pull consumer of a stream."""

    stream: str
    config: ConsumerConfig


def streams(limits: StreamLimits) -> tuple[StreamConfig, ...]:
    """All streams, as they shall be."""
    return (
        _stream(COMMANDS_STREAM, [str(command) for command in Command], limits),
        _stream(SESSIONS_STREAM, _facts_of(SESSIONS_STREAM), limits, journal=True),
        _register(limits),
        # What is old here can be asked for again: it must never hold up the log of sessions.
        _stream(
            INTEGRATION_STREAM,
            ["integration.anchor.>", "integration.storage.>"],
            limits,
            discard=DiscardPolicy.OLD,
        ),
        _stream(
            NODES_STREAM,
            _facts_of(NODES_STREAM),
            msgspec.structs.replace(
                limits,
                max_age_s=min(limits.max_age_s, NODES_MAX_AGE_S),
                max_bytes=min(limits.max_bytes, NODES_MAX_BYTES),
            ),
            discard=DiscardPolicy.OLD,
        ),
        _bucket(SESSIONS_BUCKET, limits),
        _stream(
            AUDIT_STREAM,
            _facts_of(AUDIT_STREAM),
            msgspec.structs.replace(
                limits, max_age_s=limits.audit_max_age_s, max_bytes=limits.audit_max_bytes
            ),
            journal=True,
        ),
        _stream(DEAD_STREAM, [f"{DEAD}.*"], limits),
    )


def consumers(limits: ConsumerLimits) -> dict[str, Consumer]:
    """The durable consumer of each stage, by the stage's name."""
    return {
        CONTROL.name: _consumer(
            COMMANDS_STREAM,
            CONTROL.name,
            CONTROL.consumes,
            CONTROL_ACK_WAIT_S,
            # Commands take effect in the order in which they were stored, whoever handles them.
            max_ack_pending=1,
        ),
        CAPTURE.name: _consumer(COMMANDS_STREAM, CAPTURE.name, CAPTURE.consumes, limits.lease_s),
        CHUNK.name: _consumer(SESSIONS_STREAM, CHUNK.name, CHUNK.consumes, limits.chunk_ack_wait_s),
        COMPRESS.name: _consumer(
            SESSIONS_STREAM, COMPRESS.name, COMPRESS.consumes, limits.compress_ack_wait_s
        ),
        MERKLE.name: _consumer(
            SESSIONS_STREAM,
            MERKLE.name,
            MERKLE.consumes,
            limits.merkle_ack_wait_s,
            # A session that waits for one leaf has all its later leaves delivered and put back.
            # Under a limit they would fill it, and no leaf of any other session would come.
            max_ack_pending=UNLIMITED,
        ),
        SESSION_LOG.name: _consumer(
            SESSIONS_STREAM,
            SESSION_LOG.name,
            SESSION_LOG.consumes,
            limits.merkle_ack_wait_s,
            # A session that waits must not hold up the entries of others.
            max_ack_pending=UNLIMITED,
        ),
        RECEIPTS.name: _consumer(
            INTEGRATION_STREAM, RECEIPTS.name, RECEIPTS.consumes, ANCHOR_ACK_WAIT_S
        ),
        STORAGE.name: _consumer(
            SESSIONS_STREAM, STORAGE.name, STORAGE.consumes, INTEGRATION_ACK_WAIT_S
        ),
        TABLE.name: _consumer(SESSIONS_STREAM, TABLE.name, TABLE.consumes, INTEGRATION_ACK_WAIT_S),
        TSA.name: _consumer(
            INTEGRATION_STREAM,
            TSA.name,
            TSA.consumes,
            ANCHOR_ACK_WAIT_S,
            # Checkpoints are anchored in the order in which the log grew.
            max_ack_pending=1,
        ),
    }


def _facts_of(stream: str) -> list[str]:
    return [fact.wildcard for fact in Fact if STREAM_OF[fact] == stream]


def _stream(
    name: str,
    subjects: list[str],
    limits: StreamLimits,
    *,
    journal: bool = False,
    discard: DiscardPolicy = DiscardPolicy.NEW,
) -> StreamConfig:
    return StreamConfig(
        name=name,
        subjects=subjects,
        storage=StorageType.FILE,
        num_replicas=limits.replicas,
        max_age=limits.max_age_s,
        max_bytes=limits.max_bytes,
        discard=discard,
        duplicate_window=limits.duplicate_window_s,
        allow_direct=True,
        deny_delete=journal,
        deny_purge=journal,
    )


def _register(limits: StreamLimits) -> StreamConfig:
    """Neither age nor bytes may take its newest messages away, or refuse the next one."""
    return StreamConfig(
        name=REGISTER_STREAM,
        subjects=_facts_of(REGISTER_STREAM),
        storage=StorageType.FILE,
        num_replicas=limits.replicas,
        max_age=0,
        max_bytes=-1,
        max_msgs=REGISTER_MESSAGES,
        discard=DiscardPolicy.OLD,
        duplicate_window=limits.duplicate_window_s,
        allow_direct=True,
        deny_delete=True,
        deny_purge=True,
    )


def _bucket(name: str, limits: StreamLimits) -> StreamConfig:
    """A key-value bucket as NATS clients expect one: a stream that keeps one message a subject."""
    return StreamConfig(
        name=f"KV_{name}",
        subjects=[f"$KV.{name}.>"],
        storage=StorageType.FILE,
        num_replicas=limits.replicas,
        max_age=0,
        max_bytes=-1,
        max_msgs=SESSIONS_IN_BUCKET,
        max_msgs_per_subject=1,
        discard=DiscardPolicy.OLD,
        duplicate_window=limits.duplicate_window_s,
        allow_direct=True,
        allow_rollup_hdrs=True,
        deny_delete=True,
    )


MAX_ACK_PENDING = 1000
"""Un-acked messages of one consumer, over all workers: also the most leases a cluster holds."""

UNLIMITED = -1

ANCHOR_ACK_WAIT_S = 30.0
INTEGRATION_ACK_WAIT_S = 30.0
CONTROL_ACK_WAIT_S = 5.0
"""A worker that dies with a command in hand holds up all commands for so long."""


def _consumer(
    stream: str,
    name: str,
    subjects: tuple[str, ...],
    ack_wait_s: float,
    max_ack_pending: int = MAX_ACK_PENDING,
) -> Consumer:
    """Deliveries are not limited here: the disposition counts them and dead-letters."""
    one = len(subjects) == 1
    return Consumer(
        stream=stream,
        config=ConsumerConfig(
            durable_name=name,
            filter_subject=subjects[0] if one else None,
            filter_subjects=None if one else list(subjects),
            ack_policy=AckPolicy.EXPLICIT,
            deliver_policy=DeliverPolicy.ALL,
            ack_wait=ack_wait_s,
            max_deliver=-1,
            max_ack_pending=max_ack_pending,
        ),
    )
