"""What a stage, and what runs beside the stages, may publish and ask of JetStream.

Made from the rows of core/pipeline.py and from what every worker looks at. `permissions.py` makes
the users of it.
"""

from __future__ import annotations

from collections.abc import Iterable

from recorder_worker.bus.sessions.roster import ROSTER_FACTS, ROSTER_READS_ON
from recorder_worker.bus.streams.consumers import ConsumerLimits, consumers
from recorder_worker.bus.streams.topology import (
    AUDIT_STREAM,
    CLIENTS_STREAM,
    COMMANDS_STREAM,
    DEAD_STREAM,
    INTEGRATION_STREAM,
    NODES_STREAM,
    REGISTER_STREAM,
    SESSIONS_STREAM,
    STREAM_OF,
    object_stream,
)
from recorder_worker.core.pipeline import (
    CONSUMERS,
    CONTROL,
    NODE,
    RECEIPTS,
    SERVICES,
    SESSION_LOG,
    STAGES,
    Stage,
)
from recorder_worker.core.subjects import CLIENT, Fact, again, dead_letters, settled

JETSTREAM_API = "$JS.API"

WATCHED_STREAMS = (
    COMMANDS_STREAM,
    SESSIONS_STREAM,
    REGISTER_STREAM,
    INTEGRATION_STREAM,
    NODES_STREAM,
    AUDIT_STREAM,
    DEAD_STREAM,
)
"""Every worker looks how full these are."""

WATCHED_STAGES = tuple(stage.name for stage in (CONTROL, *STAGES, SESSION_LOG, RECEIPTS))
"""Every worker looks what waits for these, wherever they run: of a stage that runs nowhere, nobody
else would tell. Not for those that need not run at all, such as `tsa`: that may wait for ever."""

SEARCHED_STREAMS = (SESSIONS_STREAM, INTEGRATION_STREAM)
"""Where every worker looks for the oldest message that waits. In COMMANDS only who takes from it
does: commands may carry the tokens of those who give them."""

SHAPES = consumers(
    ConsumerLimits(lease_s=1, chunk_ack_wait_s=1, compress_ack_wait_s=1, merkle_ack_wait_s=1)
)


def workers() -> tuple[str, ...]:
    """The processes that have a user: every stage that can run alone."""
    return tuple(stage.name for stage in CONSUMERS if not stage.runs_with)


def runs_in(worker: str) -> tuple[Stage, ...]:
    """What runs in the process of a stage: it, what runs wherever it does, what runs everywhere."""
    beside = tuple(row for row in SERVICES if row.runs_with == worker or row is NODE)
    return (*(row for row in CONSUMERS if worker in (row.name, row.runs_with)), *beside)


def used_streams(
    worker: str, token_buckets: Iterable[str] = (), objects: str = ""
) -> tuple[str, ...]:
    """The streams without which a worker cannot do its work, or not see how it goes."""
    used: dict[str, None] = {}
    for row in runs_in(worker):
        used |= dict.fromkeys(_streams(row, token_buckets, objects))
    return tuple(used)


def _streams(row: Stage, token_buckets: Iterable[str], objects: str) -> tuple[str, ...]:
    consumed = (SHAPES[row.name].stream, DEAD_STREAM) if row.consumes else ()
    facts = (*row.emits, *row.reads, *row.replays, *row.surveys)
    buckets = (*row.reads_buckets, *row.writes_buckets)
    return (
        *consumed,
        *(STREAM_OF[fact] for fact in facts),
        *((CLIENTS_STREAM,) if row.copies else ()),
        *(f"KV_{bucket}" for bucket in buckets),
        *(f"KV_{bucket}" for bucket in (token_buckets if row.checks_tokens else ())),
        *((object_stream(objects),) if row.keeps_objects and objects else ()),
    )


def worker_asks(
    worker: str, token_buckets: Iterable[str] = (), objects: str = ""
) -> tuple[str, ...]:
    """All that a worker may publish and ask, each once."""
    rows = runs_in(worker)
    asked = [subject for row in rows for subject in row_asks(row, token_buckets, objects)]
    asked += [api("STREAM.INFO", stream) for stream in used_streams(worker, token_buckets, objects)]
    taken = [row for row in rows if row.consumes and SHAPES[row.name].stream == COMMANDS_STREAM]
    if any(row.name in WATCHED_STAGES for row in taken):
        asked.append(api("DIRECT.GET", COMMANDS_STREAM))
    if any(row.answers for row in rows):  # `stats` tells what waits for every stage
        asked += [api("CONSUMER.INFO", _queue(stage.name)) for stage in CONSUMERS]
    return tuple(dict.fromkeys((*asked, *watching())))


