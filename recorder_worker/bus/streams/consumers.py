"""The durable consumers of the stages, declared as data; `apply.py` brings the server to it."""

from __future__ import annotations

import msgspec
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy

from recorder_worker.bus.streams.topology import (
    COMMANDS_STREAM,
    INTEGRATION_STREAM,
    SESSIONS_STREAM,
)
from recorder_worker.core.pipeline import (
    CAPTURE,
    CHUNK,
    COMPRESS,
    CONTROL,
    MERKLE,
    OWNERS,
    RECEIPTS,
    RETENTION,
    SESSION_LOG,
    STORAGE,
    TABLE,
    TSA,
    UPLOAD,
)
from recorder_worker.core.subjects import Fact, again

MAX_ACK_PENDING = 1000
"""Un-acked messages of one consumer, over all workers: also the most leases a cluster holds."""

UNLIMITED = -1

ANCHOR_ACK_WAIT_S = 30.0
INTEGRATION_ACK_WAIT_S = 30.0
OWNERS_ACK_WAIT_S = 10.0
RETENTION_ACK_WAIT_S = 10.0
CONTROL_ACK_WAIT_S = 5.0
"""A worker that dies with a command in hand holds up all commands for so long."""

ENGINE = "anchor"
"""Its durable consumer and its NATS user: an engine of somebody else's that gives receipts."""


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


def consumers(limits: ConsumerLimits) -> dict[str, Consumer]:
    """The durable consumer of each stage, by the stage's name."""
    return {name: _with_again(consumer) for name, consumer in _own(limits).items()}


def _own(limits: ConsumerLimits) -> dict[str, Consumer]:
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
        RETENTION.name: _consumer(
            COMMANDS_STREAM,
            RETENTION.name,
            RETENTION.consumes,
            RETENTION_ACK_WAIT_S,
            # A release and a deletion take effect in the order in which they were stored.
            max_ack_pending=1,
        ),
        RECEIPTS.name: _consumer(
            INTEGRATION_STREAM, RECEIPTS.name, RECEIPTS.consumes, ANCHOR_ACK_WAIT_S
        ),
        STORAGE.name: _consumer(
            SESSIONS_STREAM, STORAGE.name, STORAGE.consumes, INTEGRATION_ACK_WAIT_S
        ),
        UPLOAD.name: _consumer(
            SESSIONS_STREAM, UPLOAD.name, UPLOAD.consumes, INTEGRATION_ACK_WAIT_S
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


def _with_again(consumer: Consumer) -> Consumer:
    """Beside its own subjects a stage takes its dead letters that are tried again."""
    config = consumer.config
    own = config.filter_subjects or [config.filter_subject or ""]
    subjects = [*own, again(config.durable_name or "", "*")]
    both = config.evolve(filter_subject=None, filter_subjects=subjects)
    return Consumer(stream=consumer.stream, config=both)


def engine_consumer() -> Consumer:
    """For an engine with a user of its own, which may make none itself."""
    requests = (Fact.ANCHOR_REQUESTED.wildcard,)
    return _consumer(INTEGRATION_STREAM, ENGINE, requests, ANCHOR_ACK_WAIT_S)


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
