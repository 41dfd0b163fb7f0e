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

from recorder_worker.bus.rights.reading_rights import looking, reading
from recorder_worker.bus.rights.stage_rights import (
    JETSTREAM_API,
    SHAPES,
    api,
    newest,
    reading_bucket,
    runs_in,
    taking,
    worker_asks,
    workers,
)
from recorder_worker.bus.streams.consumers import ENGINE
from recorder_worker.bus.streams.topology import (
    CLIENTS_STREAM,
    DEAD_STREAM,
    INTEGRATION_STREAM,
    StreamLimits,
    streams,
)
from recorder_worker.core.errors import SettingsError
from recorder_worker.core.pipeline import CAPTURE, GATEWAY
from recorder_worker.core.subjects import (
    CLIENT,
    FRAMES,
    SESSIONS_BUCKET,
    SETTLING,
    Command,
    Fact,
    is_owner_name,
)

HOME = "recorder"
"""The account that has the streams."""

API_PREFIX = "JS.RECORDER.API"

DEPLOY, ADMIN, OBSERVER = "deploy", "admin", "observer"
TOGETHER = "together"

PER_SESSION = "session.*.*"
"""Facts about sessions; commands have two tokens, and may carry tokens of those who give them."""

_TOLD = tuple(subject for subject in GATEWAY.answers if subject not in SETTLING)
"""What those may ask who may only be told: dead letters are settled by an admin."""

_ENGINE_QUEUE = f"{INTEGRATION_STREAM}.{ENGINE}"


class TokenLists(msgspec.Struct, frozen=True, kw_only=True):
    """What of the settings decides who may do what on the bus.

    Attributes:
        revocations: the bucket of revoked tokens; empty: there is none.
        jwks: the bucket of the keys that sign tokens; empty: there is none.
        asked_for: whether requests of clients carry tokens; else only those may ask the gateway
            who may be told of every session.
        objects: the Object Store bucket that recordings are copied to; empty: there is none.
    """

    revocations: str = ""
    jwks: str = ""
    asked_for: bool = False
    objects: str = ""

    @property
    def buckets(self) -> tuple[str, ...]:
        """Those that there are."""
        return tuple(name for name in (self.revocations, self.jwks) if name)


class Grant(msgspec.Struct, frozen=True, kw_only=True):
    """What one user may do.

    Attributes:
        user: its name, and that of its account.
        does: what it is for, in words.
        asks: subjects of the recorder's account that it may publish to, with their answers.
        hears: subjects of what is stored in the recorder's account that it may subscribe to.
        serves: subjects on which it answers requests of other users.
        calls: of those, or below them, the subjects that it may send requests to.
        home: whether it lives in the recorder's account; only who makes the streams does.
        client: whether it reads the copies for the owner of its name, and not the facts.
    """

    user: str
    does: str
    asks: tuple[str, ...]
    hears: tuple[str, ...] = ()
    serves: tuple[str, ...] = ()
    calls: tuple[str, ...] = ()
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