def row_asks(row: Stage, token_buckets: Iterable[str] = (), objects: str = "") -> tuple[str, ...]:
    """What one row of the table may publish, and ask of JetStream, but for the state of streams."""
    named = {*row.emits, *row.reads}
    near = [fact for fact in Fact if fact in named or fact.wildcard in row.consumes]
    surveyed = dict.fromkeys(STREAM_OF[fact] for fact in row.surveys)
    return (
        *(fact.wildcard for fact in row.emits),
        *((f"{CLIENT}.>",) if row.copies else ()),
        *((dead_letters(row.name), *taking(_queue(row.name))) if row.consumes else ()),
        *(newest(fact) for fact in near),
        *(api("DIRECT.GET", STREAM_OF[fact]) for fact in row.replays),
        *(api("STREAM.MSG.GET", stream) for stream in surveyed),
        *(_settling() if row.settles else ()),
        *_buckets(row),
        # Asked of the leader: who was revoked a moment ago must not get in.
        *(
            api("STREAM.MSG.GET", f"KV_{bucket}")
            for bucket in (token_buckets if row.checks_tokens else ())
        ),
        *(keeping_objects(objects) if row.keeps_objects and objects else ()),
    )


def _settling() -> tuple[str, ...]:
    """Reading dead letters, saying what becomes of one, and letting its stage have it again."""
    return (
        api("STREAM.INFO", DEAD_STREAM),
        api("DIRECT.GET", DEAD_STREAM),
        api("DIRECT.GET", f"{DEAD_STREAM}.{settled('*', '*')}"),
        settled("*", "*"),
        *(again(stage.name, "*") for stage in CONSUMERS),
    )


def watching() -> tuple[str, ...]:
    """What every worker looks at, for metrics, health and `/status`."""
    return (
        *(api("STREAM.INFO", stream) for stream in WATCHED_STREAMS),
        *(api("CONSUMER.INFO", _queue(stage)) for stage in WATCHED_STAGES),
        *(newest(fact) for fact in ROSTER_FACTS),
        api("DIRECT.GET", STREAM_OF[ROSTER_READS_ON]),
        *(api("DIRECT.GET", stream) for stream in SEARCHED_STREAMS),
    )


def taking(queue: str) -> tuple[str, ...]:
    """Taking messages from a consumer, and acknowledging them."""
    return (api("CONSUMER.INFO", queue), api("CONSUMER.MSG.NEXT", queue), f"$JS.ACK.{queue}.>")


def api(call: str, of: str) -> str:
    """A subject of JetStream's API."""
    return f"{JETSTREAM_API}.{call}.{of}"


def newest(fact: Fact) -> str:
    """Asking for the newest event of a fact; for `>` of a stream there is no such limit."""
    return api("DIRECT.GET", f"{STREAM_OF[fact]}.{fact.wildcard}")


def reading_bucket(bucket: str) -> tuple[str, ...]:
    """Reading a key-value bucket, key by key and as a whole."""
    stream = f"KV_{bucket}"
    return (
        api("STREAM.INFO", stream),
        api("DIRECT.GET", f"{stream}.$KV.{bucket}.>"),
        api("DIRECT.GET", stream),
    )


def keeping_objects(bucket: str) -> tuple[str, ...]:
    """Writing, reading and deleting the objects of a bucket."""
    stream = object_stream(bucket)
    return (
        f"$O.{bucket}.>",
        api("DIRECT.GET", stream),
        api("DIRECT.GET", f"{stream}.$O.{bucket}.M.>"),
        api("STREAM.PURGE", stream),
    )


def _buckets(row: Stage) -> tuple[str, ...]:
    used = dict.fromkeys((*row.reads_buckets, *row.writes_buckets))
    return (
        *(subject for bucket in used for subject in reading_bucket(bucket)),
        *(f"$KV.{bucket}.>" for bucket in row.writes_buckets),
    )


def _queue(stage: str) -> str:
    return f"{SHAPES[stage].stream}.{stage}"
