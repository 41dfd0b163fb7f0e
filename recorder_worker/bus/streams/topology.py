"""The streams, declared as data; `apply.py` brings the server to this shape.

Eight streams, and a bucket. COMMANDS holds what clients ask for, SESSIONS every fact about
sessions, REGISTER the numbers of sessions and the head of their log, INTEGRATION what passes
between the recorder and other systems, NODES what workers say of themselves, AUDIT who did what,
CLIENTS copies of facts for those who own a session, and DEAD the messages that nobody could
process. A bucket is a stream, too, by its name; so is one of objects, where recordings are copied
to NATS. Nothing is
deleted from SESSIONS and AUDIT but by age: the one is the journal from which a session is rebuilt,
the other must outlive whoever is in it (`deny_delete`, `deny_purge`); and a full stream refuses
what is new instead of forgetting what is old. REGISTER knows no age, for its newest messages must
always be there; what is old in it stands in the log itself.
"""

from __future__ import annotations

import msgspec
from nats.js.api import (
    DiscardPolicy,
    RePublish,
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
    STORAGE,
    TABLE,
    TSA,
)
from recorder_worker.core.subjects import (
    CLIENT,
    DEAD,
    SESSIONS_BUCKET,
    STORED,
    Command,
    Fact,
    again,
)

COMMANDS_STREAM = "COMMANDS"
SESSIONS_STREAM = "SESSIONS"
REGISTER_STREAM = "REGISTER"
INTEGRATION_STREAM = "INTEGRATION"
NODES_STREAM = "NODES"
AUDIT_STREAM = "AUDIT"
CLIENTS_STREAM = "CLIENTS"
DEAD_STREAM = "DEAD"

TOPOLOGY_VERSION = 1
"""Of this file and `consumers.py`; raised with every subject or consumer that comes or goes. It
stands on the server with each, so that no older recorder takes a newer one's subjects away."""

REGISTER_MESSAGES = 200_000
"""Some three a session. The oldest go first: the log of sessions in the store has them all."""

NODES_MAX_AGE_S = 86_400.0
NODES_MAX_BYTES = 67_108_864
"""A day of some ten workers, at a heartbeat of a kilobyte every ten seconds. In a stream of their
own, where however many of them take no room from what anchors and stores wait for."""

SESSIONS_IN_BUCKET = 100_000
"""Entries, of about a kilobyte; a gateway that lists them has all in memory. The one that was
longest untouched goes first."""

TOKEN_VALUES = 8
"""Values that are kept of each key, for those who look at what was changed."""

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

CONSUMED = {
    COMMANDS_STREAM: (CONTROL, CAPTURE),
    SESSIONS_STREAM: (CHUNK, COMPRESS, MERKLE, OWNERS, SESSION_LOG, STORAGE, TABLE),
    INTEGRATION_STREAM: (RECEIPTS, TSA),
}
"""Whose consumers each stream has."""


class StreamLimits(msgspec.Struct, frozen=True, kw_only=True):
    """What an operator may set about the streams."""

    replicas: int
    max_age_s: float
    audit_max_age_s: float = 7_776_000
    audit_max_bytes: int = 2_147_483_648
    max_bytes: int
    duplicate_window_s: float
    token_buckets: tuple[str, ...] = ()
    """Key-value buckets of authorisation: what is revoked, and the keys that sign tokens."""
    object_bucket: str = ""
    """The Object Store bucket that recordings are copied to; empty: there is none."""
    object_max_bytes: int = -1