def grants(
    clients: Iterable[str] = (), *, together: bool = False, tokens: TokenLists | None = None
) -> tuple[Grant, ...]:
    """The grants of all users, with one for each client that is named.

    `together` adds a user for a process that runs all stages: an edge has no room for four.

    Raises:
        SettingsError: a client's name cannot be one, or is taken.
    """
    tokens = tokens or TokenLists()
    fixed = (
        *(worker_grant(name, tokens) for name in workers()),
        *((_together(tokens),) if together else ()),
        _deploy(tokens),
        _admin(tokens),
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
    return (*fixed, *(_client(name, tokens) for name in named))


def worker_grant(worker: str, tokens: TokenLists) -> Grant:
    """The rights of a worker that runs one stage, and what runs with it."""
    run = runs_in(worker)
    hears = dict.fromkeys(fact.wildcard for row in run for fact in row.listens)
    return Grant(
        user=worker,
        does=f"runs {', '.join(row.name for row in run)}",
        asks=worker_asks(worker, tokens.buckets, tokens.objects),
        hears=tuple(hears),
        serves=tuple(str(subject) for row in run for subject in (*row.answers, *row.records)),
    )


def _together(tokens: TokenLists) -> Grant:
    """The rights of all stages in one process: what it is taken over for, it can do."""
    parts = [worker_grant(name, tokens) for name in workers()]
    return Grant(
        user=TOGETHER,
        does="runs all stages in one process",
        asks=_each(subject for part in parts for subject in part.asks),
        hears=_each(subject for part in parts for subject in part.hears),
        serves=_each(subject for part in parts for subject in part.serves),
    )


def _each(subjects: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(subjects))


def _deploy(tokens: TokenLists) -> Grant:
    """Whoever makes streams and consumers: of exactly these names, and none away."""
    limits = StreamLimits(
        replicas=1,
        max_age_s=1,
        max_bytes=1,
        duplicate_window_s=1,
        token_buckets=tokens.buckets,
        object_bucket=tokens.objects,
    )
    asks = [api("INFO", "")[:-1]]
    for stream in streams(limits):
        asks += [api(f"STREAM.{call}", stream.name or "") for call in ("INFO", "CREATE", "UPDATE")]
    queues = [f"{consumer.stream}.{stage}" for stage, consumer in SHAPES.items()]
    for queue in (*queues, _ENGINE_QUEUE):
        asks += [api("CONSUMER.INFO", queue), api("CONSUMER.DURABLE.CREATE", queue)]
    # Who puts keys there can make tokens: no less than who makes the streams.
    keys = (*reading_bucket(tokens.jwks), f"$KV.{tokens.jwks}.>") if tokens.jwks else ()
    return Grant(
        user=DEPLOY,
        does="makes and updates streams and consumers: `recorder streams apply`",
        asks=_each((*asks, *keys)),
        home=True,
    )


def _heard(facts: Iterable[Fact]) -> tuple[str, ...]:
    """One subject for all facts that are of sessions, as people subscribe to it."""
    return (
        PER_SESSION,
        *(fact.wildcard for fact in facts if not fact.per_session),
        f"$KV.{SESSIONS_BUCKET}.>",
    )


def _admin(tokens: TokenLists) -> Grant:
    listed = tokens.revocations
    revoking = (
        *reading_bucket(listed),
        api("STREAM.MSG.GET", f"KV_{listed}"),
        f"$KV.{listed}.>",
    )
    return Grant(
        user=ADMIN,
        does="gives all commands, publishes frames; reads all facts, audit and dead letters; "
        "settles dead letters; looks at streams and consumers; revokes tokens",
        asks=_each(
            (
                *Command,
                *reading(Fact),
                *(api(call, DEAD_STREAM) for call in ("STREAM.INFO", "DIRECT.GET")),
                api("DIRECT.GET", f"{DEAD_STREAM}.>"),
                *reading_bucket(SESSIONS_BUCKET),
                *(revoking if listed else ()),
                *looking(tokens.buckets, tokens.objects),
            )
        ),
        hears=_heard(Fact),
        calls=(*GATEWAY.answers, *CAPTURE.records),
    )


def _observer() -> Grant:
    seen = [fact for fact in Fact if not fact.startswith("audit.")]
    return Grant(
        user=OBSERVER,
        does="reads all facts but audit, and does nothing else",
        asks=(*reading(seen), *reading_bucket(SESSIONS_BUCKET)),
        hears=_heard(seen),
        calls=_TOLD,
    )


def _engine() -> Grant:
    asked = Fact.ANCHOR_REQUESTED
    return Grant(
        user=ENGINE,
        does="a time-stamp or anchor engine of your own: hears requests, publishes receipts",
        asks=(
            Fact.ANCHOR_RECEIPT.wildcard,
            api("STREAM.INFO", INTEGRATION_STREAM),
            newest(asked),
            *taking(_ENGINE_QUEUE),
        ),
        hears=(asked.wildcard,),
    )


def _client(name: str, tokens: TokenLists) -> Grant:
    """May start sessions, and hears of those that name it as owner; of no others.

    The gateway tells whoever asks without a token of every session.
    """
    own = f"{CLIENT}.{name}"
    return Grant(
        user=name,
        does="a client: starts sessions, reads the events of those that it owns, publishes frames",
        asks=(Command.START.value, api("DIRECT.GET", f"{CLIENTS_STREAM}.{own}.>")),
        hears=(f"{own}.>",),
        calls=(f"{FRAMES}.{name}.>", *(_TOLD if tokens.asked_for else ())),
        client=True,
    )
