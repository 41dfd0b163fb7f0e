"""Who may do what on the bus: one grant for each NATS user, made from the tables.

Every user but `deploy` has an account of its own, and reaches the recorder's account through the
subjects of its grant alone. Permissions of users in one account would not hold: JetStream sends an
answer to whatever reply subject it is given, and does not ask whether the asker may publish there.
Whoever may read one message could have it stored as any fact. Between accounts an answer goes back
into the account of the asker, and nowhere else.

The JetStream API has another prefix in those accounts (`API_PREFIX`): under its own one an account
would ask for its own JetStream, which it has not.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from recorder_worker.bus.consumers import ENGINE, ConsumerLimits, consumers
from recorder_worker.bus.topology import (
    CLIENTS_STREAM,
    COMMANDS_STREAM,
    DEAD_STREAM,
    INTEGRATION_STREAM,
    SESSIONS_STREAM,
    STREAM_OF,
    StreamLimits,
    streams,
)
from recorder_worker.core.errors import SettingsError
from recorder_worker.core.pipeline import CONSUMERS, Stage
from recorder_worker.core.subjects import CLIENT, Command, Fact, dead_letters, is_owner_name

HOME = "recorder"
"""The account that has the streams."""

JETSTREAM_API = "$JS.API"
API_PREFIX = "JS.RECORDER.API"

DEPLOY, ADMIN, OBSERVER = "deploy", "admin", "observer"
TOGETHER = "together"

PER_SESSION = "session.*.*"
"""Facts about sessions; commands have two tokens, and may carry tokens of those who give them."""

WATCHED_STREAMS = (SESSIONS_STREAM, COMMANDS_STREAM)
"""Every worker looks how full these are (service/watch.py)."""

_SHAPES = consumers(
    ConsumerLimits(lease_s=1, chunk_ack_wait_s=1, compress_ack_wait_s=1, merkle_ack_wait_s=1)
)
_STREAMS = streams(StreamLimits(replicas=1, max_age_s=1, max_bytes=1, duplicate_window_s=1))

_ENGINE_QUEUE = f"{INTEGRATION_STREAM}.{ENGINE}"


class Grant(msgspec.Struct, frozen=True, kw_only=True):
    """What one user may do.

    Attributes:
        user: its name, and that of its account.
        does: what it is for, in words.
        asks: subjects of the recorder's account that it may publish to, with their answers.
        hears: subjects of the recorder's account that it may subscribe to.
        home: whether it lives in the recorder's account; only who makes the streams does.
        client: whether it reads the copies for the owner of its name, and not the facts.
    """

    user: str
    does: str
    asks: tuple[str, ...]
    hears: tuple[str, ...] = ()
    home: bool = False
    client: bool = False

    @property
    def own_asks(self) -> dict[str, str]:
        """What it may ask, and under which subject in its own account."""
        if self.home:
            return {subject: subject for subject in self.asks}
        return {subject: in_account(subject) for subject in self.asks}


def in_account(subject: str) -> str:
    """A subject of the recorder's account as an account of a user has it."""
    if subject.startswith(f"{JETSTREAM_API}."):
        return API_PREFIX + subject.removeprefix(JETSTREAM_API)
    return subject


def grants(clients: Iterable[str] = (), *, together: bool = False) -> tuple[Grant, ...]:
    """The grants of all users, with one for each client that is named.

    `together` adds a user for a process that runs all stages: an edge has no room for four.

    Raises:
        SettingsError: a client's name cannot be one, or is taken.
    """
    fixed = (
        *(worker_grant(name) for name in workers()),
        *((_together(),) if together else ()),
        _deploy(),
        _admin(),
        _observer(),
        _engine(),
    )
    taken = {grant.user for grant in fixed} | {HOME, TOGETHER}
    named = tuple(clients)
    for name in named:
        if not is_owner_name(name) or name in taken or named.count(name) > 1:
            raise SettingsError(
                f"--client: expected a name of small letters, digits and dashes that is not one of "
                f"{', '.join(sorted(taken))} and not given twice, found {name!r}; give another one"
            )
    return (*fixed, *(_client(name) for name in named))


def workers() -> tuple[str, ...]:
    """The processes that have a user: every stage that can run alone."""
    return tuple(stage.name for stage in CONSUMERS if not stage.runs_with)


def stages_of(worker: str) -> tuple[Stage, ...]:
    """What runs in the process of a stage: it, and what runs wherever it does."""
    return tuple(stage for stage in CONSUMERS if worker in (stage.name, stage.runs_with))


def worker_grant(worker: str) -> Grant:
    """The rights of a worker that runs one stage, and what runs with it."""
    run = stages_of(worker)
    asks = dict.fromkeys(subject for stage in run for subject in stage_asks(stage))
    hears = dict.fromkeys(fact.wildcard for stage in run for fact in stage.listens)
    names = ", ".join(stage.name for stage in run)
    return Grant(user=worker, does=f"runs {names}", asks=tuple(asks), hears=tuple(hears))


def _together() -> Grant:
    """The rights of all stages in one process: what it is taken over for, it can do."""
    parts = [worker_grant(name) for name in workers()]
    return Grant(
        user=TOGETHER,
        does="runs all stages in one process",
        asks=tuple(dict.fromkeys(subject for part in parts for subject in part.asks)),
        hears=tuple(dict.fromkeys(subject for part in parts for subject in part.hears)),
    )


