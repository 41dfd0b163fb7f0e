"""The four stages, the door for commands and the log of sessions, as rows of one table.

Everything that depends on which stages there are (streams, consumers, wiring, health, metrics,
docs) is drawn from here.
"""

from __future__ import annotations

import msgspec

from recorder_worker.core.subjects import (
    COPIED,
    FRAMES,
    SERVICE,
    SESSIONS_BUCKET,
    Command,
    Endpoint,
    Fact,
)


class Stage(msgspec.Struct, frozen=True, kw_only=True):
    """One durable consumer: what it consumes, what it emits, and how order is kept.

    The rest is what it touches besides, from which its rights on the bus are made
    (bus/rights/permissions.py): what is not named here is refused by a server with users.

    Attributes:
        runs_with: the stage in whose processes it runs; empty: in its own.
        reads: facts of other stages whose newest event it asks for. What it consumes and emits
            it may ask for anyway.
        replays: facts whose log it reads from a place on, event by event.
        listens: facts that it subscribes to beside its consumer.
        surveys: facts whose whole stream it reads, from the stream's leader.
        copies: whether it publishes copies of facts for the owners of sessions.
        reads_buckets, writes_buckets: key-value buckets that it uses.
        checks_tokens: whether it looks into the buckets of authorisation.
        answers: subjects on which it answers requests.
        records: subjects on which clients publish what is recorded; each message is answered.
        keeps_objects: whether it writes to the Object Store bucket, where recordings are copied
            to one.
        settles: whether it settles dead letters: reads them, and has them tried again.
    """

    name: str
    consumes: tuple[str, ...]
    emits: tuple[Fact, ...]
    order: str
    does: str
    runs_with: str = ""
    reads: tuple[Fact, ...] = ()
    replays: tuple[Fact, ...] = ()
    listens: tuple[Fact, ...] = ()
    surveys: tuple[Fact, ...] = ()
    copies: bool = False
    reads_buckets: tuple[str, ...] = ()
    writes_buckets: tuple[str, ...] = ()
    checks_tokens: bool = False
    answers: tuple[str, ...] = ()
    records: tuple[str, ...] = ()
    keeps_objects: bool = False
    settles: bool = False


CONTROL = Stage(
    name="control",
    consumes=(Command.STOP, Command.PAUSE, Command.RESUME, Command.MARK, Command.MASK),
    emits=(Fact.CONTROL, Fact.REJECTED, Fact.AUDIT_ACCEPTED, Fact.AUDIT_DENIED),
    order="one command at a time over all workers, as stored; the log is fenced",
    does="checks commands to sessions and puts them, in order, in the session's control log",
    runs_with="capture",
    reads=(Fact.STARTED, Fact.CAPTURED),
    checks_tokens=True,
)
CAPTURE = Stage(
    name="capture",
    consumes=(Command.START,),
    emits=(
        Fact.STARTED,
        Fact.REJECTED,
        Fact.AUDIT_ACCEPTED,
        Fact.AUDIT_DENIED,
        Fact.PAUSED,
        Fact.RESUMED,
        Fact.FAILED,
        Fact.QUALITY,
        Fact.NUMBERED,
        Fact.CAPTURED,
    ),
    order="one owner per session: the un-acked start message is the lease",
    does="opens the source and writes about one durable segment a second",
    reads=(Fact.CONTROL, Fact.LOGGED),
    replays=(Fact.CONTROL, Fact.NUMBERED, Fact.LOGGED),
    listens=(Fact.CONTROL,),
    checks_tokens=True,
    records=(f"{FRAMES}.>",),
)
CHUNK = Stage(
    name="chunk",
    consumes=(Fact.CAPTURED.wildcard,),
    emits=(Fact.CHUNKED,),
    order="in order per session: replayed from the log, appended with a fence",
    does="decides boundaries and gives every leaf its index; copies no bytes",
    replays=(Fact.CAPTURED,),
)
COMPRESS = Stage(
    name="compress",
    consumes=(Fact.CHUNKED.wildcard,),
    emits=(Fact.COMPRESSED, Fact.INTEGRITY_FAILED),
    order="any order, any number of workers",
    does="streams segments through zstd, digests plain and stored bytes, stores the chunk",
)
MERKLE = Stage(
    name="merkle",
    consumes=(Fact.COMPRESSED.wildcard,),
    emits=(Fact.HEAD, Fact.CHECKPOINT, Fact.SEALED, Fact.INCIDENT, Fact.INTEGRITY_FAILED),
    order="in order per session: leaf n only after n-1, head stored with compare-and-set",
    does="writes leaf records, grows the tree, signs checkpoints, seals",
    replays=(Fact.INCIDENT,),
)
OWNERS = Stage(
    name="owners",
    consumes=tuple(fact.wildcard for fact in COPIED),
    emits=(),
    order="as stored; a copy that is made twice has the same message id",
    does="copies facts to `client.<owner>.<fact>.<id>`, for clients that may read no others",
    runs_with="capture",
    reads=(Fact.STARTED,),
    copies=True,
)
SESSION_LOG = Stage(
    name="log",
    consumes=(Fact.CHECKPOINT.wildcard,),
    emits=(Fact.LOGGED, Fact.ANCHOR_REQUESTED, Fact.INCIDENT),
    order="one entry at a time over all sessions: head stored with compare-and-set",
    does="enters every session, when it opens and when it is sealed, in the recorder's log",
    runs_with="merkle",
    replays=(Fact.CHECKPOINT, Fact.LOGGED),
)

