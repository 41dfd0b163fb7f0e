"""What `/status` shows: this worker, and the sessions that the bus tells of, at one moment."""

from __future__ import annotations

import asyncio

import msgspec

from recorder_worker.bus.sessions.roster import SessionSeen, SessionState
from recorder_worker.core.errors import StoreError
from recorder_worker.core.model import ClockState
from recorder_worker.core.pipeline import CONSUMERS
from recorder_worker.ports import BlobStore, Clock
from recorder_worker.service.observing.gauges import lag_s, unsigned_s
from recorder_worker.service.observing.health import Check, Health
from recorder_worker.service.observing.logs import without_credentials
from recorder_worker.service.observing.metrics import Metrics
from recorder_worker.service.observing.sampling import Sample, Sampler
from recorder_worker.service.observing.watch import BacklogWatch

SHOWN_SESSIONS = 50
WAIT_S = 2.0
"""How long a page waits for the first look at sessions; a later one shows what there is."""
LATE_S = 60.0
"""The longest `capture.checkpoint_s`: whoever has no checkpoint for longer breaks a promise."""
SECOND_NS = 1_000_000_000


class About(msgspec.Struct, frozen=True):
    """What does not change while the process runs."""

    version: str
    node: str
    stages: tuple[str, ...]


class SessionRow(msgspec.Struct, frozen=True, kw_only=True):
    """One session. Ages are in seconds; None where there is nothing to have an age.

    `load` says in words whether it is held, or read at a lower rate than its own; empty: neither.
    """

    session_id: str
    number: int
    state: SessionState
    load: str
    here: bool
    kind: str
    uri: str
    node: str
    captured_units: int
    frames: int
    gaps: int
    lost_units: int
    stored_bytes: int
    checkpoint_age_s: float | None
    late: bool
    reason: str
    incident: str


class StageRow(msgspec.Struct, frozen=True, kw_only=True):
    """One stage. What is counted is None where another process runs it."""

    stage: str
    here: bool
    waiting: int
    working: int
    lag_s: float
    handled: int | None
    redelivered: int | None
    dead_letters: int | None


class StreamRow(msgspec.Struct, frozen=True, kw_only=True):
    """One stream; `percent` is None where it has no limit in bytes."""

    stream: str
    messages: int
    stored_bytes: int
    percent: float | None


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """Everything on the page, and the body of `/status.json`."""

    about: About
    wall_ns: int
    ok: bool
    checks: tuple[Check, ...]
    sessions: tuple[SessionRow, ...]
    sessions_known: int
    leases: int
    stages: tuple[StageRow, ...]
    streams: tuple[StreamRow, ...]
    log_entries: int
    log_root: str
    log_age_s: float | None
    free_bytes: int | None
    floor_bytes: int
    spool_segments: int
    spool_bytes: int
    clock: ClockState
    sample_age_s: float | None
    missing: tuple[str, ...]


async def status_of(  # noqa: PLR0913  (whatever is looked at)
    *,
    about: About,
    health: Health,
    metrics: Metrics,
    store: BlobStore,
    clock: Clock,
    floor_bytes: int,
    leases: tuple[str, ...],
    watch: BacklogWatch | None,
    sampler: Sampler | None,
) -> Status:
    """Look at everything. Sessions come from the sampler, which asks the bus in its own time."""
    sample = Sample(missing=("NATS",)) if sampler is None else await sampler.fresh(WAIT_S)
    ok, checks = health.ready()
    now_ns = clock.wall_ns()
    head = sample.log_head
    rows = session_rows(sample.sessions, leases, now_ns)
    return Status(
        about=about,
        wall_ns=now_ns,
        ok=ok,
        checks=tuple(checks),
        sessions=rows,
        sessions_known=len(sample.sessions),
        leases=len(leases),
        stages=_stage_rows(sample, watch, metrics, now_ns),
        streams=_stream_rows(sample),
        log_entries=head.size if head else 0,
        log_root=head.root_hash if head else "",
        log_age_s=_age_s(head.appended_ns, now_ns) if head else None,
        free_bytes=await asyncio.to_thread(_free, store),
        floor_bytes=floor_bytes,
        spool_segments=sample.spool_segments,
        spool_bytes=sample.spool_bytes,
        clock=clock.state(),
        sample_age_s=_age_s(sample.taken_ns, now_ns) if sample.taken_ns else None,
        missing=sample.missing,
    )


def session_rows(
    sessions: tuple[SessionSeen, ...], leases: tuple[str, ...], now_ns: int
) -> tuple[SessionRow, ...]:
    """The newest sessions, and before them those that need a look: incidents and open ones."""
    order = {SessionState.INCIDENT: 0, SessionState.SEALED: 2}
    shown = sorted(sessions, key=lambda seen: (order.get(seen.state, 1), -seen.number))
    return tuple(_session_row(seen, leases, now_ns) for seen in shown[:SHOWN_SESSIONS])


def _session_row(seen: SessionSeen, leases: tuple[str, ...], now_ns: int) -> SessionRow:
    return SessionRow(
        session_id=seen.session_id,
        number=seen.number,
        state=seen.state,
        load=seen.load,
        here=seen.session_id in leases,
        kind=seen.source_kind,
        uri=_shown(seen.source_uri),
        node=seen.node,
        captured_units=max(seen.units, seen.frames),
        frames=seen.frames,
        gaps=seen.gaps,
        lost_units=seen.lost_units,
        stored_bytes=seen.stored_bytes,
        checkpoint_age_s=_age_s(seen.signed_ns, now_ns) if seen.signed_ns else None,
        late=unsigned_s(seen, now_ns) > LATE_S,
        reason=seen.reason,
        incident=seen.incident,
    )


def _shown(uri: str) -> str:
    """A source without what may be secret: a password, and a query, in which tokens stand."""
    return without_credentials(uri.partition("?")[0] if "://" in uri else uri)


def _stage_rows(
    sample: Sample, watch: BacklogWatch | None, metrics: Metrics, now_ns: int
) -> tuple[StageRow, ...]:
    here = watch.backlogs if watch is not None else {}
    found = sample.backlogs | here

    def row(stage: str) -> StageRow:
        def count(name: str, **labels: str) -> int | None:
            if stage not in here:
                return None
            return int(metrics.registry.get_sample_value(name, labels | {"stage": stage}) or 0)

        return StageRow(
            stage=stage,
            here=stage in here,
            waiting=found[stage].pending,
            working=found[stage].ack_pending,
            lag_s=lag_s(found[stage], now_ns),
            handled=count("recorder_messages_total", outcome="ok"),
            redelivered=count("recorder_redeliveries_total"),
            dead_letters=count("recorder_dead_letters_total"),
        )

    return tuple(row(stage.name) for stage in CONSUMERS if stage.name in found)


def _stream_rows(sample: Sample) -> tuple[StreamRow, ...]:
    return tuple(
        StreamRow(
            stream=stream,
            messages=fill.messages,
            stored_bytes=fill.stored_bytes,
            percent=100 * fill.stored_bytes / fill.max_bytes if fill.max_bytes > 0 else None,
        )
        for stream, fill in sample.streams.items()
    )


def _free(store: BlobStore) -> int | None:
    try:
        return store.free_bytes()
    except StoreError:
        return 0  # the check `disk` says what is wrong


def _age_s(since_ns: int, now_ns: int) -> float:
    return max(0.0, (now_ns - since_ns) / SECOND_NS)
