"""Streams and consumers, declared as data; `apply.py` brings the server to this shape.

Seven streams. COMMANDS holds what clients ask for, SESSIONS every fact about sessions, REGISTER
the numbers of sessions and the head of their log, INTEGRATION what passes between the recorder and
other systems, AUDIT who did what, CLIENTS copies of facts for those who own a session, and DEAD the
messages that nobody could process. Nothing is
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
    OWNERS,
    RECEIPTS,
    SESSION_LOG,
    TSA,
)
from recorder_worker.core.subjects import CLIENT, DEAD, Command, Fact

COMMANDS_STREAM = "COMMANDS"
SESSIONS_STREAM = "SESSIONS"
REGISTER_STREAM = "REGISTER"
INTEGRATION_STREAM = "INTEGRATION"
AUDIT_STREAM = "AUDIT"
CLIENTS_STREAM = "CLIENTS"
DEAD_STREAM = "DEAD"

REGISTER_MESSAGES = 200_000
"""Some three a session. The oldest go first: the log of sessions in the store has them all."""

_STREAM_OF_PREFIX = {
    "session": SESSIONS_STREAM,
    "integration": INTEGRATION_STREAM,
    "audit": AUDIT_STREAM,
}
STREAM_OF: dict[Fact, str] = {fact: _STREAM_OF_PREFIX[fact.split(".")[0]] for fact in Fact} | {
    Fact.NUMBERED: REGISTER_STREAM,
    Fact.LOGGED: REGISTER_STREAM,
}
"""Which stream holds the facts of a kind."""


class StreamLimits(msgspec.Struct, frozen=True, kw_only=True):
    """What an operator may set about the streams."""

    replicas: int
    max_age_s: float
    audit_max_age_s: float = 7_776_000
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
        _stream(INTEGRATION_STREAM, ["integration.>"], limits, discard=DiscardPolicy.OLD),
        _stream(
            AUDIT_STREAM,
            _facts_of(AUDIT_STREAM),
            msgspec.structs.replace(limits, max_age_s=limits.audit_max_age_s),
            journal=True,
        ),
        # Copies, of a few facts of each session: whoever was away for too long has missed them.
        _stream(
            CLIENTS_STREAM,
            [f"{CLIENT}.>"],
            msgspec.structs.replace(limits, max_bytes=max(1, limits.max_bytes // 10)),
            discard=DiscardPolicy.OLD,
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
        OWNERS.name: _consumer(SESSIONS_STREAM, OWNERS.name, OWNERS.consumes, OWNERS_ACK_WAIT_S),
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
        TSA.name: _consumer(
            INTEGRATION_STREAM,
            TSA.name,
            TSA.consumes,
            ANCHOR_ACK_WAIT_S,
            # Checkpoints are anchored in the order in which the log grew.
            max_ack_pending=1,
        ),
    }


ENGINE = "anchor"
"""Its durable consumer and its NATS user: an engine of somebody else's that gives receipts."""


def engine_consumer() -> Consumer:
    """For an engine with a user of its own, which may make none itself."""
    requests = (Fact.ANCHOR_REQUESTED.wildcard,)
    return _consumer(INTEGRATION_STREAM, ENGINE, requests, ANCHOR_ACK_WAIT_S)


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


MAX_ACK_PENDING = 1000
"""Un-acked messages of one consumer, over all workers: also the most leases a cluster holds."""

UNLIMITED = -1

ANCHOR_ACK_WAIT_S = 30.0
OWNERS_ACK_WAIT_S = 10.0
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