RETENTION = Stage(
    name="retention",
    consumes=(Command.HOLD, Command.RELEASE, Command.DELETE),
    emits=(
        Fact.RETENTION,
        Fact.REJECTED,
        Fact.AUDIT_ACCEPTED,
        Fact.AUDIT_DENIED,
        Fact.LOGGED,
        Fact.ANCHOR_REQUESTED,
        Fact.INTEGRITY_FAILED,
    ),
    order="one command at a time over all workers; statements are fenced by store and log",
    does="signs what is held, released and removed, removes what is deleted or too old, and reads "
    "stored chunks again",
    runs_with="merkle",
    replays=(Fact.LOGGED, Fact.RETENTION),
    checks_tokens=True,
)
RECEIPTS = Stage(
    name="receipts",
    consumes=(Fact.ANCHOR_RECEIPT.wildcard,),
    emits=(),
    order="any order: of two time-stamps the first stays, but for a trusted one",
    does="checks receipts over the log of sessions, and keeps them with log and session",
    runs_with="merkle",
)
TSA = Stage(
    name="tsa",
    consumes=(Fact.ANCHOR_REQUESTED.wildcard,),
    emits=(Fact.ANCHOR_RECEIPT, Fact.ANCHOR_STATE),
    order="one request at a time over all workers, as stored; what was seen is fenced",
    does="where `anchors.tsa_url` is set: has checkpoints of the log time-stamped (RFC 3161)",
    runs_with="merkle",
    replays=(Fact.ANCHOR_STATE,),
)

STORAGE = Stage(
    name="storage",
    consumes=(Fact.SEALED.wildcard,),
    emits=(Fact.STORED, Fact.INTEGRITY_FAILED),
    order="any order, any number of workers",
    does="looks whether a sealed folder is all there, and tells those who keep recordings",
    runs_with="merkle",
)
TABLE = Stage(
    name="table",
    consumes=(
        Fact.STARTED.wildcard,
        Fact.PAUSED.wildcard,
        Fact.RESUMED.wildcard,
        Fact.FAILED.wildcard,
        Fact.CHECKPOINT.wildcard,
        Fact.SEALED.wildcard,
        Fact.INCIDENT.wildcard,
        Fact.RETENTION.wildcard,
    ),
    emits=(),
    order="any order: entries are merged, and stored with compare-and-set",
    does="keeps one entry for each session in the KV bucket `recorder-sessions`",
    runs_with="merkle",
    writes_buckets=(SESSIONS_BUCKET,),
)
UPLOAD = Stage(
    name="upload",
    consumes=(Fact.COMPRESSED.wildcard, Fact.CHECKPOINT.wildcard, Fact.SEALED.wildcard),
    emits=(Fact.BLOB_COPIED, Fact.ARCHIVED, Fact.OFFLOADED, Fact.INTEGRITY_FAILED),
    order="any order, any number of workers: a copy that is there is held against its digest",
    does="where `storage.kind` is set: copies what is durable here to a second store; checks it",
    runs_with="merkle",
    keeps_objects=True,
)

GATEWAY = Stage(
    name="gateway",
    consumes=(),
    emits=(Fact.AUDIT_VIEWED, Fact.AUDIT_EXPORTED, Fact.AUDIT_DENIED, Fact.AUDIT_SETTLED),
    order="each request by itself, shared among all workers",
    does="answers requests about sessions, as the NATS service `session-recorder`, and settles "
    "dead letters",
    runs_with="merkle",
    reads=(Fact.STARTED, Fact.CAPTURED, Fact.CHUNKED, Fact.CHECKPOINT, Fact.SEALED, Fact.INCIDENT),
    settles=True,
    reads_buckets=(SESSIONS_BUCKET,),
    checks_tokens=True,
    answers=(*Endpoint, "$SRV.*", f"$SRV.*.{SERVICE}", f"$SRV.*.{SERVICE}.*"),
)
AUDIT_KEEPER = Stage(
    name="audit",
    consumes=(),
    emits=(Fact.LOGGED, Fact.ANCHOR_REQUESTED, Fact.INCIDENT),
    order="one entry at a time over all sessions, as `log`",
    does="enters what the stream `AUDIT` tells in the log of sessions",
    runs_with="merkle",
    replays=(Fact.LOGGED,),
    surveys=(
        Fact.AUDIT_ACCEPTED,
        Fact.AUDIT_DENIED,
        Fact.AUDIT_VIEWED,
        Fact.AUDIT_EXPORTED,
        Fact.AUDIT_SETTLED,
    ),
)
NODE = Stage(
    name="node",
    consumes=(),
    emits=(Fact.NODE_REGISTERED, Fact.NODE_HEARTBEAT, Fact.NODE_DRAINING),
    order="one after the other, for each worker",
    does="tells that this worker is there, how it is, and that it goes",
)

STAGES: tuple[Stage, ...] = (CAPTURE, CHUNK, COMPRESS, MERKLE)
"""The pipeline, in order. `control` and `owners` run wherever `capture` runs; `log`,
`retention`, `receipts`, `tsa`, `storage`, `upload`, `table`, `gateway` and `audit`
wherever `merkle` runs;
`node` in every worker."""

CONSUMERS: tuple[Stage, ...] = (
    CONTROL,
    *STAGES,
    OWNERS,
    SESSION_LOG,
    RETENTION,
    RECEIPTS,
    TSA,
    STORAGE,
    UPLOAD,
    TABLE,
)
"""Those with a durable consumer of their own."""

SERVICES: tuple[Stage, ...] = (GATEWAY, AUDIT_KEEPER, NODE)
"""Those that tell something and consume no stream."""