def used_streams(name: str) -> tuple[str, ...]:
    """The streams that a stage consumes from, publishes to, and watches."""
    stage = next(stage for stage in CONSUMERS if stage.name == name)
    emitted = (STREAM_OF[fact] for fact in stage.emits)
    copied = (CLIENTS_STREAM,) if stage.copies else ()
    used = (_SHAPES[name].stream, *emitted, *copied, DEAD_STREAM, *WATCHED_STREAMS)
    return tuple(dict.fromkeys(used))


def stage_asks(stage: Stage) -> tuple[str, ...]:
    """What a stage may publish, and ask of JetStream."""
    queue = f"{_SHAPES[stage.name].stream}.{stage.name}"
    named = {*stage.emits, *stage.reads}
    near = [fact for fact in Fact if fact in named or fact.wildcard in stage.consumes]
    return tuple(
        dict.fromkeys(
            (
                *(fact.wildcard for fact in stage.emits),
                *((f"{CLIENT}.>",) if stage.copies else ()),
                dead_letters(stage.name),
                *_taking(queue),
                *(_api("STREAM.INFO", stream) for stream in used_streams(stage.name)),
                *(_last(fact) for fact in near),
                *(_api("DIRECT.GET", STREAM_OF[fact]) for fact in stage.replays),
                *_buckets(stage),
            )
        )
    )


def _taking(queue: str) -> tuple[str, ...]:
    """Taking messages from a consumer, and acknowledging them."""
    return (_api("CONSUMER.INFO", queue), _api("CONSUMER.MSG.NEXT", queue), f"$JS.ACK.{queue}.>")


def _api(call: str, of: str) -> str:
    return f"{JETSTREAM_API}.{call}.{of}"


def _last(fact: Fact) -> str:
    """Asking for the newest event of a fact; for `>` of a stream there is no such limit."""
    return _api("DIRECT.GET", f"{STREAM_OF[fact]}.{fact.wildcard}")


def _buckets(stage: Stage) -> tuple[str, ...]:
    used = dict.fromkeys((*stage.reads_buckets, *stage.writes_buckets))
    return (
        *(_api("STREAM.INFO", f"KV_{bucket}") for bucket in used),
        *(_api("DIRECT.GET", f"KV_{bucket}.$KV.{bucket}.>") for bucket in used),
        *(f"$KV.{bucket}.>" for bucket in stage.writes_buckets),
    )


def _deploy() -> Grant:
    """Whoever makes streams and consumers: of exactly these names, and none away."""
    asks = [_api("INFO", "")[:-1]]
    for stream in _STREAMS:
        asks += [_api(f"STREAM.{call}", stream.name or "") for call in ("INFO", "CREATE", "UPDATE")]
    queues = [f"{consumer.stream}.{stage}" for stage, consumer in _SHAPES.items()]
    for queue in (*queues, _ENGINE_QUEUE):
        asks += [_api("CONSUMER.INFO", queue), _api("CONSUMER.DURABLE.CREATE", queue)]
    return Grant(
        user=DEPLOY,
        does="makes and updates streams and consumers: `recorder streams apply`",
        asks=tuple(asks),
        home=True,
    )


def _reading(facts: Iterable[Fact]) -> tuple[str, ...]:
    """Reading whole streams: what they hold and the state of what is stored."""
    held = dict.fromkeys(STREAM_OF[fact] for fact in facts)
    return tuple(
        subject
        for stream in held
        for subject in (
            _api("STREAM.INFO", stream),
            _api("DIRECT.GET", stream),
            _api("DIRECT.GET", f"{stream}.>"),
        )
    )


def _heard(facts: Iterable[Fact]) -> tuple[str, ...]:
    """One subject for all that is of sessions, dead letters included, as people subscribe to it."""
    return (PER_SESSION, *(fact.wildcard for fact in facts if not fact.per_session))


def _admin() -> Grant:
    written = dict.fromkeys(b for stage in CONSUMERS for b in stage.reads_buckets)
    return Grant(
        user=ADMIN,
        does="gives all commands; reads all facts, audit and dead letters",
        asks=(
            *Command,
            *_reading(Fact),
            *(_api(call, DEAD_STREAM) for call in ("STREAM.INFO", "DIRECT.GET")),
            _api("DIRECT.GET", f"{DEAD_STREAM}.>"),
            *(f"$KV.{bucket}.>" for bucket in written),
        ),
        hears=_heard(Fact),
    )


def _observer() -> Grant:
    seen = [fact for fact in Fact if not fact.startswith("audit.")]
    return Grant(
        user=OBSERVER,
        does="reads all facts but audit, and does nothing else",
        asks=_reading(seen),
        hears=_heard(seen),
    )


def _engine() -> Grant:
    asked = Fact.ANCHOR_REQUESTED
    return Grant(
        user=ENGINE,
        does="a time-stamp or anchor engine of your own: hears requests, publishes receipts",
        asks=(
            Fact.ANCHOR_RECEIPT.wildcard,
            _api("STREAM.INFO", INTEGRATION_STREAM),
            _last(asked),
            *_taking(_ENGINE_QUEUE),
        ),
        hears=(asked.wildcard,),
    )


def _client(name: str) -> Grant:
    """May start sessions, and hears of those that name it as owner; of no others."""
    own = f"{CLIENT}.{name}"
    return Grant(
        user=name,
        does="a client: starts sessions, and reads the events of those that it owns",
        asks=(Command.START.value, _api("DIRECT.GET", f"{CLIENTS_STREAM}.{own}.>")),
        hears=(f"{own}.>",),
        client=True,
    )