def streams(limits: StreamLimits) -> tuple[StreamConfig, ...]:
    """All streams, as they shall be."""
    return (
        # Not told again: commands may carry tokens, and dead letters commands.
        _stream(
            COMMANDS_STREAM,
            [*(str(command) for command in Command), *_again_in(COMMANDS_STREAM)],
            limits,
            told=False,
        ),
        _stream(
            SESSIONS_STREAM,
            [*_facts_of(SESSIONS_STREAM), *_again_in(SESSIONS_STREAM)],
            limits,
            journal=True,
        ),
        _register(limits),
        # What is old here can be asked for again: it must never hold up the log of sessions.
        _stream(
            INTEGRATION_STREAM,
            ["integration.anchor.>", "integration.storage.>", *_again_in(INTEGRATION_STREAM)],
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
        _bucket(SESSIONS_BUCKET, limits, values=1, most=SESSIONS_IN_BUCKET, told=True),
        *(_token_bucket(name, limits) for name in limits.token_buckets),
        _stream(
            AUDIT_STREAM,
            _facts_of(AUDIT_STREAM),
            msgspec.structs.replace(
                limits, max_age_s=limits.audit_max_age_s, max_bytes=limits.audit_max_bytes
            ),
            journal=True,
        ),
        # Copies, of a few facts of each session: whoever was away for too long has missed them.
        _stream(
            CLIENTS_STREAM,
            [f"{CLIENT}.>"],
            msgspec.structs.replace(limits, max_bytes=max(1, limits.max_bytes // 10)),
            discard=DiscardPolicy.OLD,
        ),
        _stream(DEAD_STREAM, [f"{DEAD}.*", f"{DEAD}.*.*"], limits, told=False),
        *((_objects(limits),) if limits.object_bucket else ()),
    )


def object_stream(bucket: str) -> str:
    """The stream of an Object Store bucket."""
    return f"OBJ_{bucket}"


def _objects(limits: StreamLimits) -> StreamConfig:
    """As NATS clients expect one: pieces of objects, and for each name one message about it."""
    bucket = limits.object_bucket
    return StreamConfig(
        name=object_stream(bucket),
        subjects=[f"$O.{bucket}.C.>", f"$O.{bucket}.M.>"],
        storage=StorageType.FILE,
        num_replicas=limits.replicas,
        max_age=0,
        max_bytes=limits.object_max_bytes,
        discard=DiscardPolicy.NEW,
        duplicate_window=limits.duplicate_window_s,
        allow_direct=True,
        allow_rollup_hdrs=True,
        deny_purge=False,
    )


def _again_in(stream: str) -> list[str]:
    """Where the stages that take from a stream get dead letters of it once more."""
    return [again(stage.name, "*") for stage in CONSUMED[stream]]


def _facts_of(stream: str) -> list[str]:
    return [fact.wildcard for fact in Fact if STREAM_OF[fact] == stream]


def _stream(
    name: str,
    subjects: list[str],
    limits: StreamLimits,
    *,
    journal: bool = False,
    told: bool = True,
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
        republish=_told_again() if told else None,
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
        republish=_told_again(),
    )


def _token_bucket(name: str, limits: StreamLimits) -> StreamConfig:
    """One out of which nobody takes the past: neither by a purge nor by a message that rolls up."""
    bucket = _bucket(name, limits, values=TOKEN_VALUES, most=-1)
    return bucket.evolve(allow_rollup_hdrs=False, deny_purge=True)


def _told_again() -> RePublish:
    return RePublish(src=">", dest=f"{STORED}.>")


def _bucket(
    name: str, limits: StreamLimits, *, values: int, most: int, told: bool = False
) -> StreamConfig:
    """A key-value bucket as NATS clients expect one: it keeps some messages of each subject."""
    return StreamConfig(
        name=f"KV_{name}",
        subjects=[f"$KV.{name}.>"],
        storage=StorageType.FILE,
        num_replicas=limits.replicas,
        max_age=0,
        max_bytes=-1,
        max_msgs=most,
        max_msgs_per_subject=values,
        discard=DiscardPolicy.OLD if most > 0 else DiscardPolicy.NEW,
        duplicate_window=limits.duplicate_window_s,
        allow_direct=True,
        allow_rollup_hdrs=True,
        deny_delete=True,
        republish=_told_again() if told else None,
    )
